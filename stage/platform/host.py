"""What every app, revision and replica of one environment stands on."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from stage.ingress import Ingress
from stage.platform.container import Program, relay
from stage.platform.outside import Outside
from stage.platform.unverified import Timing, Unverified
from stage.timeline import Timeline


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
