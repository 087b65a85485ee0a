"""A backend hands a browser a ticket instead of its key: it lets in one call, soon, and nothing else."""

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import jwt
import pytest

from rtproxy.door import ticket
from rtproxy.refusal import Refused
from stage.rawpeer import RawPeer, RawServer
from tests.conftest import DEADLINE_S, KEY, Caller, Relay, RelayFactory, Shown, error

WEB_KEY = "a-key-of-32-characters-or-more-for-the-web"
KEYS = {"RTPROXY_CLIENT_KEYS": f"web:{WEB_KEY},alice:{KEY}"}

UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}

Shower = Callable[[str], Awaitable[RawPeer]]


@pytest.fixture
async def relay(relay_for: RelayFactory, upstream: RawServer) -> Relay:
    return await relay_for(upstream.port, **KEYS)


@pytest.fixture
def show(relay: Relay, shown: Shown) -> Shower:
    """What the relay answers a page in a browser that shows a credential."""

    async def show(credential: str) -> RawPeer:
        protocols = f"realtime, openai-insecure-api-key.{credential}"
        page = {"Authorization": "", "Sec-WebSocket-Protocol": protocols, "Origin": "https://app.example.com"}
        return await shown(relay, credential, **page)

    return show


def minted(key: str = WEB_KEY, kid: str | None = "web", algorithm: str = "HS256", **claims: Any) -> str:
    """A ticket by any JWT library; ``claims`` that are None are left out."""
    said = {"aud": "rtproxy", "exp": time.time() + 60, "jti": "1"} | claims
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode({k: v for k, v in said.items() if v is not None}, key, algorithm, headers)


async def test_a_ticket_lets_in_a_call_of_the_client_that_minted_it(relay: Relay, show: Shower) -> None:
    assert (await show(ticket.mint("web", WEB_KEY))).status == 101
    assert (await relay.event("client.connected"))["client"] == "web"


async def test_a_ticket_of_any_jwt_library_lets_a_call_in(show: Shower) -> None:
    client = await show(minted())
    assert client.status == 101
    assert client.headers["sec-websocket-protocol"] == "realtime"


async def test_a_ticket_lets_in_one_call(show: Shower) -> None:
    used = minted()
    assert (await show(used)).status == 101
    again = await show(used)
    assert again.status == 401
    assert (await error(again))["code"] == "used_ticket"
    assert (await show(minted(jti="2"))).status == 101


@pytest.mark.parametrize(("limit", "status"), [("RTPROXY_MAX_SESSIONS", 503), ("RTPROXY_MAX_CLIENT_SESSIONS", 429)])
async def test_a_ticket_that_finds_no_room_is_not_used_up(
    relay_for: RelayFactory, upstream: RawServer, shown: Shown, limit: str, status: int
) -> None:
    relay = await relay_for(upstream.port, **KEYS, **{limit: "1"})
    first = await shown(relay, WEB_KEY)
    assert (await shown(relay, minted())).status == status
    first.hang_up()
    await relay.event("connection.closed")
    assert (await shown(relay, minted())).status == 101


async def test_the_reason_is_that_of_the_ticket_when_something_else_was_shown_too(relay: Relay, shown: Shown) -> None:
    for headers in ({"api-key": "stale"}, {"Sec-WebSocket-Protocol": "openai-insecure-api-key.stale"}):
        refused = await shown(relay, minted(exp=time.time() - 60), **headers)
        assert (await error(refused))["code"] == "expired_token"


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (lambda: minted(exp=time.time() - 11), "expired_token"),
        (lambda: minted(exp=time.time() + 400), "invalid_token"),
        (lambda: minted(exp=None), "invalid_token"),
        (lambda: minted(exp=str(int(time.time()) + 60)), "invalid_token"),
        (lambda: minted(jti=None), "invalid_token"),
        (lambda: minted(jti=7), "invalid_token"),
        (lambda: minted(aud="another"), "invalid_token"),
        (lambda: minted(aud=None), "invalid_token"),
        (lambda: minted(key=WEB_KEY[::-1]), "invalid_token"),
        (lambda: minted(kid="alice"), "invalid_token"),
        (lambda: minted(kid="nobody"), "invalid_token"),
        (lambda: minted(kid=None), "invalid_token"),
        (lambda: minted(key="", algorithm="none"), "invalid_token"),
        (lambda: minted(algorithm="HS512", key=WEB_KEY * 2), "invalid_token"),
        (lambda: minted()[:-4] + "AAAA", "invalid_token"),
        (lambda: "a.b.c", "invalid_api_key"),
    ],
    ids=[
        "expired", "for too long", "for ever", "until some text", "without a number", "number is none", "for another",
        "for nobody", "another's key", "another's name", "no client", "no name", "unsigned", "another algorithm",
        "changed", "no ticket",
    ],
)  # fmt: skip
async def test_a_ticket_that_does_not_hold_lets_nobody_in(show: Shower, wrong: Callable[[], str], code: str) -> None:
    refused = await show(wrong())
    assert refused.status == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert (await error(refused))["code"] == code


