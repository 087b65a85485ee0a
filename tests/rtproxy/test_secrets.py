"""No key, token, query string or payload is in what a relay writes or answers, whatever befalls it."""

import asyncio
import base64
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from stage.identity import Directory, beside, make_app
from stage.rawpeer import BINARY, CLOSE, TEXT, RawPeer, RawServer, announced, close_payload
from stage.replica import Replica
from tests.conftest import DEADLINE_S, Caller, ReplicaFactory

SECRET = "hush"
"""Everything that must not be told has this in it."""
CLIENT_KEY, MODEL_KEY, IDENTITY_HEADER = "hush-key-of-a-client", "hush-model-key", "hush-identity-header"
AUDIO = base64.b64encode(b"hush" * 300)
TOLD = orjson.dumps({"error": {"code": "refused-by-a-test", "message": "hush: key hush-model-key is wrong"}})

LOUD = '''
"""Loaded by the interpreter before the relay: every logger at its loudest, and two defects that input brings out."""

import hashlib, logging, time, orjson

logging.basicConfig(level=logging.DEBUG)
sha256, loads = hashlib.sha256, orjson.loads

def broken_sha256(data=b"", **how):
    if b"slow" in data:
        time.sleep(0.2)
    if b"explode" in data:
        raise RuntimeError("a defect in the handshake")
    return sha256(data, **how)

def broken_loads(data):
    if b"explode" in data:
        raise RuntimeError("a defect in the call")
    return loads(data)

hashlib.sha256, orjson.loads = broken_sha256, broken_loads
'''


class Life(NamedTuple):
    """All that a relay said from its start to its end."""

    events: list[dict[str, object]]
    stderr: str
    answers: str

    def __str__(self) -> str:
        return f"{orjson.dumps(self.events).decode()}\n{self.stderr}\n{self.answers}"


class Guest:
    """Calls one relay and keeps whatever it answers, but for what passes in calls."""

    def __init__(self, relay: Replica, upstream: RawServer, dial: Caller, audiences: int) -> None:
        self.relay = relay
        self.audiences = audiences
        self.dial = dial
        self.upstream = upstream
        self.answers: list[str] = []

    async def asks(self, path: str = "/v1/realtime", *model_says: str, **headers: str) -> None:
        """Is refused, by the relay or by a model that answers with a status and `TOLD`."""
        fields = {"api-key": CLIENT_KEY, **headers}
        asking = asyncio.create_task(self.dial(self.relay.port, path, headers=fields))
        for status in model_says:
            model = await self.upstream.request()
            await model.answer(status, headers={"Connection": "close", "x-hush": "hush"}, body=TOLD)
        await self._keep(await asking)

    async def calls(self, **headers: str) -> tuple[RawPeer, RawPeer]:
        """Is let in, and talks."""
        path, fields = "/v1/realtime?model=gpt-realtime", {"api-key": CLIENT_KEY, **headers}
        calling = asyncio.create_task(self.dial(self.relay.port, path, headers=fields))
        model = await self.upstream.request()
        await model.answer(headers={"x-hush": "hush"})
        client = await calling
        self.answers.append(str(client.headers))
        await client.send(TEXT, b'{"type":"input_audio_buffer.append","audio":"' + AUDIO + b'"}')
        await model.send(TEXT, b'{"type":"session.created","session":{"instructions":"hush-instructions"}}')
        await model.send(TEXT, b'{"type":"response.created","response":{"metadata":"hush-metadata"}}')
        await model.send(TEXT, b'{"type":"response.output_audio_transcript.delta","delta":"hush-words"}')
        assert [(await client.read()).opcode for _ in range(3)] == [TEXT] * 3
        return client, model

    async def _keep(self, peer: RawPeer) -> None:
        body = await peer.reader.readexactly(int(peer.headers["content-length"]))
        self.answers.append(f"{peer.request_line}\n{peer.headers}\n{body.decode()}")


async def live(
    relay: Replica, upstream: RawServer, dial: Caller, *, defective: bool = False, audiences: int = 1
) -> Life:
    """Leads a relay through everything that can go wrong, to its end. It tries ``audiences`` where a model says 401."""
    guest = Guest(relay, upstream, dial, audiences)
    async with asyncio.timeout(3 * DEADLINE_S):
        await is_refused(guest)
        await talks(guest)
        if defective:
            await meets_defects(guest)
        # A call in the middle of a frame and of a response, when the relay is told to go.
        client, _ = await guest.calls()
        await client.write(announced(TEXT, 1 << 20, masked=True) + AUDIO)
        for path in ("/metrics", "/status", "/readyz", "/healthz", "/hush?hush"):
            await guest.asks(path, Upgrade="")
        relay.signal(signal.SIGTERM)
        assert await relay.exited() == 0
    return Life(relay.events, relay.stderr.decode(), "\n".join(guest.answers))


