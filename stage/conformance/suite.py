"""The suite as a process, and both legs of the relay before it: each runs all cases directly, then through the relay.

The suite is installed in a folder of its own, because it needs Python 2.7, which nothing else here does. On the one leg
it is the client and an echo is the model; on the other it is the model, behind a `Front` that rewrites paths. The echo
is aiohttp's: of an unsound stream it still reads what came before the fault, which makes it hard to be as good as.
"""

import ast
import asyncio
import contextlib
import hashlib
import os
import re
import secrets
import shutil
import subprocess
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

import orjson
from aiohttp import ClientError, ClientSession, ClientWebSocketResponse, WSMsgType, web

from stage.conformance.comparison import DIRECT, RELAYED
from stage.leash import leashed
from stage.replica import DEPLOYMENT, Replica

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
NEEDS = """\
The Autobahn test suite runs on Python 2.7 only, and there is none here. Get one, pip included: pyenv install 2.7.18
It is found below ~/.pyenv (or PYENV_ROOT), or on the PATH as python2.7, or where you say: --python2 PATH"""
_RUN = """
import site, sys
site.addsitedir(sys.argv.pop(1))
from twisted.python.log import startLogging
startLogging(sys.stdout, setStdout=False)
from autobahntestsuite.wstest import run
run()
"""
_CASES = re.compile(rb"Cases = (\[.*\])")
_LISTENS = re.compile(rb"FuzzingServerFactory starting on (\d+)")
_RUNS = re.compile(rb"Running test case ID ([\d.]+) for agent (\w+) ")
Told = Callable[[str, str], None]
"""Gets an agent and the case that begins for it."""
_NO_LIMIT = 0
_CHUNK = 64 * 1024
CASE_TIMEOUT_S = 180.0
"""What a case may take at most: the suite itself gives up the longest, 16 MiB in bits, after 100 s."""


class NotInstalled(RuntimeError):
    """The message names what is missing, or has the output of pip."""


class Wstest(NamedTuple):
    """The suite as it is installed."""

    python2: Path
    folder: Path

    def command(self, *arguments: str) -> tuple[str, ...]:
        """Runs it, with Twisted's log on stdout, which names the port. It sees no package but those in ``folder``."""
        return (str(self.python2), "-S", "-u", "-c", _RUN, str(self.folder), *arguments)


