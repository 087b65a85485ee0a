"""The model is dialed before the client is answered: a dial that failed is an HTTP status, and tells no secret."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping

import orjson
import pytest
from aiohttp.test_utils import unused_port

from rtproxy.upgrade import accept_of
from stage.rawpeer import CLOSE, TEXT, RawPeer, RawServer, frame
from tests.conftest import BROKEN_PARTS, DEADLINE_S, KEY, Caller, Defective, Limits, Relay, RelayFactory, error
from tests.standstill import within

SECRET = "the-models-secret"
BODY = orjson.dumps({"error": {"code": "x", "message": f"Access denied for key {SECRET}"}})

Dialing = Callable[..., Awaitable[tuple[Relay, "asyncio.Task[RawPeer]", RawPeer]]]


@pytest.fixture
def dialing(relay_for: RelayFactory, upstream: RawServer, dial: Caller) -> Dialing:
    """A call whose dial is on its way: ``relay, connecting, model = await dialing()``."""

    async def dialing(**settings: str) -> tuple[Relay, "asyncio.Task[RawPeer]", RawPeer]:
        relay = await relay_for(upstream.port, **settings)
        connecting = asyncio.create_task(dial(relay.port))
        return relay, connecting, await asyncio.wait_for(upstream.request(), DEADLINE_S)

    return dialing


async def test_the_ga_url_names_the_model_and_no_api_version(dialing: Dialing) -> None:
    _, connecting, model = await dialing()
    assert model.request_line == "GET /openai/v1/realtime?model=gpt-realtime HTTP/1.1"
    await model.answer()
    await connecting


async def test_the_preview_url_names_the_deployment_and_the_api_version(dialing: Dialing) -> None:
    version = "2025-04-01-preview"
    _, connecting, model = await dialing(AZURE_OPENAI_API_VERSION=version, AZURE_OPENAI_DEPLOYMENT="my gpt&1")
    assert model.request_line == f"GET /openai/realtime?api-version={version}&deployment=my+gpt%261 HTTP/1.1"
    await model.answer()
    await connecting


async def test_the_model_is_asked_with_the_relays_key_and_not_with_the_clients(dialing: Dialing) -> None:
    _, connecting, model = await dialing(AZURE_OPENAI_API_KEY="model-key")
    assert model.headers["api-key"] == "model-key"
    assert "authorization" not in model.headers
    assert KEY not in str(model.headers)
    await model.answer()
    await connecting


async def test_a_dial_that_succeeds_is_logged_with_the_models_request_id(dialing: Dialing) -> None:
    relay, connecting, model = await dialing()
    await model.answer(headers={"apim-request-id": "request-7"})
    client = await connecting
    connected = await relay.event("upstream.connected")
    assert connected["request_id"] == "request-7"
    assert connected["session"] == client.headers["x-rtproxy-session"]
    assert 0 < connected["dial_ms"] < 10_000


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "404 Not Found", "500 Oops", "503 Busy"])
@pytest.mark.parametrize("header", ["apim-request-id", "x-request-id"])
async def test_a_model_that_refuses_is_502_with_its_request_id(dialing: Dialing, status: str, header: str) -> None:
    relay, connecting, model = await dialing()
    await model.answer(status, headers={"Content-Type": "application/json", header: "request-7"}, body=BODY)
    client = await connecting
    told = await error(client)
    assert (client.status, told["type"], told["code"]) == (502, "server_error", "upstream_refused")
    assert f"HTTP {status[:3]}" in told["message"]
    assert "request-7" in told["message"]
    failed = await relay.event("upstream.failed")
    assert (failed["level"], failed["cause"], failed["status"]) == ("error", "refused", 502)
    assert (failed["upstream_status"], failed["request_id"]) == (int(status[:3]), "request-7")
    assert failed["client"] == "alice"


@pytest.mark.parametrize("status", ["404 Not Found", "410 Gone"])
async def test_a_deployment_that_is_not_there_or_has_retired_is_named_as_such(dialing: Dialing, status: str) -> None:
    _, connecting, model = await dialing()
    await model.answer(status, headers={"Content-Type": "application/json"}, body=BODY)
    told = await error(await connecting)
    assert told["code"] == "upstream_refused"
    assert told["message"].endswith(", no such deployment, or its model has retired.")


@pytest.mark.parametrize("status", ["401 Unauthorized", "429 Too Many Requests"])
async def test_what_the_model_says_in_a_refusal_goes_no_further(dialing: Dialing, status: str) -> None:
    relay, connecting, model = await dialing()
    await model.answer(status, headers={"WWW-Authenticate": SECRET, "X-Secret": SECRET}, body=BODY)
    client = await connecting
    told = await error(client)
    await relay.event("upstream.failed")
    assert SECRET not in f"{client.headers} {told} {relay.log}"


@pytest.mark.parametrize("value", ["17", "Wed, 21 Oct 2026 07:28:00 GMT"])
async def test_a_model_that_takes_no_more_calls_is_429_with_its_retry_after(dialing: Dialing, value: str) -> None:
    relay, connecting, model = await dialing()
    await model.answer("429 Too Many Requests", headers={"Retry-After": value, "x-request-id": "request-7"}, body=BODY)
    client = await connecting
    told = await error(client)
    assert (client.status, client.headers["retry-after"]) == (429, value)
    assert (told["type"], told["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert "request-7" in told["message"]
    assert (await relay.event("upstream.failed"))["upstream_status"] == 429


async def test_a_429_without_retry_after_passes_without_one(dialing: Dialing) -> None:
    _, connecting, model = await dialing()
    await model.answer("429 Too Many Requests")
    client = await connecting
    assert client.status == 429
    assert "retry-after" not in client.headers


async def test_a_model_that_does_not_answer_is_504(dialing: Dialing, shorten: Limits) -> None:
    shorten(dial_s=0.1)
    relay, connecting, model = await dialing()
    client = await connecting
    assert (client.status, (await error(client))["code"]) == (504, "upstream_timeout")
    assert (await relay.event("upstream.failed"))["cause"] == "timeout"
    assert await model.ended() == "fin"


async def test_a_model_that_stops_in_its_answer_is_504(dialing: Dialing, shorten: Limits) -> None:
    shorten(dial_s=0.1)
    _, connecting, model = await dialing()
    await model.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n")
    assert (await connecting).status == 504


@pytest.mark.parametrize(
    "unsound",
    [
        {"Sec-WebSocket-Accept": "AAAAAAAAAAAAAAAAAAAAAAAAAAA="},
        {"Sec-WebSocket-Accept": ""},
        {"Sec-WebSocket-Extensions": "permessage-deflate"},
        {"Upgrade": "h2c"},
    ],
)
async def test_a_101_that_is_unsound_is_502(dialing: Dialing, unsound: Mapping[str, str]) -> None:
    relay, connecting, model = await dialing()
    await model.answer(headers={"x-request-id": "request-7"} | unsound)
    client = await connecting
    told = await error(client)
    assert (client.status, told["code"]) == (502, "upstream_refused")
    assert "handshake is not valid" in told["message"]
    assert "request-7" in told["message"]
    assert (await relay.event("upstream.failed"))["upstream_status"] == 101
    assert await model.ended() in ("fin", "reset")


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_not_followed(dialing: Dialing, upstream: RawServer, status: str) -> None:
    relay, connecting, model = await dialing()
    await model.answer(status, headers={"Location": f"http://127.0.0.1:{upstream.port}/elsewhere?key={SECRET}"})
    client = await connecting
    assert (client.status, (await error(client))["code"]) == (502, "upstream_refused")
    assert (await relay.event("upstream.failed"))["upstream_status"] == int(status[:3])
    assert SECRET not in relay.log


async def test_a_model_nobody_listens_for_is_502(relay_for: RelayFactory, dial: Caller) -> None:
    relay = await relay_for(unused_port())
    client = await dial(relay.port)
    assert (client.status, (await error(client))["code"]) == (502, "upstream_unreachable")
    failed = await relay.event("upstream.failed")
    assert (failed["cause"], failed["upstream_status"], failed["request_id"]) == ("unreachable", None, None)


async def test_a_model_whose_name_is_unknown_is_502(relay_for: RelayFactory, dial: Caller) -> None:
    relay = await relay_for(unused_port(), AZURE_OPENAI_ENDPOINT="https://no-such-host.invalid")
    client = await dial(relay.port)
    assert (client.status, (await error(client))["code"]) == (502, "upstream_unreachable")


async def test_a_model_that_speaks_no_tls_is_502(relay_for: RelayFactory, dial: Caller) -> None:
    plain = await relay_for(unused_port())
    relay = await relay_for(unused_port(), AZURE_OPENAI_ENDPOINT=f"https://127.0.0.1:{plain.port}")
    client = await dial(relay.port)
    assert (client.status, (await error(client))["code"]) == (502, "upstream_unreachable")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 101", b"\x16\x03\x01nonsense\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n"])
@pytest.mark.parametrize("way", ["hang_up", "reset"])
async def test_a_model_that_hangs_up_instead_of_answering_is_502(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, answer: bytes, way: str
) -> None:
    async def hang_up_on_everybody() -> None:
        while True:
            model = await upstream.request()
            await model.write(answer)
            getattr(model, way)()

    hanging_up = asyncio.create_task(hang_up_on_everybody())
    relay = await relay_for(upstream.port)
    client = await dial(relay.port)
    hanging_up.cancel()
    assert (client.status, (await error(client))["code"]) == (502, "upstream_unreachable")
    assert (await relay.event("upstream.failed"))["cause"] == "unreachable"


@pytest.mark.parametrize(("status", "event"), [("401 No", "upstream.failed"), ("101 Yes", "upstream.connected")])
async def test_a_request_id_that_is_no_text_is_logged_all_the_same(dialing: Dialing, status: str, event: str) -> None:
    relay, connecting, model = await dialing()
    accept = accept_of(model.headers["sec-websocket-key"])
    head = f"HTTP/1.1 {status}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
    await model.write(head.encode() + b"x-request-id: \xff\xfe-7\r\n\r\n")
    model.half_close()
    await connecting
    assert (await relay.event(event))["request_id"].endswith("-7")


async def test_a_failed_dial_leaves_no_session_and_no_connection_closed(dialing: Dialing) -> None:
    relay, connecting, model = await dialing()
    await model.answer("401 Unauthorized")
    await connecting
    assert [event["event"] for event in relay.events] == ["upstream.failed"]


async def test_a_place_is_free_again_when_its_dial_failed(dialing: Dialing, upstream: RawServer, dial: Caller) -> None:
    relay, connecting, model = await dialing(RTPROXY_MAX_SESSIONS="1")
    await model.answer("500 Oops")
    await connecting
    again = asyncio.create_task(dial(relay.port))
    await (await asyncio.wait_for(upstream.request(), DEADLINE_S)).answer()
    assert (await again).status == 101


class Impatient:
    """A client that sends its upgrade and does not wait for the answer."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(
            f"GET /v1/realtime HTTP/1.1\r\nHost: 127.0.0.1\r\napi-key: {KEY}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )

    def leave(self, way: str) -> None:
        if way == "reset":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