async def is_refused(guest: Guest) -> None:
    protocol = {"Sec-WebSocket-Protocol": f"realtime, openai-insecure-api-key.{CLIENT_KEY}"}
    await guest.asks(**{"api-key": "hush-wrong"})
    await guest.asks(**{"api-key": "", "Authorization": "Bearer hush-wrong"})
    await guest.asks(**{"api-key": "", "Sec-WebSocket-Protocol": "openai-insecure-api-key.hush-wrong"})
    await guest.asks(f"/v1/realtime?api-key={CLIENT_KEY}", **{"api-key": ""})
    await guest.asks("/v1/realtime?model=hush-model")
    for query in (
        "token=hush-query",
        "hush-query",
        "intent=hush-query",
        "call_id=hush%20query",
        "api-version=hush-query",
    ):
        await guest.asks(f"/v1/realtime?model=gpt-realtime&{query}")
    await guest.asks("/openai/realtime?deployment=gpt-realtime&api-version=hush-query")
    await guest.asks(**{"OpenAI-Safety-Identifier": "hush" * 100})
    await guest.asks(Expect="hush-expectation")
    await guest.asks("/v1/realtime?token=hush-query", Origin="https://hush.example")
    await guest.asks(**{"Sec-WebSocket-Key": "hush"}, **protocol)
    await guest.asks("/openai/hush-path?hush=hush")
    await guest.asks("/v1/realtime?model=gpt-realtime", *["401 Unauthorized"] * guest.audiences)
    for status in ("429 Too Many Requests", "500 Oops", "302 Found"):
        await guest.asks("/v1/realtime?model=gpt-realtime", status)


async def talks(guest: Guest) -> None:
    protocol = {"Sec-WebSocket-Protocol": f"realtime, openai-insecure-api-key.{CLIENT_KEY}"}
    client, _ = await guest.calls(**{"api-key": ""}, **protocol)
    await client.send(3, b"hush-bad-frame")
    await guest.relay.event("connection.closed", ended_by="error", client_code=1002)
    _, model = await guest.calls()
    await model.write(announced(BINARY, 1 << 30, masked=False) + b"hush-too-big")
    await guest.relay.event("connection.closed", ended_by="limit")
    client, model = await guest.calls()
    await client.send(CLOSE, close_payload(4000, "hush-reason"))
    await model.read_until(CLOSE)
    model.hang_up()
    await guest.relay.event("connection.closed", client_code=4000)


async def meets_defects(guest: Guest) -> None:
    await guest.asks(**{"api-key": "hush-explode-slow"})
    _, model = await guest.calls()
    await model.send(TEXT, b'{"type":"error","error":{"code":"explode","message":"hush-message"}}')
    await guest.relay.event("connection.closed", ended_by="error", client_code=1011)


@pytest.fixture
async def identity() -> AsyncIterator[dict[str, str]]:
    directory = Directory(header=IDENTITY_HEADER)
    async with beside(make_app(directory), directory.header) as environ:
        yield {"AZURE_OPENAI_API_KEY": "", **environ}


@pytest.fixture
def settings() -> dict[str, str]:
    return {
        "AZURE_OPENAI_API_KEY": MODEL_KEY,
        "RTPROXY_CLIENT_KEYS": f"alice:{CLIENT_KEY}",
        "RTPROXY_ALLOWED_ORIGINS": "https://app.example.com",
        "RTPROXY_DRAIN_SECONDS": "0.5",
    }


@pytest.fixture
def loud(tmp_path: Path) -> dict[str, str]:
    """The environment of a relay with defects, at the loudest of every log there is."""
    (tmp_path / "sitecustomize.py").write_text(LOUD)
    return {"PYTHONPATH": str(tmp_path), "PYTHONASYNCIODEBUG": "1"}


async def test_a_relay_says_no_secret_in_all_its_life(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, settings: dict[str, str]
) -> None:
    relay = await replica_for(upstream.port, **settings)
    life = await live(relay, upstream, dial)
    assert len(life.answers.splitlines()) > 50
    assert SECRET not in str(life)


async def test_a_relay_with_defects_says_no_secret_at_any_log_level(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, settings: dict[str, str], loud: dict[str, str]
) -> None:
    life = await live(await replica_for(upstream.port, **settings, **loud), upstream, dial, defective=True)
    assert "RuntimeError: a defect in the handshake" in life.stderr
    assert "RuntimeError: a defect in the call" in life.stderr
    assert "DEBUG:" in life.stderr
    assert SECRET not in str(life)


async def test_a_relay_with_an_identity_says_no_token_at_any_log_level(
    replica_for: ReplicaFactory,
    upstream: RawServer,
    dial: Caller,
    settings: dict[str, str],
    identity: dict[str, str],
    loud: dict[str, str],
) -> None:
    relay = await replica_for(upstream.port, **settings | identity | loud)
    life = await live(relay, upstream, dial, defective=True, audiences=2)
    assert "entra-token-" not in str(life)
    assert SECRET not in str(life)


async def test_a_relay_does_not_quote_a_request_that_is_no_http(
    replica_for: ReplicaFactory, upstream: RawServer, settings: dict[str, str]
) -> None:
    relay = await replica_for(upstream.port, **settings)
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(b"GET /v1/realtime HTTP/1.1\r\nAuthorization : Bearer hush-key-of-a-client\r\n\r\n")
    assert (await reader.readline()).split()[1] == b"400"
    await reader.read()
    writer.close()
    await relay.kill()
    assert SECRET not in relay.stderr.decode()
