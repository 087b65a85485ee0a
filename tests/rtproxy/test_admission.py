"""Who comes in is decided before the 101; who does not gets an HTTP answer in OpenAI's envelope."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import aiohttp
import pytest

from rtproxy.upgrade import OFFERED
from stage.rawpeer import RawPeer, RawServer
from tests.conftest import DEADLINE_S, KEY, Caller, Relay, RelayFactory, error

PATHS = ["/ws", "/v1/realtime", "/openai/v1/realtime", "/openai/realtime"]
BY_PROTOCOL = {"api-key": "", "Sec-WebSocket-Protocol": f"realtime, openai-insecure-api-key.{KEY}"}

Opened = tuple[RawPeer, RawPeer]
Opener = Callable[..., Awaitable[Opened]]


@pytest.fixture
def opened(upstream: RawServer, dial: Caller) -> Opener:
    """A call that the relay let in: ``client, model = await opened(relay, answer={...}, headers={...})``."""

    async def opened(relay: Relay, path: str = "/v1/realtime", answer: Mapping[str, str] = {}, **how: object) -> Opened:
        connecting = asyncio.create_task(dial(relay.port, path, **how))
        model = await asyncio.wait_for(upstream.request(), DEADLINE_S)
        await model.answer(headers=answer)
        return await connecting, model

    return opened


async def exposition(relay: Relay) -> list[str]:
    async with aiohttp.request("GET", f"{relay.url}/metrics") as response:
        return (await response.text()).splitlines()


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY}"},
        {"api-key": KEY},
        {"Sec-WebSocket-Protocol": f"realtime, openai-insecure-api-key.{KEY}"},
        {"Sec-WebSocket-Protocol": f"openai-insecure-api-key.{KEY},openai-beta.realtime-v1"},
        {"Authorization": f"Bearer {KEY}", "Sec-WebSocket-Protocol": "openai-insecure-api-key.wrong"},
    ],
)
async def test_a_client_comes_in_with_its_key_wherever_it_puts_it(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener, headers: dict[str, str]
) -> None:
    relay = await relay_for(upstream.port)
    client, _ = await opened(relay, headers={"api-key": ""} | headers)
    assert client.status == 101
    assert (await relay.event("client.connected"))["client"] == "alice"


async def test_every_client_is_known_by_its_own_key(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener
) -> None:
    relay = await relay_for(upstream.port)
    await opened(relay, headers={"api-key": "client-key-of-bob"})
    assert (await relay.event("client.connected"))["client"] == "bob"


@pytest.mark.parametrize("path", PATHS)
async def test_a_call_comes_in_on_every_path_an_sdk_may_use(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener, path: str
) -> None:
    relay = await relay_for(upstream.port)
    client, _ = await opened(relay, path)
    assert client.status == 101
    assert (await relay.event("client.connected"))["path"] == path


@pytest.mark.parametrize("query", ["model=gpt-realtime", "deployment=gpt-realtime", "model=&api-version=v1"])
async def test_a_call_comes_in_when_it_asks_for_the_deployment(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener, query: str
) -> None:
    relay = await relay_for(upstream.port)
    client, _ = await opened(relay, f"/v1/realtime?{query}")
    assert client.status == 101


async def test_the_101_says_which_replica_took_the_call_and_which_session_it_is(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener
) -> None:
    relay = await relay_for(upstream.port)
    client, _ = await opened(relay)
    assert client.headers["x-rtproxy-revision"] == "app--blue"
    assert client.headers["x-rtproxy-replica"] == "app--blue-1"
    connected = await relay.event("client.connected")
    assert client.headers["x-rtproxy-session"] == connected["session"]


async def test_the_101_answers_realtime_when_the_key_came_as_a_subprotocol(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener
) -> None:
    relay = await relay_for(upstream.port)
    client, _ = await opened(relay, headers=BY_PROTOCOL)
    assert client.headers["sec-websocket-protocol"] == "realtime"


async def test_the_101_answers_the_subprotocol_that_the_model_took(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener
) -> None:
    relay = await relay_for(upstream.port)
    offer = {"Sec-WebSocket-Protocol": "realtime, openai-beta.realtime-v1"}
    answer = {"Sec-WebSocket-Protocol": "openai-beta.realtime-v1"}
    client, model = await opened(relay, headers=offer, answer=answer)
    assert model.headers["sec-websocket-protocol"] == "realtime, openai-beta.realtime-v1"
    assert client.headers["sec-websocket-protocol"] == "openai-beta.realtime-v1"


@pytest.mark.parametrize("taken", ["never-offered", f"openai-insecure-api-key.{KEY}"])
async def test_the_101_answers_nothing_that_the_client_may_not_hear(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener, taken: str
) -> None:
    relay = await relay_for(upstream.port)
    client, _ = await opened(relay, headers=BY_PROTOCOL, answer={"Sec-WebSocket-Protocol": taken})
    assert client.headers["sec-websocket-protocol"] == "realtime"


async def test_the_101_answers_no_subprotocol_when_none_was_offered(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener
) -> None:
    relay = await relay_for(upstream.port)
    client, model = await opened(relay)
    assert "sec-websocket-protocol" not in client.headers
    assert "sec-websocket-protocol" not in model.headers


async def test_the_101_grants_no_extension(relay_for: RelayFactory, upstream: RawServer, opened: Opener) -> None:
    relay = await relay_for(upstream.port)
    client, model = await opened(relay, headers={"Sec-WebSocket-Extensions": "permessage-deflate"})
    assert "sec-websocket-extensions" not in client.headers
    assert "sec-websocket-extensions" not in model.headers


async def test_the_model_sees_nothing_of_a_clients_headers_and_query(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener
) -> None:
    relay = await relay_for(upstream.port)
    said = {
        "Authorization": f"Bearer {KEY}",
        "Cookie": "mine=1",
        "Origin": "https://app.example.com",
        "User-Agent": "mine",
        "OpenAI-Beta": "realtime=v1",
        "X-Forwarded-For": "203.0.113.7",
        "X-Mine": "mine",
    }
    _, model = await opened(relay, "/v1/realtime?model=gpt-realtime", headers=said)
    assert model.request_line == "GET /openai/v1/realtime?model=gpt-realtime HTTP/1.1"
    assert set(model.headers) == {
        "host",
        "connection",
        "upgrade",
        "sec-websocket-version",
        "sec-websocket-key",
        "user-agent",
        "api-key",
    }
    assert model.headers["user-agent"].startswith("rtproxy/")
    assert model.headers["host"] == f"127.0.0.1:{upstream.port}"


@pytest.mark.parametrize("item", [f"openai-insecure-api-key.{KEY}", f"OpenAI-Insecure-API-Key.{KEY}", "not a token"])
async def test_the_model_is_offered_no_subprotocol_that_holds_a_key_or_is_none(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener, item: str
) -> None:
    relay = await relay_for(upstream.port)
    _, model = await opened(relay, headers={"Sec-WebSocket-Protocol": f"realtime, {item}, other"})
    assert model.headers["sec-websocket-protocol"] == "realtime, other"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "missing_api_key"),
        ({"Authorization": "Bearer"}, "missing_api_key"),
        ({"Authorization": f"Basic {KEY}"}, "missing_api_key"),
        ({"Sec-WebSocket-Protocol": "realtime"}, "missing_api_key"),
        ({"Sec-WebSocket-Protocol": "openai-insecure-api-key."}, "missing_api_key"),
        ({"api-key": "wrong"}, "invalid_api_key"),
        ({"api-key": KEY[:-1]}, "invalid_api_key"),
        ({"api-key": KEY + "x"}, "invalid_api_key"),
        ({"api-key": KEY.upper()}, "invalid_api_key"),
        ({"api-key": "alice"}, "invalid_api_key"),
        ({"api-key": f"alice:{KEY}"}, "invalid_api_key"),
        ({"api-key": "model-key"}, "invalid_api_key"),
        ({"api-key": "schlüssel"}, "invalid_api_key"),
        ({"Authorization": "Bearer wrong"}, "invalid_api_key"),
        ({"Sec-WebSocket-Protocol": "openai-insecure-api-key.wrong"}, "invalid_api_key"),
    ],
)
async def test_a_call_is_refused_401_when_its_key_is_missing_or_wrong(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, headers: dict[str, str], code: str
) -> None:
    relay = await relay_for(upstream.port)
    client = await dial(relay.port, headers={"api-key": ""} | headers)
    assert client.status == 401
    told = await error(client)
    assert (told["type"], told["code"]) == ("invalid_request_error", code)
    assert "Authorization: Bearer" in told["message"]


@pytest.mark.parametrize(("before", "status"), [(OFFERED - 1, 101), (OFFERED, 401)])
async def test_so_many_subprotocols_are_looked_at_and_no_more(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener, dial: Caller, before: int, status: int
) -> None:
    relay = await relay_for(upstream.port)
    offered = [f"openai-insecure-api-key.{key}" for key in (*(f"stale-{number}" for number in range(before)), KEY)]
    headers = {"api-key": "", "Sec-WebSocket-Protocol": ", ".join(offered)}
    client = (await opened(relay, headers=headers))[0] if status == 101 else await dial(relay.port, headers=headers)
    assert client.status == status


async def test_the_model_is_offered_no_more_subprotocols_than_are_looked_at(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener
) -> None:
    relay = await relay_for(upstream.port)
    offered = [f"v{number}" for number in range(2 * OFFERED)]
    _, model = await opened(relay, headers={"Sec-WebSocket-Protocol": ", ".join(offered)})
    assert model.headers["sec-websocket-protocol"] == ", ".join(offered[:OFFERED])


@pytest.mark.parametrize("name", ["api-key", "api_key", "key", "token", "access_token", "Authorization"])
async def test_a_key_in_the_url_lets_nobody_in(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, name: str
) -> None:
    relay = await relay_for(upstream.port)
    client = await dial(relay.port, f"/v1/realtime?{name}={KEY}", headers={"api-key": ""})
    assert (client.status, (await error(client))["code"]) == (401, "missing_api_key")


@pytest.mark.parametrize("headers", [{"api-key": ""}, {"api-key": "any"}])
async def test_everybody_comes_in_when_the_relay_asks_nobody(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener, headers: dict[str, str]
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_CLIENT_KEYS="", RTPROXY_ALLOW_ANONYMOUS="true")
    client, _ = await opened(relay, headers=headers)
    assert client.status == 101
    assert (await relay.event("client.connected"))["client"] == "anonymous"


async def test_a_known_client_keeps_its_name_when_strangers_may_come_too(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_ALLOW_ANONYMOUS="true")
    await opened(relay)
    await opened(relay, headers={"api-key": ""})
    await relay.event("client.connected", client="alice")
    await relay.event("client.connected", client="anonymous")


async def test_a_wrong_key_is_refused_although_strangers_may_come(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_ALLOW_ANONYMOUS="true")
    client = await dial(relay.port, headers={"api-key": "wrong"})
    assert (client.status, (await error(client))["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("origin", ["https://evil.example", "https://app.example.com.evil.example", "null"])
async def test_a_web_origin_is_refused_403_when_it_is_not_listed(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, origin: str
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_ALLOWED_ORIGINS="https://app.example.com")
    client = await dial(relay.port, headers={"Origin": origin})
    assert client.status == 403
    told = await error(client)
    assert told["code"] == "origin_not_allowed"
    assert "RTPROXY_ALLOWED_ORIGINS" in told["message"]


@pytest.mark.parametrize("origin", ["https://app.example.com", "https://App.Example.com", ""])
async def test_a_listed_web_origin_comes_in_and_so_does_a_client_without_one(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener, origin: str
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_ALLOWED_ORIGINS="https://b.example,https://app.example.com")
    client, _ = await opened(relay, headers={"Origin": origin})
    assert client.status == 101


@pytest.mark.parametrize(
    "query",
    [
        "model=gpt-4o",
        "model=gpt-realtime&deployment=gpt-4o",
        "deployment=gpt-4o",
        "model=gpt-realtime-mini",
        "model=GPT-realtime",
    ],
)
async def test_another_model_is_404(relay_for: RelayFactory, upstream: RawServer, dial: Caller, query: str) -> None:
    relay = await relay_for(upstream.port)
    client = await dial(relay.port, f"/openai/realtime?{query}")
    assert client.status == 404
    told = await error(client)
    assert told["code"] == "model_not_found"
    assert "gpt-realtime" in told["message"]


async def test_a_call_is_refused_503_when_every_place_is_taken(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener, dial: Caller
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_MAX_SESSIONS="1")
    await opened(relay)
    client = await dial(relay.port)
    assert (client.status, client.headers["retry-after"]) == (503, "5")
    assert (await error(client))["code"] == "at_capacity"


async def test_a_place_is_taken_from_the_dial_on(relay_for: RelayFactory, upstream: RawServer, dial: Caller) -> None:
    relay = await relay_for(upstream.port, RTPROXY_MAX_SESSIONS="1")
    first = asyncio.create_task(dial(relay.port))
    model = await upstream.request()
    assert (await dial(relay.port)).status == 503
    await model.answer()
    assert (await first).status == 101


async def test_a_place_is_free_again_when_its_call_ended(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener
) -> None:
    relay = await relay_for(upstream.port, RTPROXY_MAX_SESSIONS="1")
    for peer in await opened(relay):
        peer.hang_up()
    await relay.event("connection.closed")
    assert (await opened(relay))[0].status == 101


@pytest.mark.parametrize(
    "headers",
    [
        {"Upgrade": "", "Connection": ""},
        {"Upgrade": "h2c"},
        {"Connection": "keep-alive"},
        {"Sec-WebSocket-Version": "8"},
        {"Sec-WebSocket-Version": ""},
    ],
)
@pytest.mark.parametrize("path", PATHS)
async def test_a_request_that_is_no_websocket_is_426(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, path: str, headers: dict[str, str]
) -> None:
    relay = await relay_for(upstream.port)
    client = await dial(relay.port, path, headers=headers)
    assert (client.status, client.headers["upgrade"], client.headers["sec-websocket-version"]) == (
        426,
        "websocket",
        "13",
    )
    assert (await error(client))["code"] == "upgrade_required"


@pytest.mark.parametrize("key", ["", "short", "!" * 24, "AAAAAAAAAAAAAAAAAAAAAAAA", "schlüssel"])
async def test_a_handshake_without_16_random_bytes_is_400(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, key: str
) -> None:
    relay = await relay_for(upstream.port)
    client = await dial(relay.port, headers={"Sec-WebSocket-Key": key})
    assert (client.status, (await error(client))["code"]) == (400, "bad_handshake")


async def test_browsers_and_balancers_may_write_the_upgrade_their_way(
    relay_for: RelayFactory, upstream: RawServer, opened: Opener
) -> None:
    relay = await relay_for(upstream.port)
    client, _ = await opened(relay, headers={"Upgrade": "WebSocket", "Connection": "keep-alive, upgrade"})
    assert client.status == 101


REFUSALS = {
    "missing_api_key": (401, {"headers": {"api-key": ""}}),
    "model_not_found": (404, {"path": "/v1/realtime?model=gpt-4o"}),
    "upgrade_required": (426, {"headers": {"Upgrade": ""}}),
    "bad_handshake": (400, {"headers": {"Sec-WebSocket-Key": "x"}}),
    "origin_not_allowed": (403, {"headers": {"Origin": "https://evil.example"}}),
}


@pytest.mark.parametrize("code", REFUSALS)
async def test_a_refusal_is_logged_and_counted_and_ends_there(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, code: str
) -> None:
    status, how = REFUSALS[code]
    relay = await relay_for(upstream.port, RTPROXY_ALLOWED_ORIGINS="https://app.example.com")
    client = await dial(relay.port, **how)
    assert client.status == status
    refused = await relay.event("client.refused")
    assert (refused["level"], refused["status"], refused["code"]) == ("warning", status, code)
    assert refused["path"] == "/v1/realtime"
    assert f'rtproxy_refusals_total{{code="{code}",status="{status}"}} 1.0' in await exposition(relay)
    assert [event["event"] for event in relay.events] == ["client.refused"]


async def test_a_refusal_says_which_replica_it_came_from(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller
) -> None:
    relay = await relay_for(upstream.port)
    client = await dial(relay.port, headers={"api-key": ""})
    assert (client.headers["x-rtproxy-revision"], client.headers["x-rtproxy-replica"]) == ("app--blue", "app--blue-1")


async def test_two_origins_are_refused_whether_a_list_is_set_or_not(
    relay_for: RelayFactory, upstream: RawServer
) -> None:
    for listed in ("", "https://app.example.com"):
        relay = await relay_for(upstream.port, RTPROXY_ALLOWED_ORIGINS=listed)
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        lines = [
            "GET /v1/realtime HTTP/1.1",
            "Host: relay",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            f"api-key: {KEY}",
            "Origin: https://app.example.com",
            "Origin: https://evil.example",
        ]
        writer.write("\r\n".join((*lines, "", "")).encode())
        assert (await asyncio.wait_for(reader.readline(), DEADLINE_S)).split()[1] == b"403"
        writer.close()
        assert (await relay.event("client.refused"))["code"] == "origin_not_allowed"
