"""Without a model key the relay has an identity in Entra ID; its token is kept fresh, and no dial waits for that."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import aiohttp
import pytest

from stage.identity import Directory, beside, make_app
from stage.rawpeer import RawServer
from stage.replica import Replica
from tests.conftest import DEADLINE_S, Caller, Relay, RelayFactory, ReplicaFactory, error
from tests.standstill import within

STARTUP_PROBE_S = 10.0
"""Ten attempts a second apart (`bicep/modules/app.bicep`)."""
NO_KEY = {"AZURE_OPENAI_API_KEY": ""}


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
async def environ(directory: Directory) -> AsyncIterator[dict[str, str]]:
    """What the platform puts into the environment of an app that has an identity."""
    async with beside(make_app(directory), directory.header) as environ:
        yield environ


@pytest.fixture
def here(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The identity is this process's, and short-lived tokens are renewed in time."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("rtproxy.identity.REFRESH_MIN_S", 0.1)
    return


@pytest.fixture
def authorization(upstream: RawServer, dial: Caller) -> Callable[[int], Awaitable[str]]:
    """Who the relay on a port says it is when it dials for a call."""

    async def authorization(port: int) -> str:
        connecting = asyncio.create_task(dial(port))
        async with asyncio.timeout(DEADLINE_S):
            model = await upstream.request()
        await model.answer()
        assert (await connecting).status == 101
        assert "api-key" not in model.headers
        return model.headers["authorization"]

    return authorization


Authorization = Callable[[int], Awaitable[str]]


async def readyz(relay: Relay | Replica) -> tuple[int, str]:
    async with aiohttp.request("GET", f"{relay.url}/readyz") as response:
        return response.status, (await response.json())["status"]


async def test_a_relay_without_a_model_key_dials_with_the_token_of_its_identity(
    replica_for: ReplicaFactory,
    upstream: RawServer,
    directory: Directory,
    environ: dict[str, str],
    authorization: Authorization,
) -> None:
    relay = await replica_for(upstream.port, **NO_KEY, **environ)
    assert await readyz(relay) == (200, "open")
    assert await authorization(relay.port) == "Bearer entra-token-1"
    assert directory.asked == ["https://ai.azure.com"]


async def test_the_scope_of_the_token_can_be_another(
    relay_for: RelayFactory, upstream: RawServer, directory: Directory, here: None
) -> None:
    await relay_for(upstream.port, **NO_KEY, AZURE_OPENAI_TOKEN_SCOPE="https://cognitiveservices.azure.com/.default")
    assert directory.asked == ["https://cognitiveservices.azure.com"]


async def test_a_relay_with_a_model_key_asks_for_no_token(
    relay_for: RelayFactory, upstream: RawServer, directory: Directory, here: None
) -> None:
    relay = await relay_for(upstream.port)
    assert await readyz(relay) == (200, "open")
    assert directory.asked == []


async def test_many_dials_use_one_token(
    relay_for: RelayFactory, upstream: RawServer, directory: Directory, authorization: Authorization, here: None
) -> None:
    relay = await relay_for(upstream.port, **NO_KEY)
    assert {await authorization(relay.port) for _ in range(5)} == {"Bearer entra-token-1"}
    assert len(directory.asked) == 1


async def test_a_token_is_renewed_in_the_background_before_it_expires(
    relay_for: RelayFactory, upstream: RawServer, directory: Directory, authorization: Authorization, here: None
) -> None:
    directory.lifetime_s = 4
    relay = await relay_for(upstream.port, **NO_KEY)
    while len(directory.tokens) < 2:
        assert (await readyz(relay))[0] == 200, "ready without a gap"
    while (renewed := await authorization(relay.port)) == "Bearer entra-token-1":
        pass
    assert renewed == "Bearer entra-token-2"


async def test_a_dial_does_not_wait_for_a_token_that_is_being_renewed(
    relay_for: RelayFactory, upstream: RawServer, directory: Directory, authorization: Authorization, here: None
) -> None:
    directory.lifetime_s = 4
    relay = await relay_for(upstream.port, **NO_KEY)
    directory.silent = True
    await asyncio.wait_for(directory.until(lambda: len(directory.asked) == 2), DEADLINE_S)
    assert await authorization(relay.port) == "Bearer entra-token-1"


async def test_dials_go_on_while_the_endpoint_is_down_until_the_token_expires(
    relay_for: RelayFactory,
    upstream: RawServer,
    directory: Directory,
    authorization: Authorization,
    dial: Caller,
    here: None,
) -> None:
    directory.lifetime_s = 4
    relay = await relay_for(upstream.port, **NO_KEY)
    directory.refusal = (403, '{"message":"secret of the endpoint"}')
    failed = await relay.event("upstream.failed", cause="token")
    assert re.fullmatch(r"\w+Error", failed["error"])
    assert await authorization(relay.port) == "Bearer entra-token-1"
    assert (await readyz(relay))[0] == 200
    async with asyncio.timeout(DEADLINE_S):
        while (await readyz(relay))[0] == 200:
            pass
    assert await readyz(relay) == (503, "no token for the model")
    client = await dial(relay.port)
    assert (client.status, (await error(client))["code"]) == (502, "upstream_token")
    assert (await relay.event("upstream.failed", status=502))["cause"] == "token"
    assert "secret of the endpoint" not in relay.log


async def test_a_relay_that_gets_no_token_at_start_serves_its_probes_and_refuses_calls(
    relay_for: RelayFactory, upstream: RawServer, directory: Directory, dial: Caller, here: None
) -> None:
    directory.refusal = (403, "{}")
    relay = await relay_for(upstream.port, **NO_KEY)
    assert await readyz(relay) == (503, "no token for the model")
    client = await dial(relay.port)
    assert (client.status, (await error(client))["code"]) == (502, "upstream_token")


@pytest.mark.parametrize(
    "refusal",
    [
        (403, '{"message":"no"}'),
        (200, "no json"),
        (200, '"text"'),
        (200, '{"access_token":"t","expires_on":"9999999999"}'),
    ],
)
async def test_the_token_is_renewed_again_when_the_endpoint_comes_to_its_senses(
    relay_for: RelayFactory,
    upstream: RawServer,
    directory: Directory,
    authorization: Authorization,
    here: None,
    refusal: tuple[int, str],
) -> None:
    directory.lifetime_s = 2
    relay = await relay_for(upstream.port, **NO_KEY)
    directory.refusal = refusal
    await relay.event("upstream.failed", cause="token")
    directory.refusal = None
    await asyncio.wait_for(directory.until(lambda: len(directory.tokens) > 1), DEADLINE_S)
    async with asyncio.timeout(DEADLINE_S):
        while (await readyz(relay))[0] == 503 or await authorization(relay.port) == "Bearer entra-token-1":
            pass


async def test_a_slow_endpoint_does_not_keep_a_relay_from_its_startup_probe(
    relay_for: RelayFactory, upstream: RawServer, directory: Directory, authorization: Authorization, here: None
) -> None:
    directory.silent = True
    async with within(STARTUP_PROBE_S / 2):
        relay = await relay_for(upstream.port, **NO_KEY)
        assert await readyz(relay) == (503, "no token for the model")
    await directory.speak()
    async with within(DEADLINE_S):
        while (await readyz(relay))[0] == 503:
            pass
    assert await authorization(relay.port) == "Bearer entra-token-1"
    assert len(directory.asked) == 1, "the first attempt went on"


async def test_a_silent_endpoint_does_not_keep_a_relay_from_starting(
    relay_for: RelayFactory, upstream: RawServer, directory: Directory, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtproxy.identity.FETCH_TIMEOUT_S", 0.2)
    directory.silent = True
    relay = await asyncio.wait_for(relay_for(upstream.port, **NO_KEY), DEADLINE_S)
    assert (await relay.event("upstream.failed"))["error"] == "TimeoutError"
    assert (await readyz(relay))[0] == 503
    directory.silent = False
    await asyncio.wait_for(directory.until(lambda: len(directory.tokens) > 0), DEADLINE_S)


async def test_the_answers_of_the_endpoint_are_in_no_log(
    relay_for: RelayFactory, upstream: RawServer, directory: Directory, here: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    directory.lifetime_s = 2
    relay = await relay_for(upstream.port, **NO_KEY)
    directory.refusal = (403, '{"message":"secret of the endpoint"}')
    failed = await relay.event("upstream.failed")
    assert (failed["cause"], failed["error"]) == ("token", "ClientAuthenticationError")
    assert "secret of the endpoint" not in relay.log + caplog.text


async def test_a_refused_token_is_named_on_stdout_only(
    replica_for: ReplicaFactory, upstream: RawServer, directory: Directory, environ: dict[str, str]
) -> None:
    directory.refusal = (403, "{}")
    relay = await replica_for(upstream.port, **NO_KEY, **environ)
    assert (await relay.event("upstream.failed"))["error"] == "ClientAuthenticationError"
    await relay.kill()
    assert relay.stderr == b""
