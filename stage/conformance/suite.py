"""The suite as a process, as a client or as a server: what it is told to run, and what it says while it does."""

import ast
import asyncio
import contextlib
import re
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from stage.conformance.install import Wstest
from stage.leash import leashed

_CASES = re.compile(rb"Cases = (\[.*\])")
_LISTENS = re.compile(rb"FuzzingServerFactory starting on (\d+)")
_RUNS = re.compile(rb"Running test case ID ([\d.]+) for agent (\w+) ")

Told = Callable[[str, str], None]
"""Is told an agent and the case that begins for it."""


class SuiteError(RuntimeError):
    """The suite ended before its time; the message has the last that it said."""


class Serving(NamedTuple):
    """The suite as a server."""

    port: int
    cases: list[str]

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"


class _Suite:
    """A running suite. ``cases`` are those it will run, known before the first of them."""

    def __init__(self, process: Process, log: BinaryIO) -> None:
        self._process, self._log = process, log
        self._last: list[bytes] = []
        self.cases: list[str] = []

    async def until(self, pattern: re.Pattern[bytes] | None, told: Told) -> bytes:
        """Reads what it says up to what matches, and returns the group; None: to its end. Raises SuiteError."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self._log.write(line)
            self._last = [*self._last[-4:], line]
            if found := _CASES.match(line):
                self.cases = ast.literal_eval(found[1].decode())
            elif found := _RUNS.match(line):
                told(found[2].decode(), found[1].decode())
            if pattern is not None and (found := pattern.search(line)):
                return bytes(found[1])
        if pattern is not None or await self._process.wait():
            raise SuiteError(f"the suite ended:\n{b''.join(self._last).decode(errors='replace').rstrip()}")
        return b""


@contextlib.asynccontextmanager
async def _running(wstest: Wstest, mode: str, folder: Path, spec: Mapping[str, Any]) -> AsyncIterator[_Suite]:
    """``folder`` gets the report, the specification and a log."""
    written = folder / "spec.json"
    written.write_bytes(orjson.dumps({"outdir": str(folder), **spec}))
    command = wstest.command("--mode", mode, "--spec", str(written), "--webport", "0")
    with (folder / "wstest.log").open("wb") as log:
        # A line names every case.
        process = await leashed(*command, cwd=folder, stdout=PIPE, stderr=STDOUT, limit=1 << 20)
        try:
            yield _Suite(process, log)
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


async def ask(wstest: Wstest, folder: Path, urls: Mapping[str, str], patterns: Sequence[str], told: Told) -> list[str]:
    """The suite as a client runs the cases against each agent's URL, and reports. Returns the cases' numbers."""
    servers = [{"agent": agent, "url": url} for agent, url in urls.items()]
    async with _running(wstest, "fuzzingclient", folder, {"servers": servers, "cases": patterns}) as suite:
        await suite.until(None, told)
        return suite.cases


@contextlib.asynccontextmanager
async def serve(wstest: Wstest, folder: Path, patterns: Sequence[str], told: Told) -> AsyncIterator[Serving]:
    """The suite as a server, at a URL a case and agent; it reports when `/updateReports` is asked for."""
    # Of the port 0 it gets a free one, and then does not insist on its own port in a Host header.
    spec = {"url": "ws://127.0.0.1:0", "cases": patterns}
    async with _running(wstest, "fuzzingserver", folder, spec) as suite:
        port = int(await suite.until(_LISTENS, told))
        listening = asyncio.create_task(suite.until(None, told))
        try:
            yield Serving(port, suite.cases)
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError, SuiteError):
                await listening
