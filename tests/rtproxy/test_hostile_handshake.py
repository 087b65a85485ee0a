"""Raw bytes at the listener. What is no sound handshake is refused, costs others nothing, and reaches no model."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from stage.rawpeer import BINARY, TEXT, RawPeer, RawServer, frame
from stage.replica import Replica
from tests.conftest import DEADLINE_S, KEY, Caller, Relay, RelayFactory, ReplicaFactory
from tests.standstill import within

LINE = "GET /v1/realtime HTTP/1.1"
SOUND = {
    "Host": "relay.example",
    "api-key": KEY,
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def request(line: str = LINE, *more: str, **other: str | None) -> bytes:
    """A handshake; ``more`` are header lines, ``other`` headers put in the place of SOUND's (None: left out)."""
    headers = SOUND | {name.replace("_", "-"): value for name, value in other.items()}
    lines = [line, *(f"{name}: {value}" for name, value in headers.items() if value is not None), *more]
    return "\r\n".join((*lines, "", "")).encode("latin-1")


Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Opener = Callable[[int, bytes], Awaitable[Opened]]


@pytest.fixture
async def raw() -> AsyncIterator[Opener]:
    """Sends bytes to a port: ``reader, writer = await raw(port, b"GET ...")``."""
    writers: list[asyncio.StreamWriter] = []

    async def opened(port: int, said: bytes) -> Opened:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        writer.write(said)
        return reader, writer

    yield opened
    for writer in writers:
        writer.transport.abort()


