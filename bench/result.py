"""What a run of the bench found: its types, medians over the rounds that count, and ratios between peers of one run.

A shared machine can be twice as slow an hour later, so figures are only ever compared inside a run: a peer with what
was measured without any peer in the same round, a relay with another by the medians of the rounds in which both count.
"""

import statistics
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

OURS = "rtproxy"
ADDED = {"added_p50_us": "p50_us", "added_p99_us": "p99_us"}
"""Derived, never in a file: what a peer was measured at, less what the load was measured at without a peer."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One peer in one round; None is what its shape does not measure. A set with a `void` sentence does not count."""

    cpu_us_per_frame: float | None = None
    p50_us: float | None = None
    p99_us: float | None = None
    rss_idle_kb: float | None = None
    rss_load_kb: float | None = None
    rss_mb: float | None = None
    handshakes_per_s: float | None = None
    frames: float | None = None
    lag_p99_us: float | None = None
    drain_s: float | None = None
    p99_during_us: float | None = None
    void: str | None = None
    note: str | None = None

    def value(self, figure: str) -> float | None:
        found: float | None = None if self.void else getattr(self, figure)
        return found


@dataclass(frozen=True, slots=True)
class Shape:
    """`baseline` is the name under which a round holds what was measured without a peer."""

    name: str
    title: str
    rounds: tuple[dict[str, Figures], ...]
    baseline: str | None = None

    @property
    def peers(self) -> list[str]:
        return [name for name in dict.fromkeys(chain(*self.rounds)) if name != self.baseline]

    def values(self, peer: str, figure: str) -> dict[int, float]:
        """By round, of the rounds that count; a latency that was added counts when its baseline does."""
        found = {}
        for number, figures in enumerate(self.rounds, start=1):
            value = figures.get(peer, Figures()).value(ADDED.get(figure, figure))
            if value is not None and figure in ADDED:
                direct = figures.get(self.baseline or "", Figures()).value(ADDED[figure])
                value = None if direct is None else value - direct
            if value is not None:
                found[number] = value
        return found

    def median(self, peer: str, figure: str) -> float | None:
        values = self.values(peer, figure).values()
        return statistics.median(values) if values else None

    def ratio(self, figure: str, against: str, peer: str = OURS) -> "Ratio | None":
        """None without a round in which both count, and where a median is not above 0: that is below the noise."""
        ours, theirs = self.values(peer, figure), self.values(against, figure)
        both = ours.keys() & theirs.keys()
        if not both:
            return None
        own, other = (statistics.median(values[number] for number in both) for values in (ours, theirs))
        return Ratio(own / other, len(both)) if own > 0 and other > 0 else None


@dataclass(frozen=True, slots=True)
class Ratio:
    value: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Machine:
    cpu: str
    cores: int
    kernel: str
    python: str
    memory_gb: float

    def __str__(self) -> str:
        return f"{self.cpu}, {self.cores} cores, {self.memory_gb:g} GB, Linux {self.kernel}, Python {self.python}"


@dataclass(frozen=True, slots=True)
class Result:
    """`date` is UTC in ISO 8601; `missing` says of each peer that is not here how to get it."""

    command: str
    date: str
    machine: Machine
    versions: dict[str, str]
    missing: dict[str, str]
    shapes: tuple[Shape, ...]

    def shape(self, name: str) -> Shape | None:
        return next((shape for shape in self.shapes if shape.name == name), None)

    @property
    def peers(self) -> list[str]:
        return list(dict.fromkeys(chain.from_iterable(shape.peers for shape in self.shapes)))


def dump(result: Result, file: Path) -> None:
    file.write_bytes(orjson.dumps(asdict(result, dict_factory=_present), option=orjson.OPT_INDENT_2) + b"\n")


def _present(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in pairs if value is not None}
