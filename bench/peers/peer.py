"""What the bench knows of a peer, what a peer is given, and which programs and packages are installed."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

_SERVERS = ("/usr/local/sbin", "/usr/sbin")
"""Where Debian has its servers; not on everybody's PATH."""


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
    """Writes what it needs into the route's folder and gives the command that starts it, in the foreground."""
    environment: Callable[[Route], dict[str, str]]
    """What its environment has beyond the bench's own."""


def nothing(_: Route) -> dict[str, str]:
    """The environment of a peer that needs none."""
    return {}


def program(name: str) -> str | None:
    """The path of a program: beside this interpreter, on PATH, or among the system's servers."""
    places = (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), *_SERVERS)
    return shutil.which(name, path=os.pathsep.join(places))


def installed(name: str) -> str:
    """The path of a program whose version is known, so that it is here."""
    path = program(name)
    assert path is not None, f"{name} is not here"
    return path


def program_version(name: str, flag: str, pattern: str) -> str | None:
    """Name and version of a program; ``pattern`` finds the version in what it answers to ``flag``."""
    path = program(name)
    if path is None:
        return None
    answer = subprocess.run((path, flag), capture_output=True, text=True, timeout=30)  # noqa: S603
    match = re.search(pattern, answer.stdout + answer.stderr)
    return f"{name} {match[1]}" if match else None


def package_versions(*names: str) -> str | None:
    """Names and versions of packages, None when one of them is missing."""
    try:
        return ", ".join(f"{name} {version(name)}" for name in names)
    except PackageNotFoundError:
        return None
