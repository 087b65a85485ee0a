"""What every app, revision and replica of one environment uses, and how the platform refuses a change."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from stage.ingress import Ingress
from stage.platform.unverified import Timing, Unverified
from stage.replica import RELAY
from stage.timeline import Timeline

Program = Callable[[Mapping[str, str]], tuple[str, ...]]
"""The command that a container runs, by its environment."""


class Rejected(Exception):
    """A change that was refused before anything changed; becomes an ARM error."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def _no_secret(url: str, identity: str) -> str:
    raise Rejected("ContainerAppSecretInvalid", f"there is no Key Vault at {url}")


def _no_share(storage: str) -> Path:
    raise Rejected("ManagedEnvironmentStorageNotFound", f"the environment has no storage '{storage}'", 404)


@dataclass
class Outside:
    """Secrets and shares outside of the environment; each raises Rejected for what is missing or may not be read."""

    secret: Callable[[str, str], str] = _no_secret
    """The value now of a secret, by its URL, as an identity reads it."""
    share: Callable[[str], Path] = _no_share
    """The folder of a storage of the environment."""


def relay(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The relay of this checkout, whatever the environment has."""
    return sys.executable, *RELAY


@dataclass(frozen=True, kw_only=True)
class Host:
    """One for each environment; it lasts as long as that."""

    root: Path
    domain: str
    ingress: Ingress
    timeline: Timeline
    http: aiohttp.ClientSession
    unverified: Unverified
    timing: Timing
    injected: Mapping[str, str] = field(repr=False)
    """Variables that every container gets, as an app with an identity does."""
    program: Program = relay
    """What every container runs."""
    leads: Callable[[str], str] = str
    """Where the value of a variable leads, if it is a URL: the name resolution of a network."""
    outside: Outside = field(default_factory=Outside)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    """What goes on in the background, all of it; cancelled when the environment ends."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs it in the background; the event loop reports what it raises."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task