def install(python2: Path | None, folder: Path) -> Wstest:
    """Installs the suite into ``folder`` unless what is pinned is there already; half a minute the first time.

    Raises NotInstalled.
    """
    python2 = python2 or _found()
    if python2 is None:
        raise NotInstalled(NEEDS)
    stamp, pinned = folder / "installed", hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != pinned:
        shutil.rmtree(folder, ignore_errors=True)
        pip = (str(python2), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps")
        try:
            _run(*pip, "--require-hashes", "--target", str(folder), "--requirement", str(REQUIREMENTS))
        except OSError as problem:
            raise NotInstalled(f"{python2} does not run: {problem.strerror}") from None
        stamp.write_text(pinned)
    return Wstest(python2, folder)


def _found() -> Path | None:
    on_path = shutil.which("python2.7")
    # A shim of pyenv has the name although no 2.7 is chosen, and then does not run.
    if on_path and subprocess.run((on_path, "--version"), capture_output=True, check=False).returncode == 0:
        return Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return max(pyenv.glob("versions/2.7*/bin/python2.7"), default=None)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalled(f"{' '.join(command)} failed:\n{(done.stderr or done.stdout).strip()}")


class SuiteError(RuntimeError):
    """The suite ended too early; the message has its last output."""


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
        """Reads its output up to a line that matches, and returns the group; None: to its end. Raises SuiteError."""
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


@asynccontextmanager
async def answering() -> AsyncIterator[int]:
    """A server on a free loopback port, which is yielded. It agrees on no extension, as the relay does not."""
    app = web.Application()
    app.router.add_get("/{path:.*}", _answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _answer(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(max_msg_size=_NO_LIMIT, compress=False)
    await socket.prepare(request)
    await _echo(socket)
    return socket


async def asking(session: ClientSession, url: str) -> None:
    """A client that dials and echoes until the other side closes. Raises ClientError when nothing answers."""
    async with session.ws_connect(url, max_msg_size=_NO_LIMIT) as socket:
        await _echo(socket)


async def _echo(socket: web.WebSocketResponse | ClientWebSocketResponse) -> None:
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)


class Front:
    """Passes connections on to the suite and replaces the path of the request by ``path``.

    All else passes byte for byte, and so do the ends of both directions.
    """

    def __init__(self, suite_port: int) -> None:
        self._suite_port = suite_port
        # A stream keeps its task only until the socket is lost, and the loop keeps only weak references.
        self._passing: set[asyncio.Task[Any] | None] = set()
        self.path = "/"
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._came, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()

    async def _came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._passing.add(task := asyncio.current_task())
        with closing(writer), suppress(asyncio.IncompleteReadError, OSError):
            await reader.readuntil(b"\r\n")
            onward, out = await asyncio.open_connection("127.0.0.1", self._suite_port)
            with closing(out):
                out.write(f"GET {self.path} HTTP/1.1\r\n".encode())
                await asyncio.gather(_pass(reader, out), _pass(onward, writer))
        self._passing.discard(task)


async def _pass(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Until ``source`` ends: a FIN goes on as one, and where there was none, both directions end."""
    try:
        while data := await source.read(_CHUNK):
            sink.write(data)
            await sink.drain()
        if not sink.is_closing():
            sink.write_eof()
    except OSError:
        sink.transport.abort()


@contextlib.asynccontextmanager
async def _relay(model_port: int, log: Path) -> AsyncIterator[Replica]:
    """A relay process in front of the model. It needs no client key: the suite has no way to send one."""
    settings = {
        "AZURE_OPENAI_ENDPOINT": f"http://127.0.0.1:{model_port}",
        "AZURE_OPENAI_DEPLOYMENT": DEPLOYMENT,
        "AZURE_OPENAI_API_KEY": secrets.token_urlsafe(24),
        "RTPROXY_ALLOW_ANONYMOUS": "true",
    }
    with log.open("wb") as lines:
        replica = await Replica.start(settings, lines)
        try:
            yield replica
        finally:
            await replica.kill()


def _url(relay: Replica) -> str:
    return f"ws://127.0.0.1:{relay.port}/v1/realtime"


async def client_leg(wstest: Wstest, folder: Path, patterns: Sequence[str], told: Told) -> list[str]:
    """The suite is the client, the echo the model. Returns the cases' numbers; the report is in ``folder``."""
    async with answering() as model_port, _relay(model_port, folder / "relay.jsonl") as relay:
        urls = {DIRECT: f"ws://127.0.0.1:{model_port}", RELAYED: _url(relay)}
        return await ask(wstest, folder, urls, patterns, told)


async def upstream_leg(wstest: Wstest, folder: Path, patterns: Sequence[str], told: Told) -> list[str]:
    """The suite is the model, the echo the client. Returns the cases' numbers; the report is in ``folder``."""
    async with (
        serve(wstest, folder, patterns, told) as serving,
        Front(serving.port) as front,
        _relay(front.port, folder / "relay.jsonl") as relay,
        ClientSession() as session,
    ):
        for agent in (DIRECT, RELAYED):
            for number in range(1, len(serving.cases) + 1):
                front.path = f"/runCase?case={number}&agent={agent}"
                url = f"{serving.url}{front.path}" if agent == DIRECT else _url(relay)
                # A case without an end, or without a beginning, is missing in the report.
                with contextlib.suppress(TimeoutError, ClientError):
                    async with asyncio.timeout(CASE_TIMEOUT_S):
                        await asking(session, url)
                        await _asked(session, f"{serving.url}/getCaseStatus?case={number}&agent={agent}")
        await _asked(session, f"{serving.url}/updateReports?agent={RELAYED}")
    return serving.cases


async def _asked(session: ClientSession, url: str) -> None:
    """Waits until the suite has done what the URL asks for, such as the end of a case."""
    async with session.ws_connect(url) as socket:
        async for _ in socket:
            pass


LEGS = {"client": client_leg, "upstream": upstream_leg}
"""By the leg of the relay that is tried."""
