"""Why the model refused, and when to come back, reach the log and the client; nothing else of its answer does."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from rtproxy.model.dial import REASON_BYTES
from rtproxy.model.upstream import CODE_CHARACTERS
from stage.rawpeer import RawPeer, RawServer
from tests.conftest import DEADLINE_S, Caller, Limits, Relay, RelayFactory, error

SECRET = "the-models-secret"
MODEL_KEY = "model-key"

Refusing = Callable[..., Awaitable[tuple[RawPeer, dict[str, str], dict[str, Any], Relay]]]


@pytest.fixture
def refusing(relay_for: RelayFactory, upstream: RawServer, dial: Caller) -> Refusing:
    """A call whose model says ``head`` and ``body``: the client, its envelope, upstream.failed, the relay."""

    async def refusing(head: str, body: bytes, *, end: bool = True) -> tuple[Any, ...]:
        relay = await relay_for(upstream.port)
        connecting = asyncio.create_task(dial(relay.port))
        model = await asyncio.wait_for(upstream.request(), DEADLINE_S)
        with contextlib.suppress(ConnectionError):  # what is too long is not read
            await model.write(f"HTTP/1.1 {head}\r\nX-Secret: {SECRET}\r\n\r\n".encode() + body)
        if end:
            model.hang_up()
        client = await connecting
        return client, await error(client), await relay.event("upstream.failed"), relay

    return refusing


def azure(code: object, **more: object) -> bytes:
    return orjson.dumps({"error": {"code": code, "message": f"Wrong key {SECRET}."} | more})


AZURE = {
    "404 Not Found": "DeploymentNotFound",
    "401 Unauthorized": "PermissionDenied",
    "403 Forbidden": "AccessDenied",
    "400 Bad Request": "OperationNotSupported",
    "410 Gone": "ModelDeprecated",
    "503 Service Unavailable": "ServiceUnavailable",
}


@pytest.mark.parametrize("status", AZURE)
async def test_the_code_of_a_refusal_is_in_the_log_and_in_the_clients_message(refusing: Refusing, status: str) -> None:
    body = azure(AZURE[status])
    client, told, failed, relay = await refusing(f"{status}\r\nContent-Length: {len(body)}", body)
    assert (client.status, told["code"]) == (502, "upstream_refused")
    assert f"HTTP {status[:3]} ({AZURE[status]})" in told["message"]
    assert (failed["upstream_status"], failed["upstream_error"]) == (int(status[:3]), AZURE[status])
    assert SECRET not in f"{client.headers} {told} {relay.log}"


async def test_the_code_of_a_429_is_told_too(refusing: Refusing) -> None:
    client, told, failed, _ = await refusing("429 Too Many Requests\r\nx-request-id: r-7", azure("NoCapacity"))
    assert (client.status, told["code"]) == (429, "rate_limit_exceeded")
    assert "(NoCapacity, upstream request id r-7)" in told["message"]
    assert failed["upstream_error"] == "NoCapacity"


SHAPES = {
    "a number": (azure(401), "401"),
    "OpenAI without a code": (azure(None, type="invalid_request_error"), "invalid_request_error"),
    "API Management": (orjson.dumps({"statusCode": 401, "message": SECRET}), "401"),
    "OAuth": (b'{"error":"invalid_client"}', "invalid_client"),
    "a code that is long": (azure("c" * 500), "c" * CODE_CHARACTERS),
    "no text": (azure(["x"]), None),
    "true": (azure(True), None),
    "a sentence": (orjson.dumps({"error": f"Wrong key {SECRET}."}), None),
    "no body": (b"", None),
    "HTML": (b"<html>502 Bad Gateway</html>", None),
    "a list": (b"[1]", None),
    "null": (b'{"error":null}', None),
    "deep": (b"[" * 10_000, None),
    "no UTF-8": (b'{"error":{"code":"\xff"}}', None),
    "too long": (azure("Late", padding="x" * REASON_BYTES), None),
    "the relay's key": (azure(f"key {MODEL_KEY} is wrong"), None),
}


@pytest.mark.parametrize("way", ["with a length", "in chunks", "to the end"])
@pytest.mark.parametrize("shape", SHAPES)
async def test_a_reason_of_any_shape_is_a_short_code_or_none(refusing: Refusing, shape: str, way: str) -> None:
    body, code = SHAPES[shape]
    head = {"with a length": f"Content-Length: {len(body)}", "in chunks": "Transfer-Encoding: chunked"}.get(way, "X: y")
    if way == "in chunks":
        body = (f"{len(body):x}\r\n".encode() + body + b"\r\n" if body else b"") + b"0\r\n\r\n"
    client, told, failed, relay = await refusing(f"400 No\r\n{head}", body, end=way == "to the end")
    assert (client.status, told["code"], failed["upstream_error"]) == (502, "upstream_refused", code)
    assert ("(" in told["message"]) == (code is not None)
    assert len(told["message"]) < 200
    assert SECRET not in f"{told} {relay.log}"
    assert MODEL_KEY not in f"{told} {relay.log}"


@pytest.mark.parametrize(("code", "logged"), [("a\r\nb: c", "a??b: c"), ("käse\u202e", "k?se?"), ("two words", None)])
async def test_a_code_that_is_none_is_printable_in_the_log_and_not_told_to_the_client(
    refusing: Refusing, code: str, logged: str | None
) -> None:
    _, told, failed, _ = await refusing("400 No", azure(code))
    assert failed["upstream_error"] == (logged or code)
    assert told["message"] == "The model refused the call: HTTP 400."


@pytest.mark.parametrize("body", [b"", b'64\r\n{"error":{"code":"Half'], ids=["none", "half"])
@pytest.mark.parametrize("head", ["Content-Length: 100", "Transfer-Encoding: chunked", "X: y"])
async def test_a_body_that_does_not_come_is_not_awaited_for_long(
    refusing: Refusing, shorten: Limits, head: str, body: bytes
) -> None:
    shorten(reason_s=0.2)
    started = time.monotonic()
    client, _, failed, _ = await refusing(f"404 No\r\n{head}", body, end=False)
    assert time.monotonic() - started < DEADLINE_S / 2
    assert (client.status, failed["upstream_status"], failed["upstream_error"]) == (502, 404, None)


async def test_a_body_without_end_is_not_read_to_its_end(refusing: Refusing) -> None:
    client, _, failed, _ = await refusing("404 No\r\nContent-Length: 99999999", b"x" * 4_000_000, end=False)
    assert (client.status, failed["upstream_error"]) == (502, None)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_named_and_its_place_is_not(refusing: Refusing, status: int) -> None:
    client, told, failed, relay = await refusing(f"{status} Elsewhere\r\nLocation: http://{SECRET}.example/", b"")
    assert (client.status, failed["upstream_status"]) == (502, status)
    assert f"HTTP {status}, a redirect, which is not followed" in told["message"]
    assert SECRET not in f"{client.headers} {told} {relay.log}"


@pytest.mark.parametrize(("status", "answered"), [("429 Busy", 429), ("503 Busy", 502)])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Retry-After", "7"),
        ("Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT"),
        ("retry-after-ms", "1250"),
        ("Retry-After-Ms", "1250.5"),
    ],
)
async def test_a_busy_model_says_when_to_come_back(
    refusing: Refusing, status: str, answered: int, name: str, value: str
) -> None:
    client, _, _, _ = await refusing(f"{status}\r\n{name}: {value}", azure("Busy"))
    assert client.status == answered
    assert client.headers[name.lower()] == value
    assert ("retry-after" in client.headers) == (name == "Retry-After")


@pytest.mark.parametrize("status", ["429 Busy", "503 Busy"])
async def test_both_ways_to_say_when_to_come_back_go_on_together(refusing: Refusing, status: str) -> None:
    client, _, _, _ = await refusing(f"{status}\r\nretry-after-ms: 700\r\nRetry-After: 1", azure("Busy"))
    assert (client.headers["retry-after"], client.headers["retry-after-ms"]) == ("1", "700")


@pytest.mark.parametrize("value", [SECRET, "<script>", "-1", "1e9", "7 s", "9" * 30, "Someday, 21 Oct 2026", "", "١"])
@pytest.mark.parametrize("name", ["Retry-After", "retry-after-ms"])
async def test_a_time_to_come_back_that_is_none_goes_no_further(refusing: Refusing, name: str, value: str) -> None:
    client, _, _, _ = await refusing(f"429 Busy\r\n{name}: {value}", b"")
    assert client.status == 429
    assert name.lower() not in client.headers


@pytest.mark.parametrize("status", ["500 Oops", "404 No"])
async def test_only_a_busy_model_says_when_to_come_back(refusing: Refusing, status: str) -> None:
    client, _, _, _ = await refusing(f"{status}\r\nRetry-After: 7\r\nretry-after-ms: 7000", b"")
    assert not {"retry-after", "retry-after-ms"} & client.headers.keys()
