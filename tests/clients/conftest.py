"""A simulated model in this process, and holds and probes as processes whose observations arrive as they are made."""

import asyncio
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import orjson
import pytest
from aiohttp import web

from stage.gpt.options import Options
from stage.realtime import make_app

KEY = "key-0f-the-caller"
DEADLINE_S = 30.0
BRISK = (
    *("--connections", "2"),
    *("--duration", "60"),
    *("--talk-every", "0.2"),
    *("--utterance", "0.2"),
    *("--ping-interval", "0.2"),
)

Observation = dict[str, Any]


class Model:
    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self._http = http

    async def fault(self, name: str, **more: object) -> list[str]:
        """The sessions it touched."""
        async with self._http.post(f"{self.url}/_stage/faults", json={"fault": name, **more}) as answer:
            assert answer.status == 200, await answer.text()
            touched: list[str] = (await answer.json())["sessions"]
            return touched

    async def sessions(self) -> list[dict[str, Any]]:
        async with self._http.get(f"{self.url}/_stage/sessions") as answer:
            records: list[dict[str, Any]] = await answer.json()
            return records

    async def hearing(self) -> None:
        """Until every caller has begun to speak."""
        async with asyncio.timeout(DEADLINE_S):
            while any(session["bytes_received"] < 5000 for session in await self.sessions()):
                pass  # asking is waiting


ModelFactory = Callable[..., Awaitable[Model]]


@pytest.fixture
async def model_for() -> AsyncIterator[ModelFactory]:
    """`await model_for(max_sessions=1)`; `tls` makes it speak TLS."""
    runners: list[web.AppRunner] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as http:

        async def start(tls: ssl.SSLContext | None = None, **options: Any) -> Model:
            brisk = {"key": KEY, "answer_seconds": 0.2, "pace": 10}
            runners.append(web.AppRunner(make_app(Options(**(brisk | options))), access_log=None, shutdown_timeout=0.1))
            await runners[-1].setup()
            await web.TCPSite(runners[-1], "127.0.0.1", 0, ssl_context=tls).start()
            port = runners[-1].addresses[0][1]
            return Model(f"{'https' if tls else 'http'}://127.0.0.1:{port}", http)

        yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def model(model_for: ModelFactory) -> Model:
    return await model_for()


class Result(NamedTuple):
    code: int
    stdout: str
    stderr: str  # what is not an observation
    observations: list[Observation]

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self.stdout)
        return found

    def all(self, name: str) -> list[Observation]:
        return [each for each in self.observations if each["observation"] == name]

    def only(self, name: str) -> Observation:
        (one,) = self.all(name)
        return one


class Holding:
    """A hold that runs; its record is its stderr, so that an observation can be awaited."""

    def __init__(self, process: asyncio.subprocess.Process, stderr: asyncio.StreamReader) -> None:
        self.process = process
        self._stderr = stderr
        self._observations: list[Observation] = []
        self._words: list[str] = []

    async def observed(self, name: str, count: int = 1) -> list[Observation]:
        """Until there have been `count` of them."""
        async with asyncio.timeout(DEADLINE_S):
            while len(found := [each for each in self._observations if each["observation"] == name]) < count:
                if not await self._read():
                    code = await self.process.wait()
                    pytest.fail(f"the hold ended with {code} and without {count} x {name}: {''.join(self._words)}")
        return found

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    async def result(self) -> Result:
        assert self.process.stdout
        async with asyncio.timeout(DEADLINE_S):
            while await self._read():
                pass
            stdout = await self.process.stdout.read()
            code = await self.process.wait()
        return Result(code, stdout.decode(), "".join(self._words), self._observations)

    async def _read(self) -> bool:
        line = await self._stderr.readline()
        if line.startswith(b"{"):
            self._observations.append(orjson.loads(line))
        else:
            self._words.append(line.decode())
        return bool(line)


HoldFactory = Callable[..., Awaitable[Holding]]


@pytest.fixture
async def hold() -> AsyncIterator[HoldFactory]:
    """`await hold(model.url, "--json")`: brisk unless told otherwise."""
    running: list[tuple[asyncio.subprocess.Process, asyncio.ReadTransport]] = []

    async def start(url: str, *options: str, key: str = KEY, record: str = "/dev/stderr") -> Holding:
        # A pipe of our own: asyncio's is a socket, which nobody can open as /dev/stderr.
        read_end, write_end = os.pipe()
        stderr = asyncio.StreamReader(limit=2**24)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stderr), os.fdopen(read_end, "rb")
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "clients.hold", url, *BRISK, "--record", record, *options),
            stdout=asyncio.subprocess.PIPE,
            stderr=write_end,
            env=os.environ | {"RTPROXY_KEY": key},
        )
        os.close(write_end)
        running.append((process, transport))
        return Holding(process, stderr)

    yield start
    for process, transport in running:
        transport.close()
        if process.returncode is None:
            process.kill()
        await process.communicate()


class Probed(NamedTuple):
    code: int
    stdout: str
    stderr: str
    rounds: list[dict[str, Any]]


class Probing:
    def __init__(self, process: asyncio.subprocess.Process, record: Path) -> None:
        self.process = process
        self._record = record
        self._said = ""

    async def said(self, words: str) -> None:
        """Until they are on stderr."""
        assert self.process.stderr
        async with asyncio.timeout(DEADLINE_S):
            while words not in self._said:
                line = await self.process.stderr.readline()
                assert line, f"it ended and said only: {self._said}"
                self._said += line.decode()

    async def result(self) -> Probed:
        async with asyncio.timeout(DEADLINE_S):
            stdout, stderr = await self.process.communicate()
        assert self.process.returncode is not None
        rounds = [orjson.loads(line) for line in self._record.read_bytes().splitlines()]
        return Probed(self.process.returncode, stdout.decode(), self._said + stderr.decode(), rounds)


ProbeFactory = Callable[..., Awaitable[Probing]]


@pytest.fixture
async def probe(tmp_path: Path) -> AsyncIterator[ProbeFactory]:
    running: list[asyncio.subprocess.Process] = []

    async def start(url: str, *options: str) -> Probing:
        record = tmp_path / f"probe-{len(running)}.jsonl"
        brisk = ("--interval", "0.1", "--record", str(record))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "clients.probe", url, *brisk, *options),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        running.append(process)
        return Probing(process, record)

    yield start
    for process in running:
        if process.returncode is None:
            process.kill()
        await process.communicate()