@pytest.mark.filterwarnings("ignore:The HMAC key is")
async def test_a_short_key_signs_no_ticket(show: Shower) -> None:
    assert len(KEY) < ticket.KEY_CHARACTERS
    refused = await show(minted(key=KEY, kid="alice"))
    assert refused.status == 401
    stranger = await error(await show(minted(kid="nobody")))
    assert await error(refused) == stranger, "the answer tells who is a client"


@pytest.mark.parametrize("query", ["ticket", "api-key", "access_token", "openai-insecure-api-key"])
async def test_a_ticket_in_the_url_lets_nobody_in(relay: Relay, dial: Caller, query: str) -> None:
    refused = await dial(relay.port, f"/v1/realtime?{query}={minted()}", headers={"api-key": ""})
    assert refused.status == 401
    assert (await error(refused))["code"] == "missing_api_key"


async def test_a_ticket_is_in_no_log_and_does_not_reach_the_model(
    relay: Relay, upstream: RawServer, dial: Caller
) -> None:
    shown = minted()
    headers = {"api-key": "", "Sec-WebSocket-Protocol": f"realtime, openai-insecure-api-key.{shown}"}
    connecting = asyncio.create_task(dial(relay.port, headers=headers))
    async with asyncio.timeout(DEADLINE_S):
        model = await upstream.request()
    await model.answer()
    (await connecting).hang_up()
    await relay.event("connection.closed")
    assert model.headers["sec-websocket-protocol"] == "realtime"
    assert shown not in relay.log
    assert shown.rpartition(".")[2] not in relay.log


async def test_the_memory_of_used_tickets_is_as_long_as_their_life(monkeypatch: pytest.MonkeyPatch) -> None:
    tickets = ticket.Tickets({"web": WEB_KEY}.get)
    for number in range(100):
        tickets.use(tickets.read(minted(jti=str(number)), "web"))
    assert len(tickets._used) == 100
    later = time.time() + ticket.LIFE_S
    monkeypatch.setattr("time.time", lambda: later)
    tickets.use(ticket.Ticket("web", b"100", later + 60))
    assert len(tickets._used) == 1


@pytest.mark.parametrize("number", ["0" * 5000, "\ud800"], ids=["long", "half a surrogate"])
def test_a_used_ticket_takes_as_little_memory_whatever_its_number_is(number: str) -> None:
    tickets = ticket.Tickets({"web": WEB_KEY}.get)
    tickets.use(tickets.read(minted(jti=number), "web"))
    assert [len(kept) for _, kept in tickets._used] == [32]
    with pytest.raises(Refused, match="has been used"):
        tickets.read(minted(jti=number), "web")
    tickets.read(minted(jti=number + "1"), "web")


def ticket_command(*arguments: str, key: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "rtproxy.ticket", *arguments]
    return subprocess.run(command, env={"RTPROXY_KEY": key}, capture_output=True, text=True, timeout=30)


async def test_the_command_mints_a_ticket(show: Shower) -> None:
    made = await asyncio.to_thread(ticket_command, "web", "--seconds", "300", key=WEB_KEY)
    assert (made.returncode, made.stderr) == (0, "")
    assert (await show(made.stdout.strip())).status == 101


