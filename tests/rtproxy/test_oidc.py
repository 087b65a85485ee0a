"""A client may come with a token of an OpenID Connect issuer, such as Entra ID; the issuer is one on loopback."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from rtproxy.carry import ADMISSION
from rtproxy.door import oidc
from rtproxy.door.admission import Door
from stage.rawpeer import RawPeer, RawServer
from tests.conftest import DEADLINE_S, KEY, Caller, Relay, RelayFactory, Shown, error
from tests.issuer import AUDIENCE, Issuer

Shower = Callable[[str], Awaitable[RawPeer]]


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with Issuer.start() as issuer:
        yield issuer


def trusting(issuer: Issuer, **more: str) -> dict[str, str]:
    """The settings of a relay that lets in whom ``issuer`` vouches for."""
    return {"RTPROXY_OIDC_ISSUER": issuer.url, "RTPROXY_OIDC_AUDIENCE": f"{AUDIENCE}, another"} | more


@pytest.fixture
async def relay(relay_for: RelayFactory, upstream: RawServer, issuer: Issuer) -> Relay:
    return await relay_for(upstream.port, **trusting(issuer))


@pytest.fixture
def show(relay: Relay, shown: Shown) -> Shower:
    """What the relay answers a client that shows a token."""
    return partial(shown, relay)


async def test_a_token_lets_in_the_client_that_it_names(relay: Relay, show: Shower, issuer: Issuer) -> None:
    assert (await show(issuer.token())).status == 101
    assert (await relay.event("client.connected"))["client"] == "oidc:alice-at-work"


async def test_a_browser_shows_its_token_as_a_subprotocol(
    relay: Relay, upstream: RawServer, dial: Caller, issuer: Issuer
) -> None:
    headers = {"api-key": "", "Sec-WebSocket-Protocol": f"realtime, openai-insecure-api-key.{issuer.token()}"}
    connecting = asyncio.create_task(dial(relay.port, headers=headers))
    async with asyncio.timeout(DEADLINE_S):
        model = await upstream.request()
    await model.answer()
    assert (await connecting).status == 101
    assert model.headers["sec-websocket-protocol"] == "realtime"


async def test_a_client_with_a_key_comes_in_as_before(relay: Relay, show: Shower) -> None:
    assert (await show(KEY)).status == 101
    assert (await relay.event("client.connected"))["client"] == "alice"


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"exp": -600}, "expired_token"),
        ({"exp": None}, "invalid_token"),
        ({"nbf": 600}, "invalid_token"),
        ({"aud": "api://payroll"}, "invalid_token"),
        ({"aud": None}, "invalid_token"),
        ({"iss": "https://login.example.com"}, "invalid_token"),
        ({"iss": None}, "invalid_token"),
        ({"sub": None}, "invalid_token"),
        ({"sub": ""}, "invalid_token"),
        ({"sub": "s" * 256}, "invalid_token"),
        ({"sub": "half a surrogate \ud800"}, "invalid_token"),
        ({"sub": "a line\nand another"}, "invalid_token"),
        ({"headers": {"kid": "another"}}, "invalid_token"),
    ],
    ids=[
        "expired", "for ever", "not yet", "for another", "for nobody", "by another", "by nobody", "of nobody",
        "of an empty name", "of a long name", "of a name that is no text", "of a name of two lines", "another key",
    ],
)  # fmt: skip
async def test_a_token_that_does_not_hold_lets_nobody_in(
    show: Shower, issuer: Issuer, claims: dict[str, Any], code: str
) -> None:
    # Seconds from now, and that is when the test runs, not when it was collected.
    claims = {name: time.time() + value if isinstance(value, int) else value for name, value in claims.items()}
    refused = await show(issuer.token(**claims))
    assert refused.status == 401
    assert (await error(refused))["code"] == code


async def test_a_token_that_another_signed_lets_nobody_in(show: Shower, issuer: Issuer) -> None:
    (name, key), forged = *issuer.keys.items(), generate_private_key(65537, 2048)
    issuer.keys[name] = forged
    token = issuer.token()
    issuer.keys[name] = key
    refused = await show(token)
    assert (refused.status, (await error(refused))["code"]) == (401, "invalid_token")


async def test_a_public_key_is_no_secret_to_sign_with(show: Shower, issuer: Issuer) -> None:
    ((name, key),) = issuer.keys.items()
    public = key.public_key().public_numbers().n.to_bytes(256)
    claims = {"iss": issuer.url, "aud": AUDIENCE, "sub": "x", "exp": time.time() + 60}
    for algorithm in ("HS256", "HS384"):
        token = jwt.encode(claims, public, algorithm, {"kid": name})
        assert (await show(token)).status == 401
    assert (await show(jwt.encode(claims, None, "none", {"kid": name}))).status == 401


async def test_a_token_without_a_key_id_is_checked_with_the_only_key_that_signs(
    relay_for: RelayFactory, upstream: RawServer, shown: Shown, issuer: Issuer
) -> None:
    issuer.rotate(keep=True)
    issuer.encrypts = next(iter(issuer.keys))
    relay = await relay_for(upstream.port, **trusting(issuer))
    token = issuer.token(headers={"kid": None})
    assert "kid" not in jwt.get_unverified_header(token)
    assert (await shown(relay, token)).status == 101


async def test_a_token_may_be_for_others_too(show: Shower, issuer: Issuer) -> None:
    assert (await show(issuer.token(aud=["api://payroll", "another"]))).status == 101


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"scp": "Calls.Read Calls.Start"}, 101),
        ({"scope": "Calls.Start"}, 101),
        ({"roles": ["Calls.Start", "Calls.Read"]}, 101),
        ({"scp": "Calls.Started"}, 403),
        ({}, 403),
    ],
    ids=str,
)
async def test_a_token_needs_the_scope_once_one_is_set(
    relay_for: RelayFactory,
    upstream: RawServer,
    shown: Shown,
    issuer: Issuer,
    claims: dict[str, Any],
    status: int,
) -> None:
    relay = await relay_for(upstream.port, **trusting(issuer, RTPROXY_OIDC_SCOPE="Calls.Start"))
    answer = await shown(relay, issuer.token(**claims))
    assert answer.status == status
    if status == 403:
        assert (await error(answer))["code"] == "missing_scope"


async def test_a_token_signed_with_a_new_key_lets_a_call_in_at_once(
    show: Shower, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "ASK_AGAIN_S", 0)
    old = issuer.token()
    issuer.rotate()
    assert (await show(issuer.token())).status == 101
    assert (await show(old)).status == 401, "its key is published no more"


async def test_strangers_cannot_make_the_relay_ask_the_issuer_often(show: Shower, issuer: Issuer) -> None:
    for number in range(20):
        assert (await show(issuer.token(headers={"kid": f"made-up-{number}"}))).status == 401
    assert issuer.asked == 1, "it was asked once, at the start"


async def test_calls_come_in_while_the_issuer_is_down(
    show: Shower, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "ASK_AGAIN_S", 0)
    issuer.down = True
    assert (await show(issuer.token(headers={"kid": "made-up"}))).status == 401
    assert issuer.asked == 2
    assert (await show(issuer.token())).status == 101


@pytest.mark.parametrize("trouble", [{"down": True}, {"says": "https://login.example.com"}], ids=["down", "another"])
async def test_without_the_issuers_keys_tokens_are_503_and_the_relay_is_not_ready(
    relay_for: RelayFactory,
    upstream: RawServer,
    shown: Shown,
    issuer: Issuer,
    trouble: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in trouble.items():
        setattr(issuer, name, value)
    relay = await relay_for(upstream.port, **trusting(issuer))
    show = partial(shown, relay)
    refused = await show(issuer.token())
    assert refused.status == 503
    assert refused.headers["retry-after"] == "10"
    assert (await error(refused))["code"] == "issuer_unreachable"
    async with aiohttp.request("GET", f"{relay.url}/readyz") as ready:
        assert ready.status == 503
        assert await ready.json() == {"status": "no keys of the issuer of tokens"}
    assert (await show(KEY)).status == 101, "a key needs no issuer"
    issuer.down, issuer.says = False, None
    monkeypatch.setattr(oidc, "ASK_AGAIN_S", 0)
    assert (await show(issuer.token())).status == 101
    async with aiohttp.request("GET", f"{relay.url}/readyz") as ready:
        assert ready.status == 200


async def test_a_call_that_waited_for_the_issuer_until_the_door_was_shut_is_503(
    relay: Relay, show: Shower, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "ASK_AGAIN_S", 0)
    issuer.rotate()
    issuer.open.clear()
    waiting = asyncio.create_task(show(issuer.token()))
    async with asyncio.timeout(DEADLINE_S):
        await issuer.until_asked(2)
    relay.app[ADMISSION].door = Door.SHUT
    issuer.open.set()
    refused = await waiting
    assert (refused.status, (await error(refused))["code"]) == (503, "draining")


async def test_who_shows_a_token_that_does_not_hold_is_not_anonymous(
    relay_for: RelayFactory, upstream: RawServer, shown: Shown, issuer: Issuer
) -> None:
    open_to_all = {"RTPROXY_CLIENT_KEYS": "", "RTPROXY_ALLOW_ANONYMOUS": "true"}
    relay = await relay_for(upstream.port, **trusting(issuer, **open_to_all))
    assert (await shown(relay, issuer.token(aud="another's"))).status == 401
    assert (await shown(relay, "", Authorization="")).status == 101


async def test_the_keys_are_read_again_in_the_background(
    relay_for: RelayFactory, upstream: RawServer, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "READ_EVERY_S", 0.05)
    await relay_for(upstream.port, **trusting(issuer))
    async with asyncio.timeout(DEADLINE_S):
        await issuer.until_asked(3)


async def test_no_token_is_in_a_log(
    relay: Relay, show: Shower, issuer: Issuer, capfd: pytest.CaptureFixture[str]
) -> None:
    tokens = [issuer.token(), issuer.token(aud="another's")]
    for token in tokens:
        await show(token)
    await relay.event("client.refused")
    said = relay.log + "".join(capfd.readouterr())
    assert all(part not in said for token in tokens for part in token.split(".")[1:])


NO_TYPE_OF_THEIRS = [
    {"scp": 5},
    {"scp": True},
    {"scp": {"Calls.Start": 1}},
    {"roles": 5},
    {"scope": 1.5},
    {"scp": [5, [], {}]},
    {"exp": []},
    {"exp": {}},
    {"exp": "soon"},
    {"exp": float("inf")},
    {"exp": float("nan")},
    {"exp": -(10**400)},
    {"nbf": []},
    {"nbf": float("inf")},
    {"iat": {}},
    {"iat": "x"},
    {"aud": 5},
    {"aud": {"a": 1}},
    {"aud": [5]},
    {"iss": 5},
    {"iss": []},
    {"sub": 5},
    {"sub": ["alice"]},
    {"jti": 5},
]


@pytest.mark.parametrize("claims", NO_TYPE_OF_THEIRS, ids=str)
async def test_a_token_that_holds_with_a_claim_of_the_wrong_type_lets_nobody_in_without_a_traceback(
    relay_for: RelayFactory,
    upstream: RawServer,
    shown: Shown,
    issuer: Issuer,
    claims: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    relay = await relay_for(upstream.port, **trusting(issuer, RTPROXY_OIDC_SCOPE="Calls.Start"))
    said = claims if {"scp", "scope", "roles"} & claims.keys() else {"scp": "Calls.Start", **claims}
    ((name, key),) = issuer.keys.items()
    sound = {"iss": issuer.url, "aud": AUDIENCE, "sub": "x", "exp": time.time() + 60}
    token = jwt.api_jws.encode(json.dumps(sound | said).encode(), key, "RS256", {"kid": name})
    refused = await shown(relay, token)
    assert refused.status == (403 if isinstance(claims.get("scp"), list) else 401)
    assert (await error(refused))["code"] in ("invalid_token", "expired_token", "missing_scope")
    assert caplog.records == []


async def test_a_token_with_headers_of_any_type_lets_nobody_in(show: Shower, issuer: Issuer) -> None:
    token = issuer.token()
    for header in (b"[]", b"5", b'{"alg":5}', b'{"alg":"RS256","kid":{}}', b'{"kid":[1]}', b"[" * 700, b"\xff", b""):
        said = base64.urlsafe_b64encode(header).rstrip(b"=").decode()
        refused = await show(f"{said}.{token.partition('.')[2]}")
        assert refused.status == 401
