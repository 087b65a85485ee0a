"""A row of the table: one release or one part of the stage made bad in one way, and who has to find it."""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stage.ingress import Ingress
from stage.platform import Gateway, Unverified

By = Literal["play", "verdict", "nobody"]
"""`play`: before blue stops. `verdict`: by the judgement of the whole record at the latest. `nobody`: it is good."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """`must` names the checks of which one has to find it; of a good release, every judgement must pass."""

    name: str
    about: str
    by: By = "play"
    must: tuple[str, ...] = ()
    green: str = ""
    """What the man in the middle before each replica of green does: see `faults` and `middle`."""
    blue: str = ""
    green_env: Mapping[str, str] = field(default_factory=dict)
    model: tuple[str, ...] = ()
    """Flags of the simulated model."""
    connections: int = 8
    hold: tuple[str, ...] = ()
    """Flags of the hold that the whole rollout is judged by, beside its usual ones."""
    gateway: Gateway = field(default_factory=Gateway)
    unverified: Unverified = field(default_factory=lambda: Unverified(weights_late_s=0))
    ingress: Callable[..., Ingress] = Ingress
    replicas: int = 1
    stutter_s: float = 0
    """Every replica stands still for so long, ten times as often as it runs on: a slow machine."""
    grace_s: int = 11
    hold_ends: signal.Signals | None = None
    """What ends the hold before green has had a call, if anything does."""
    record: Callable[[Path], None] | None = None
    """What becomes of the record before it is judged; a row with nothing else bad shares its rollout with others."""
    unproven: tuple[str, ...] = ()
    """Checks that the record of this row cannot decide, and that are required of every other."""
    whole: bool = False
    """Whether it is also rehearsed with az, Ansible and Envoy."""

    @property
    def shares_a_rollout(self) -> bool:
        return self.record is not None and not (self.green or self.blue or self.green_env)

    @property
    def good(self) -> bool:
        return self.by == "nobody"
