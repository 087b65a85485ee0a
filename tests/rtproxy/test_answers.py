"""Every answer to what is no call is in the envelope, logged and counted, and quotes nothing of the request."""

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest

from rtproxy.app import CALL_ROUTES
from rtproxy.carry import ROSTER
from stage.rawpeer import RawServer
from tests.conftest import BROKEN_PARTS, DEADLINE_S, Caller, Defective, Relay, RelayFactory, error

SECRET = "hush-key-of-a-client"
KEY_LINE = f"api-key: {SECRET}"


@pytest.fixture
async def relay(relay_for: RelayFactory, upstream: RawServer) -> Relay:
    return await relay_for(upstream.port)


async def answer(relay: Relay, *lines: str) -> tuple[int, dict[str, str], dict[str, Any], str]:
    """Says ``lines`` as a request: status, headers, what is in the envelope, and the whole answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    try:
        writer.write("\r\n".join((*lines, "", "")).encode("latin-1"))
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE_S)).decode()
        fields = {name.lower(): value for name, _, value in (x.partition(": ") for x in head.split("\r\n")[1:])}
        body = b"" if lines[0].startswith("HEAD") else await reader.readexactly(int(fields["content-length"]))
    finally:
        writer.transport.abort()
    told = orjson.loads(body)["error"] if body else {}
    return int(head.split()[1]), fields, told, head + body.decode()


async def is_logged_and_counted(relay: Relay, status: int, code: str) -> None:
    told = await relay.event("client.refused")
    assert (told["status"], told["code"], told["path"], told["client"]) == (status, code, None, None)
    assert [event["event"] for event in relay.events] == ["client.refused"]
    async with aiohttp.request("GET", f"{relay.url}/metrics") as response:
        assert f'rtproxy_refusals_total{{code="{code}",status="{status}"}} 1.0' in await response.text()


@pytest.mark.parametrize(
    "path", ["/", f"/{SECRET}", f"/v1/{SECRET}?{SECRET}", "/v1/realtime/x", "//v1/realtime", "/v1"]
)
@pytest.mark.parametrize("upgrade", [[], ["Connection: Upgrade", "Upgrade: websocket"]], ids=["plain", "websocket"])
async def test_an_unknown_path_is_404_that_names_the_routes_and_not_the_path(
    relay: Relay, path: str, upgrade: list[str]
) -> None:
    status, headers, told, whole = await answer(relay, f"GET {path} HTTP/1.1", "Host: x", KEY_LINE, *upgrade)
    assert (status, told["type"], told["code"]) == (404, "invalid_request_error", "not_found")
    assert headers["content-type"].startswith("application/json")
    assert set(CALL_ROUTES) - {"/ws"} == {word.strip(",.") for word in told["message"].split() if word[0] == "/"}
    await is_logged_and_counted(relay, 404, "not_found")
    assert SECRET not in whole + relay.log


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("POST /v1/realtime HTTP/1.1", "GET"),
        ("PUT /openai/realtime/ HTTP/1.1", "GET"),
        ("OPTIONS /ws HTTP/1.1", "GET"),
        ("HEAD /openai/v1/realtime HTTP/1.1", "GET"),
        ("DELETE /healthz HTTP/1.1", "GET,HEAD"),
        ("PROPFIND /metrics HTTP/1.1", "GET,HEAD"),
    ],
)
async def test_a_wrong_method_is_405_with_the_right_one(relay: Relay, line: str, allowed: str) -> None:
    status, headers, told, whole = await answer(relay, line, "Host: x", KEY_LINE)
    assert (status, headers["allow"]) == (405, allowed)
    assert told.get("code", "method_not_allowed") == "method_not_allowed"
    await is_logged_and_counted(relay, 405, "method_not_allowed")
    assert SECRET not in (whole + relay.log).lower()


@pytest.mark.parametrize("expectation", [SECRET, f"{SECRET}\xff"])
@pytest.mark.parametrize("path", ["/v1/realtime", "/healthz", "/nowhere"])
async def test_an_expectation_of_anything_else_is_417(
    relay: Relay, path: str, expectation: str, caplog: pytest.LogCaptureFixture
) -> None:
    status, _, told, whole = await answer(relay, f"GET {path} HTTP/1.1", "Host: x", f"Expect: {expectation}")
    assert caplog.records == []
    assert (status, told["code"]) == (417, "expectation_failed")
    await is_logged_and_counted(relay, 417, "expectation_failed")
    assert SECRET not in whole + relay.log


NO_HTTP = {
    "a credential that ends in NUL": ["GET /v1/realtime HTTP/1.1", "Host: x", f"{KEY_LINE}\0"],
    "a credential with a control character": ["GET / HTTP/1.1", "Host: x", f"Authorization: Bearer {SECRET}\x01"],
    "a blank before the name": ["GET / HTTP/1.1", "Host: x", f" {KEY_LINE}"],
    "a blank before the colon": ["GET / HTTP/1.1", "Host: x", f"api-key : {SECRET}"],
    "a credential that is too long": ["GET / HTTP/1.1", "Host: x", KEY_LINE + "k" * 9000],
    "a line of the request that is too long": [f"GET /{SECRET}{'k' * 9000} HTTP/1.1", "Host: x"],
    "no colon": ["GET / HTTP/1.1", "Host: x", SECRET],
    "no version": [f"GET /{SECRET} NOTHTTP", "Host: x"],
    "no method": [f"{SECRET}\x7f / HTTP/1.1", "Host: x"],
}


@pytest.mark.parametrize("case", NO_HTTP)
async def test_what_is_no_http_is_400_in_the_envelope_and_nothing_of_it_is_quoted(relay: Relay, case: str) -> None:
    status, headers, told, whole = await answer(relay, *NO_HTTP[case])
    assert (status, told["type"], told["code"]) == (400, "invalid_request_error", "bad_request")
    assert (headers["server"], headers["x-rtproxy-revision"]) == ("rtproxy", "app--blue")
    await is_logged_and_counted(relay, 400, "bad_request")
    assert SECRET not in whole + relay.log


@pytest.mark.parametrize("broken", BROKEN_PARTS)
async def test_a_defect_is_logged_and_counted_as_every_other_refusal(relay: Relay, dial: Caller, broken: str) -> None:
    with relay.with_another(BROKEN_PARTS[broken], Defective()):
        client = await dial(relay.port)
    assert (client.status, (await error(client))["code"]) == (500, "internal_error")
    told = await relay.event("client.refused", status=500, code="internal_error", path="/v1/realtime")
    assert told["client"] == ("alice" if "model" in broken else None)


async def test_a_defect_of_a_page_is_500_in_the_envelope(relay: Relay) -> None:
    relay.app[ROSTER].sessions = {object(): None}
    status, _, told, whole = await answer(relay, "GET /status HTTP/1.1", "Host: x", "Accept: text/html", KEY_LINE)
    relay.app[ROSTER].sessions = {}
    assert (status, told["code"]) == (500, "internal_error")
    assert "AttributeError" not in whole
    await is_logged_and_counted(relay, 500, "internal_error")
