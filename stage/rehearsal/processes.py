"""The commands a rehearsal runs. None outlives it, and no Ctrl-C of the terminal reaches one: the rehearsal decides."""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from stage.leash import leash

GOODBYE_S = 15.0
"""From SIGINT to SIGKILL: longer than a hold takes to close its calls."""


@asynccontextmanager
async def running(command: Sequence[str], environ: Mapping[str, str], log: Path) -> AsyncIterator[Process]:
    """``command``, its output appended to ``log``; at the end it and what it started are interrupted, then killed."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environ,
            stdin=DEVNULL,
            stdout=output,
            stderr=STDOUT,
            start_new_session=True,
            preexec_fn=leash(),
        )
    try:
        yield process
    finally:
        await finish(process)


async def finish(process: Process) -> int:
    """SIGINT to the process and its children, SIGKILL when that took too long; the exit code."""
    if process.returncode is None:
        _signal(process, signal.SIGINT)
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                await process.wait()
    _signal(process, signal.SIGKILL)
    return await process.wait()


async def lines(command: Sequence[str], environ: Mapping[str, str], log: Path, each: Callable[[str], None]) -> int:
    """Runs ``command`` to its end, hands every line to ``each`` and to ``log``; the exit code."""
    process = await asyncio.create_subprocess_exec(
        *command, env=environ, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, start_new_session=True, preexec_fn=leash()
    )
    assert process.stdout is not None
    try:
        with log.open("ab") as output:
            async for line in process.stdout:
                output.write(line)
                output.flush()
                each(line.decode(errors="replace").rstrip())
        return await process.wait()
    finally:
        await finish(process)


def _signal(process: Process, number: signal.Signals) -> None:
    # The group, because a play's clients are children of its workers; it may be gone already.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