@pytest.mark.parametrize("way", ["hang_up", "reset"])
async def test_the_model_is_told_1001_when_the_client_left_during_its_dial(
    relay_for: RelayFactory, upstream: RawServer, way: str
) -> None:
    relay = await relay_for(upstream.port)
    client = Impatient(relay.port)
    model = await asyncio.wait_for(upstream.request(), DEADLINE_S)
    client.leave(way)
    await model.answer(then=frame(TEXT, b'{"type":"session.created"}', masked=False))
    async with within(2):
        told = await model.read()
        assert (told.opcode, told.code) == (CLOSE, 1001)
    closed = await relay.event("connection.closed")
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("client", 1006, 1001)
    assert [event["event"] for event in relay.events].count("connection.closed") == 1


@pytest.mark.parametrize("way", ["hang_up", "reset"])
async def test_nothing_is_left_when_the_client_left_during_a_dial_that_fails(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, way: str
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_MAX_SESSIONS="1")
    client = Impatient(relay.port)
    model = await asyncio.wait_for(upstream.request(), DEADLINE_S)
    client.leave(way)
    await model.answer("401 Unauthorized")
    await relay.event("upstream.failed")
    again = asyncio.create_task(dial(relay.port))
    await (await asyncio.wait_for(upstream.request(), DEADLINE_S)).answer()
    assert (await again).status == 101


@pytest.mark.parametrize("broken", BROKEN_PARTS)
async def test_a_defect_of_the_relay_costs_one_call_and_is_answered_in_the_envelope(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, broken: str
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_MAX_SESSIONS="1")
    with relay.with_another(BROKEN_PARTS[broken], Defective()):
        client = await dial(relay.port)
        assert (client.status, (await error(client))["code"]) == (500, "internal_error")
    again = asyncio.create_task(dial(relay.port))
    await (await asyncio.wait_for(upstream.request(), DEADLINE_S)).answer()
    assert (await again).status == 101
