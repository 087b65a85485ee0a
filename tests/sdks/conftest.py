"""What every client finds: a simulated model, relays before it, and in front of them a balancer that it dials."""

import asyncio
import base64
import fcntl
import os
import shutil
import ssl
import subprocess
from array import array
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import trustme
from aiohttp.pytest_plugin import AiohttpServer

from rtproxy.call.drain import drain
from rtproxy.carry import ADMISSION, LOG, ROSTER
from stage.gpt.options import Options
from stage.platform.replicas import Activator
from stage.realtime import make_app
from tests.conftest import Relay, RelayFactory

DEADLINE_S = 30.0
"""For a client that starts an interpreter or a browser first; a busy machine is not a defect."""
INSTALL_S = 50.0
NODE = Path(__file__).parent / "node"
SPEECH = array("h", [8000] * 24 + [-8000] * 24).tobytes() * 50
SILENCE = bytes(4800)
CHUNKS = [base64.b64encode(sound).decode() for sound in (*[SPEECH] * 5, *[SILENCE] * 45)]
"""100 ms each, for `input_audio_buffer.append`: speech, and silence enough for every client's turn detection; the one
that two of them choose, semantic, may take 4 s."""
DRAIN_S = 1.0
DRAINED = r"1012 .* revision draining, reconnect"
"""What the library `websockets`, and all that stands on it, says of a drain."""


class Line:
    """Clients call the balancer, by ``ws``, ``http`` or ``https``; it hands a new call to ``relay``."""

    def __init__(self, relay: Relay, other: Relay) -> None:
        self.relay, self._other = relay, other
        self.ws = self.http = self.https = ""

    async def port(self) -> int:
        """Of the relay for a new call."""
        return self.relay.port

    async def roll(self) -> None:
        """A rollout: new calls go to another relay, and the one so far drains to its end."""
        before, self.relay = self.relay, self._other
        await drain(before.app[ROSTER], before.app[ADMISSION], before.app[LOG], DRAIN_S)
        closed = await before.event("connection.closed")
        assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("drain", 1012, 1001)


@pytest.fixture
async def authority() -> trustme.CA:
    """Who signs the balancer's certificate."""
    return trustme.CA()


@pytest.fixture
async def line(
    relay_for: RelayFactory, aiohttp_server: AiohttpServer, authority: trustme.CA, request: pytest.FixtureRequest
) -> AsyncIterator[Line]:
    """The settings of its relays are the parameter of the fixture, if it has one."""
    model = await aiohttp_server(make_app(Options(key="model-key", answer_seconds=0.3, silence_ms=200)))
    settings: dict[str, str] = getattr(request, "param", {})
    assert model.port is not None
    relays = [await relay_for(model.port, **settings) for _ in range(2)]
    line = Line(*relays)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    plain, secured = Activator(line.port), Activator(line.port, tls)
    await plain.start()
    await secured.start()
    line.ws, line.http = (f"{scheme}://127.0.0.1:{plain.port}" for scheme in ("ws", "http"))
    line.https = f"https://127.0.0.1:{secured.port}"
    yield line
    await plain.stop()
    await secured.stop()


async def one_turn(relay: Relay, usage: Any) -> None:
    """The relay's record of a call: one answer with the tokens that the client was told, and the client hung up."""
    closed = await relay.event("connection.closed")
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("client", 1000, 1000)
    assert closed["responses"] == 1
    assert (closed["tokens_in"], closed["tokens_out"]) == (usage["input_tokens"], usage["output_tokens"])
    assert closed["tokens_out"] > 0
    assert closed["upstream_session"].startswith("sess_")


class Witness:
    """What a client in another process says that it sees: one JSON object a saying, by one key."""

    def __init__(self) -> None:
        self._said: list[dict[str, Any]] = []
        self._news = asyncio.Condition()

    async def note(self, saying: bytes) -> None:
        async with self._news:
            self._said.append(orjson.loads(saying))
            self._news.notify_all()

    async def listen(self, lines: asyncio.StreamReader) -> None:
        """Notes every line, to the last."""
        async for line in lines:
            await self.note(line)

    async def says(self, what: str) -> Any:
        """Waits until it has said ``what``; an error that was not waited for is an error here."""
        async with asyncio.timeout(DEADLINE_S), self._news:
            await self._news.wait_for(lambda: any(what in each or "error" in each for each in self._said))
        found = [each[what] for each in self._said if what in each]
        assert found, self._said
        return found[0]


def needed(program: str | None, name: str) -> str:
    """``program``, if it was found; otherwise the test is skipped, but fails in CI."""
    if program is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"no {name} on PATH")
    return program


@pytest.fixture(scope="session")
def node_modules() -> None:
    """Installs the npm packages of the lock file, if they are not there yet."""
    npm = needed(shutil.which("npm"), "npm")
    lock, installed = NODE / "package-lock.json", NODE / "node_modules" / ".package-lock.json"
    # One worker installs and the others wait: `npm ci` begins with taking away what is there.
    with lock.open() as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            command = (npm, "ci", "--ignore-scripts", "--silent")
            subprocess.run(command, cwd=NODE, check=True, timeout=INSTALL_S)