@pytest.mark.parametrize(
    ("arguments", "key", "said"),
    [
        (["web"], "short", "32 characters or more"),
        (["web"], "", "RTPROXY_KEY"),
        (["web", "--seconds", "301"], WEB_KEY, "1 to 300 seconds"),
    ],
)
def test_the_command_says_why_it_mints_none(arguments: list[str], key: str, said: str) -> None:
    made = ticket_command(*arguments, key=key)
    assert (made.returncode, made.stdout) == (2, "")
    assert said in made.stderr
    assert not key or key not in made.stderr


async def test_a_ticket_is_reserved_while_the_dial_lasts_and_good_again_when_the_model_refused(
    relay: Relay, upstream: RawServer, dial: Caller, show: Shower
) -> None:
    shown_ticket = minted()
    headers = {"api-key": "", "Authorization": f"Bearer {shown_ticket}"}
    for _ in range(3):
        connecting = asyncio.create_task(dial(relay.port, headers=headers))
        model = await asyncio.wait_for(upstream.request(), DEADLINE_S)
        meanwhile = await dial(relay.port, headers=headers)
        assert (meanwhile.status, (await error(meanwhile))["code"]) == (401, "used_ticket")
        await model.answer("503 Down")
        assert (await connecting).status == 502
    assert (await show(shown_ticket)).status == 101
    assert (await show(shown_ticket)).status == 401


def test_a_ticket_with_claims_of_any_type_is_refused_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    tickets, values = ticket.Tickets({"web": WEB_KEY}.get), [[], {}, "x", "", True, float("inf"), 10**400, -(10**400)]
    for name in ("exp", "nbf", "iat", "aud", "jti"):
        for value in (*values, [5], {"a": 1}, 5):
            past = isinstance(value, int) and value <= 5
            if (name in ("nbf", "iat") and past) or (name == "jti" and isinstance(value, str)):
                continue  # that is sound
            said = {"aud": "rtproxy", "exp": time.time() + 60, "jti": "1"} | {name: value}
            token = jwt.api_jws.encode(json.dumps(said).encode(), WEB_KEY, "HS256", {"kid": "web"})
            with pytest.raises(Refused):
                tickets.read(token, "web")


def _junk(header: bytes, size: int) -> str:
    said = base64.urlsafe_b64encode(header).rstrip(b"=").decode()
    return f"{said}.{'A' * (size - len(said) - 45)}.{'A' * 43}"


async def test_what_a_stranger_shows_is_checked_in_little_time_however_much_it_is(relay: Relay) -> None:
    """CPU time of an admission, and beside it that of a plain wrong key."""
    keys = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"web",' + b'"a":[' + b"{}," * 1700 + b"{}]}").decode()
    signed = b'{"alg":"HS256","kid":"web"}'
    tickets = [_junk(signed, 1950) for _ in range(4)]
    worst = [
        {"Authorization": f"Bearer {_junk(signed, 8000)}", "api-key": keys[:8000] + ".e30.AA"},
        {"Sec-WebSocket-Protocol": ", ".join(f"openai-insecure-api-key.{each}" for each in tickets)},
        {"Sec-WebSocket-Protocol": ", ".join(f"openai-insecure-api-key.{n}.e30.AA" for n in range(200))},
        {"Sec-WebSocket-Protocol": ", ".join(f"k{n}" for n in range(1200))},
    ]
    async with aiohttp.ClientSession() as http:

        async def cost(headers: dict[str, str]) -> float:
            least = 1.0
            for _ in range(40):
                began = time.process_time()
                async with http.get(f"{relay.url}/v1/realtime", headers=UPGRADE | headers) as refused:
                    assert refused.status == 401
                least = min(least, time.process_time() - began)
            return least

        plain = await cost({"api-key": "wrong"})
        for headers in worst:
            assert await cost(headers) < 4 * plain


async def test_subprotocols_that_are_longer_than_a_line_in_all_are_refused_unread(relay: Relay) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    lines = [f"{name}: {value}" for name, value in UPGRADE.items()]
    lines += [f"Sec-WebSocket-Protocol: openai-insecure-api-key.{'k' * 5000}"] * 2
    writer.write("\r\n".join(("GET /v1/realtime HTTP/1.1", "Host: relay", *lines, "", "")).encode())
    assert (await asyncio.wait_for(reader.readline(), DEADLINE_S)).split()[1] == b"400"
    writer.close()
    assert (await relay.event("client.refused"))["code"] == "bad_handshake"
