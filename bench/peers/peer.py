"""What the bench knows of a peer, and what a peer is told."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Route(NamedTuple):
    """Where a peer listens and where it relays to; all of it on 127.0.0.1."""

    folder: Path
    """Its own, empty: for configuration and logs."""
    port: int
    """Listen here, plaintext."""
    model_port: int
    """Relay to this."""
    ca_file: Path | None
    """The authority that signed the model's certificate (for localhost and 127.0.0.1); None: the model is plaintext."""
    sessions: int
    """How many sessions at most, those that are just ending included."""


class Peer(NamedTuple):
    """A relay to measure: one thread or process of work, no access log, nothing compressed, idle for an hour."""

    name: str
    get: str
    """How to get it, a command."""
    version: Callable[[], str | None]
    """``nginx 1.22.1``; None: it is not here."""
    command: Callable[[Route], list[str]]
    """Writes what it needs into the route's folder and says how to start it, in the foreground."""
    environment: Callable[[Route], dict[str, str]]
    """What its environment has beyond the bench's own."""


def nothing(_: Route) -> dict[str, str]:
    """The environment of a peer that needs none."""
    return {}
