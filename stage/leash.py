"""Child processes that do not outlive us, even when we are killed, and that get no Ctrl-C of our terminal."""

import asyncio
import ctypes
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
GOODBYE_S = 15.0
"""From SIGINT to SIGKILL: longer than a hold takes to close its calls."""


async def leashed(*command: str, **how: Any) -> Process:
    """Starts ``command``, which gets no Ctrl-C of our terminal, and which the kernel kills when we end.

    ``how`` is what asyncio.create_subprocess_exec takes. The kernel watches the thread that starts a child: call this
    from the main one. Only Linux has this leash: elsewhere a child may outlive us when we are killed.
    """
    return await asyncio.create_subprocess_exec(*command, start_new_session=True, preexec_fn=_leash(), **how)


def _leash() -> Callable[[], None] | None:
    """What a child runs before its program."""
    if sys.platform != "linux":
        return None
    # Loaded here: between fork and exec nothing may be imported.
    libc, parent = ctypes.CDLL(None, use_errno=True), os.getpid()

    def hold() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # we ended before the line above
            os.kill(os.getpid(), signal.SIGKILL)

    return hold


@asynccontextmanager
async def started(command: Sequence[str], environ: Mapping[str, str], **streams: Any) -> AsyncIterator[Process]:
    """``command`` under way; at the end of the block it and what it started are interrupted, then killed."""
    process = await leashed(*command, env=environ, stdin=DEVNULL, **streams)
    try:
        yield process
    finally:
        await _finish(process)


@asynccontextmanager
async def running(command: Sequence[str], environ: Mapping[str, str], log: Path) -> AsyncIterator[Process]:
    """`started`, its output appended to ``log``."""
    with log.open("ab") as output:
        async with started(command, environ, stdout=output, stderr=STDOUT) as process:
            yield process


async def _finish(process: Process) -> None:
    """SIGINT to the process and its children; SIGKILL when that takes too long or the waiting is cancelled."""
    try:
        if process.returncode is None:
            _signal(process, signal.SIGINT)
            with suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    await process.wait()
    finally:
        _signal(process, signal.SIGKILL)
        await process.wait()


async def lines(command: Sequence[str], environ: Mapping[str, str], log: Path, each: Callable[[str], None]) -> int:
    """Runs ``command`` to its end, hands every line to ``each`` and to ``log``; the exit code."""
    with log.open("ab") as output:
        async with started(command, environ, stdout=PIPE, stderr=STDOUT) as process:
            assert process.stdout is not None
            async for line in process.stdout:
                output.write(line)
                output.flush()
                each(line.decode(errors="replace").rstrip())
            return await process.wait()


def _signal(process: Process, number: signal.Signals) -> None:
    # The group, because a play's clients are children of its workers; it may be gone already.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