async def answered(reader: asyncio.StreamReader) -> int:
    """The status of the answer."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    return int(head.split()[1])


async def passes(relay: Relay | Replica, upstream: RawServer, dial: Caller) -> tuple[RawPeer, RawPeer]:
    """A call that stands in less than a second, and the next one that the model hears of."""
    async with within(1):
        connecting = asyncio.create_task(dial(relay.port))
        model = await upstream.request()
        await model.answer()
        client = await connecting
        await client.send(TEXT, b"hello")
        assert (await model.read()).payload == b"hello"
    return client, model


UNSOUND = {
    "NUL in a header": request(LINE, "X: a\0b"),
    "CR in a header": request(LINE, "X: a\rapi-key: b"),
    "LF for a line's end": request().replace(b"\r\n", b"\n"),
    "header that goes on in the next line": request(LINE, "X: a", " b"),
    "blank before the colon": request(LINE, "api-key : x"),
    "no colon": request(LINE, "nonsense"),
    "no host": request(Host=None),
    "two hosts": request(LINE, "Host: other"),
    "two lengths": request(LINE, "Content-Length: 1", "Content-Length: 2"),
    "length and chunks": request(LINE, "Content-Length: 3", "Transfer-Encoding: chunked"),
    "negative length": request(LINE, "Content-Length: -1"),
    "huge header": request(LINE, "X: " + "a" * 9000),
    "header without end": b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000,
    "many headers": request(LINE, *["X: a"] * 200),
    "long line": request(f"GET /v1/realtime?{'a' * 9000} HTTP/1.1"),
    "HTTP/1.2": request("GET /v1/realtime HTTP/1.2"),
    "bytes in the path": request("GET /v1/\xff HTTP/1.1"),
    "broken authority": request("GET http://[::1/v1/realtime HTTP/1.1"),
    "no path": request("GET realtime HTTP/1.1"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "noise": bytes(range(256)),
}


@pytest.mark.parametrize("case", UNSOUND)
async def test_what_is_no_http_is_400_and_hung_up(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, raw: Opener, case: str
) -> None:
    relay = await relay_for(upstream.port)
    reader, _ = await raw(relay.port, UNSOUND[case])
    async with within(5):
        assert (await reader.read()).split()[1] == b"400"
    (refused,) = relay.events
    assert (refused["event"], refused["code"], refused["path"]) == ("client.refused", "bad_request", None)
    await passes(relay, upstream, dial)


NO_WEBSOCKET = {
    "HTTP/1.0": (request("GET /v1/realtime HTTP/1.0"), {400, 426, 505}),
    "HTTP/2.0 in a line": (request("GET /v1/realtime HTTP/2.0"), {400, 426, 505}),
    "HTTP/0.9": (request("GET /v1/realtime"), {400, 426, 505}),
    "a body": (request(LINE, "Content-Length: 5") + b"hello", {400}),
    "a body that is to come": (request(LINE, "Content-Length: 500") + b"hello", {400}),
    "a body in chunks": (request(LINE, "Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n", {400}),
    "two keys": (request(LINE, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="), {400}),
    "two versions": (request(LINE, "Sec-WebSocket-Version: 8"), {400, 426}),
    "another protocol beside WebSocket": (request(Upgrade="websocket, h2c"), {400, 426}),
    "another protocol before WebSocket": (request(Upgrade="h2c, websocket"), {400, 426}),
    "a word that only Unicode takes for websocket": (
        request(Upgrade="websoc\u212aet".encode().decode("latin-1")),
        {400, 426},
    ),
    "no upgrade": (request(Upgrade=None), {426}),
    "no connection": (request(Connection=None), {426}),
    "another upgrade": (request(Upgrade="h2c"), {426}),
    "version 8": (request(Sec_WebSocket_Version="8"), {426}),
    "version 013": (request(Sec_WebSocket_Version="013"), {426}),
    "no version": (request(Sec_WebSocket_Version=None), {426}),
    "no key": (request(Sec_WebSocket_Key=None), {400}),
    "a short key": (request(Sec_WebSocket_Key="dGhlIHNhbXBsZQ=="), {400}),
    "a long key": (request(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZSBhbmQgbW9yZQ=="), {400}),
    "a key that is no base64": (request(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ=!"), {400}),
    "a key of other bytes": (request(Sec_WebSocket_Key="\xff" * 24), {400}),
    "POST": (request("POST /v1/realtime HTTP/1.1"), {405}),
    "HEAD": (request("HEAD /v1/realtime HTTP/1.1"), {405}),
    "CONNECT": (request("CONNECT relay.example:80 HTTP/1.1"), {400, 404, 405}),
    "a path with dots": (request("GET /v1/../v1/realtime HTTP/1.1"), {404}),
    "another path": (request("GET /v1/realtimes HTTP/1.1"), {404}),
}


@pytest.mark.parametrize("case", NO_WEBSOCKET)
async def test_what_is_no_handshake_is_refused_and_reaches_no_model(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, raw: Opener, case: str
) -> None:
    relay = await relay_for(upstream.port)
    said, statuses = NO_WEBSOCKET[case]
    # The model answers whoever comes: what passes by mistake is a 101 at once.
    answering = asyncio.create_task(answer_all(upstream))
    reader, _ = await raw(relay.port, said)
    assert await answered(reader) in statuses
    answering.cancel()
    assert not [event for event in relay.events if event["event"] == "upstream.connected"]


async def answer_all(upstream: RawServer) -> None:
    while True:
        await (await upstream.request()).answer()


SHOWN = {
    "Authorization": request(LINE, "Authorization: Bearer \xff\xfe", api_key=None),
    "api-key": request(api_key="\xff"),
    "a subprotocol": request(LINE, "Sec-WebSocket-Protocol: openai-insecure-api-key.\xc3", api_key=None),
}


@pytest.mark.parametrize("case", SHOWN)
async def test_a_credential_of_bytes_that_are_no_text_is_401(
    relay_for: RelayFactory, upstream: RawServer, raw: Opener, case: str
) -> None:
    relay = await relay_for(upstream.port)
    reader, _ = await raw(relay.port, SHOWN[case])
    assert await answered(reader) == 401
    assert (await relay.event("client.refused"))["code"] == "invalid_api_key"


async def test_two_connection_headers_are_one_list(relay_for: RelayFactory, upstream: RawServer, raw: Opener) -> None:
    relay = await relay_for(upstream.port)
    answering = asyncio.create_task(answer_all(upstream))
    reader, _ = await raw(relay.port, request(LINE, "Connection: Upgrade", Connection="keep-alive"))
    assert await answered(reader) == 101
    answering.cancel()


SECRETS = ("evil", "cookie-of-somebody", "token-of-somebody", "smuggled")


async def test_the_model_sees_its_own_request_and_nothing_of_the_clients(relay_for: RelayFactory, raw: Opener) -> None:
    seen: asyncio.Queue[bytes] = asyncio.Queue()

    async def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.put_nowait(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with await asyncio.start_server(came, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        relay = await relay_for(port)
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        said = request(
            "GET http://evil.example:81/v1/realtime?model=gpt-realtime&api-version=v1 HTTP/1.1",
            "Authorization: Bearer token-of-somebody",
            "Cookie: cookie-of-somebody",
            "OpenAI-Beta: smuggled",
            "OpenAI-Organization: smuggled",
            "X-Forwarded-For: smuggled, smuggled",
            "X-Forwarded-Host: evil.example",
            "Forwarded: for=smuggled",
            "Origin: https://evil.example",
            "User-Agent: smuggled",
            "x-ms-client-request-id: smuggled",
            "Sec-WebSocket-Extensions: permessage-deflate; smuggled",
            f'Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.{KEY}, smug led, smug"led, smug;led,,',
            "Sec-WebSocket-Protocol: realtime, v1",
            f"traceparent: {trace}",
            "tracestate: a=\xffsmuggled",
            "Content-Encoding: gzip",
            "TE: trailers",
            "Expect: 100-continue",
            "Keep-Alive: timeout=1",
            "Proxy-Authorization: Basic token-of-somebody",
            Host="evil.example",
            Connection="Upgrade, keep-alive, api-key, Sec-WebSocket-Key",
        )
        await raw(relay.port, said + b"GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n")
        head = (await asyncio.wait_for(seen.get(), DEADLINE_S)).decode()
        await relay.event("upstream.failed")
    assert not [secret for secret in SECRETS if secret in head.lower()]
    key = "[A-Za-z0-9+/]{22}=="
    lines = (
        r"GET /openai/v1/realtime\?model=gpt-realtime HTTP/1\.1",
        rf"Host: 127\.0\.0\.1:{port}",
        f"traceparent: {trace}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        r"User-Agent: rtproxy/[0-9.]+",
        "Sec-WebSocket-Protocol: realtime, v1",
        "api-key: model-key",
    )
    assert re.fullmatch("\r\n".join((*lines, "", "")), head), head
    assert SOUND["Sec-WebSocket-Key"] not in head


async def test_requests_in_a_pipeline_are_answered_in_their_order_and_the_last_is_a_call(
    relay_for: RelayFactory, upstream: RawServer, raw: Opener
) -> None:
    relay = await relay_for(upstream.port)
    healthz = b"GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n"
    refused = request(api_key="wrong")
    reader, _ = await raw(relay.port, healthz + refused + healthz + request() + frame(TEXT, b"early", masked=True))
    model = await asyncio.wait_for(upstream.request(), DEADLINE_S)
    await model.answer()
    statuses = []
    for _ in range(4):
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE_S)
        statuses.append(int(head.split()[1]))
        if length := re.search(rb"(?i)content-length: (\d+)", head):
            await reader.readexactly(int(length[1]))
    assert statuses == [200, 401, 200, 101]
    assert (await model.read()).payload == b"early"


async def test_a_request_behind_a_handshake_is_a_framing_fault(
    relay_for: RelayFactory, upstream: RawServer, raw: Opener
) -> None:
    relay = await relay_for(upstream.port)
    reader, _ = await raw(relay.port, request() + request())
    model = await asyncio.wait_for(upstream.request(), DEADLINE_S)
    await model.answer()
    assert await answered(reader) == 101
    async with within(2):
        assert (await RawPeer(reader, model.writer, "", masked=True).read()).code == 1002
        assert (await model.read()).code == 1001
    assert (await relay.event("connection.closed"))["frames_up"] == 0


@pytest.mark.parametrize("size", [1, 60_000, 300_000])
async def test_early_data_behind_the_handshake_reaches_the_model_whole(
    relay_for: RelayFactory, upstream: RawServer, raw: Opener, size: int
) -> None:
    relay = await relay_for(upstream.port)
    payload = bytes(range(256)) * (size // 256 + 1)
    reader, writer = await raw(relay.port, request() + frame(BINARY, payload, masked=True))
    model = await asyncio.wait_for(upstream.request(), DEADLINE_S)
    await model.answer()
    assert await answered(reader) == 101
    async with asyncio.timeout(DEADLINE_S):
        assert (await model.read()).payload == payload
        writer.write(frame(TEXT, b"and on", masked=True))
        assert (await model.read()).payload == b"and on"


@pytest.fixture
async def replica(replica_for: ReplicaFactory, upstream: RawServer) -> Replica:
    return await replica_for(upstream.port, RTPROXY_MAX_SESSIONS="8")


def rss_kib(replica: Replica) -> int:
    status = Path(f"/proc/{replica.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


HALF_OPEN = 300


async def test_half_open_handshakes_cost_others_nothing_and_little_memory(
    replica: Replica, upstream: RawServer, dial: Caller, raw: Opener
) -> None:
    client, model = await passes(replica, upstream, dial)
    before = rss_kib(replica)
    opened = [await raw(replica.port, request()[:-2] + b"X: " + b"a" * (n % 8000)) for n in range(HALF_OPEN)]
    for _ in range(5):
        for _, writer in opened:
            writer.write(b"\r\nY: a")
        await passes(replica, upstream, dial)
        await model.send(TEXT, b"still here")
        async with within(1):
            assert (await client.read()).payload == b"still here"
    assert rss_kib(replica) - before < HALF_OPEN * 64


async def test_a_handshake_that_does_not_end_is_hung_up(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, raw: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtproxy.door.halfopen.HANDSHAKE_S", 0.3)
    relay = await relay_for(upstream.port)
    silent, _ = await raw(relay.port, b"")
    stuck, _ = await raw(relay.port, request()[:-2])
    slow, writer = await raw(relay.port, request()[:-2])
    client, model = await passes(relay, upstream, dial)
    async with within(5):
        assert await silent.read() == b""
        assert await stuck.read() == b""
        while not slow.at_eof():
            writer.write(b"X: a\r\n")
            await asyncio.sleep(0.05)  # what makes it slow
    await model.send(TEXT, b"a call stays")
    assert (await client.read()).payload == b"a call stays"


HEALTHZ = b"GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n"


@pytest.mark.parametrize("behind", [b"", b"X: a\r\n"], ids=["in one go", "in two"])
async def test_a_later_request_that_does_not_end_is_hung_up_too(
    relay_for: RelayFactory, upstream: RawServer, raw: Opener, monkeypatch: pytest.MonkeyPatch, behind: bytes
) -> None:
    monkeypatch.setattr("rtproxy.door.halfopen.HANDSHAKE_S", 0.3)
    relay = await relay_for(upstream.port)
    idle, to_idle = await raw(relay.port, HEALTHZ[:-3])
    to_idle.write(HEALTHZ[-3:])
    stuck, to_stuck = await raw(relay.port, HEALTHZ + (b"" if behind else request()[:-2]))
    assert await answered(stuck) == await answered(idle) == 200
    if behind:
        to_stuck.write(request()[:-2] + behind)
    async with asyncio.timeout(5):
        await stuck.read()
    to_idle.write(HEALTHZ)
    await idle.readuntil(b"}")
    assert await answered(idle) == 200, "who says nothing at all between two requests stays"


async def test_who_waits_for_an_answer_may_have_begun_to_say_more(
    relay_for: RelayFactory, upstream: RawServer, raw: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtproxy.door.halfopen.HANDSHAKE_S", 0.2)
    relay = await relay_for(upstream.port)
    reader, _ = await raw(relay.port, request() + frame(TEXT, b"early", masked=True))
    stuck, _ = await raw(relay.port, request()[:-2])
    model = await asyncio.wait_for(upstream.request(), DEADLINE_S)
    async with asyncio.timeout(5):
        await stuck.read()
    await model.answer()
    assert await answered(reader) == 101


async def test_a_flood_is_let_in_to_the_cap_and_answered_503_beyond(
    replica: Replica, upstream: RawServer, dial: Caller, raw: Opener
) -> None:
    opened = [await raw(replica.port, request()) for _ in range(60)]
    async with asyncio.timeout(DEADLINE_S):
        models = [await upstream.request() for _ in range(8)]
        for model in models:
            await model.answer()
        statuses = sorted([await answered(reader) for reader, _ in opened])
    assert statuses == [101] * 8 + [503] * 52
    models[0].hang_up()
    await replica.event("connection.closed")
    await passes(replica, upstream, dial)
