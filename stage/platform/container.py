"""One run of a relay process, from its start to its exit, and what the timeline says of it."""

import asyncio
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from stage.leash import leashed
from stage.replica import inherited

Say = Callable[..., None]
"""A timeline that knows which replica it speaks of."""
Program = Callable[[Mapping[str, str]], tuple[str, ...]]
"""The command that a container runs, by its environment."""


def relay(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The relay of this checkout, whatever the environment says."""
    return sys.executable, "-m", "rtproxy"


class Container:
    """A process that runs; ``stop`` it, or wait until it ``ended`` by itself."""

    def __init__(self, process: Process, say: Say) -> None:
        self._process = process
        self._say = say
        self._sigterm: float | None = None
        self._killing: asyncio.TimerHandle | None = None
        self.pid = process.pid

    @classmethod
    async def start(cls, program: Program, environ: Mapping[str, str], log: Path, errors: Path, say: Say) -> Self:
        """Runs ``program`` with ``environ`` alone, its output appended to the two files."""
        # Files, not pipes: what it says is not lost when we are late, or gone.
        with log.open("ab") as out, errors.open("ab") as err:
            process = await leashed(*program(environ), env=inherited() | dict(environ), stdout=out, stderr=err)
        say("replica.started", pid=process.pid, port=int(environ["PORT"]))
        return cls(process, say)

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._sigterm is not None

    async def ended(self) -> None:
        """Returns when the process is gone, its exit told."""
        code = await self._process.wait()
        if self._killing is not None:
            self._killing.cancel()
        after_s = None if self._sigterm is None else round(self._now() - self._sigterm, 3)
        # As a shell and the platform say it: 128 and the signal.
        self._say("replica.exited", code=code if code >= 0 else 128 - code, after_s=after_s)

    def stop(self, reason: str, grace_s: float) -> None:
        """SIGTERM, and SIGKILL ``grace_s`` later; at 0 nothing but SIGKILL. Once more: the earlier SIGKILL holds."""
        if self._sigterm is None:
            self._sigterm = self._now()
            self._say("replica.sigterm", reason=reason, grace_s=grace_s)
            if grace_s:
                self._signal(signal.SIGTERM)
        due = self._now() + grace_s
        if self._killing is None or due < self._killing.when():
            if self._killing is not None:
                self._killing.cancel()
            self._killing = asyncio.get_running_loop().call_at(due, self._kill)

    def _kill(self) -> None:
        assert self._sigterm is not None
        if self._process.returncode is None:
            self._say("replica.sigkill", after_s=round(self._now() - self._sigterm, 3))
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            self._process.send_signal(number)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
