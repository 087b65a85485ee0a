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
from tests.conftest import DEADLINE_S, Caller, Limits, Relay, RelayFactory, ReplicaFactory, error
from tests.standstill import within

STARTUP_PROBE_S = 10.0
"""Ten attempts a second apart (`bicep/modules/app.bicep`)."""
EVERY_ACCOUNT, OF_SAMPLES = "https://cognitiveservices.azure.com", "https://ai.azure.com"
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
def here(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, shorten: Limits) -> Iterator[None]:
    """The identity is this process's, and short-lived tokens are renewed in time."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    shorten(refresh_min_s=0.1)
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
    assert directory.asked == [EVERY_ACCOUNT]


async def test_the_scope_of_the_token_can_be_another(
    relay_for: RelayFactory, upstream: RawServer, directory: Directory, here: None
) -> None:
    await relay_for(upstream.port, **NO_KEY, AZURE_OPENAI_TOKEN_SCOPE=f"{OF_SAMPLES}/.default")
    assert directory.asked == [OF_SAMPLES]


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
    relay_for: RelayFactory, upstream: RawServer, directory: Directory, here: None, shorten: Limits
) -> None:
    shorten(fetch_s=0.2)
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


class Account:
    """A model behind its account, which looks at each dial's token: ``dials`` has what each was told."""

    def __init__(self, upstream: RawServer, dial: Caller) -> None:
        self.dials: list[tuple[str, int]] = []
        self._upstream = upstream
        self._dial = dial

    async def call(self, relay: Relay) -> int:
        """A client's call, which the account takes or refuses; what the client is answered."""
        connecting = asyncio.create_task(self._dial(relay.port))
        async with asyncio.timeout(DEADLINE_S):
            while not connecting.done():
                arriving = asyncio.create_task(self._upstream.request())
                await asyncio.wait((connecting, arriving), return_when=asyncio.FIRST_COMPLETED)
                if not arriving.done():
                    arriving.cancel()
                    break
                model = arriving.result()
                token = model.headers["authorization"].removeprefix("Bearer ")
                taken = token.startswith("entra-token")
                self.dials.append((token, 101 if taken else 401))
                await model.answer(*(() if taken else ("401 Unauthorized",)))
            return (await connecting).status


@pytest.fixture
def account(upstream: RawServer, dial: Caller) -> Account:
    return Account(upstream, dial)


@pytest.mark.parametrize(("takes", "scope"), [(OF_SAMPLES, ""), (EVERY_ACCOUNT, f"{OF_SAMPLES}/.default")])
async def test_an_account_of_the_other_audience_is_dialled_again_once_and_then_with_its_token_at_once(
    relay_for: RelayFactory,
    upstream: RawServer,
    directory: Directory,
    account: Account,
    here: None,
    takes: str,
    scope: str,
) -> None:
    directory.audience, directory.lifetime_s = takes, 4
    relay = await relay_for(upstream.port, **NO_KEY, AZURE_OPENAI_TOKEN_SCOPE=scope)
    assert await account.call(relay) == 101
    assert account.dials == [("other-entra-token-1", 401), ("entra-token-2", 101)]
    assert await account.call(relay) == 101
    assert [status for _, status in account.dials] == [401, 101, 101]
    assert "upstream.failed" not in relay.log
    known = len(directory.asked)
    await asyncio.wait_for(directory.until(lambda: len(directory.asked) > known + 1), DEADLINE_S)
    assert set(directory.asked[1:]) == {takes}, "what is renewed is what the account takes"


async def test_the_refusal_is_the_callers_where_the_account_takes_neither_and_the_next_call_tries_both_again(
    relay_for: RelayFactory, upstream: RawServer, directory: Directory, account: Account, here: None
) -> None:
    directory.audience = "https://nobody.example"
    relay = await relay_for(upstream.port, **NO_KEY)
    assert await account.call(relay) == 502
    assert (await relay.event("upstream.failed"))["upstream_status"] == 401
    assert account.dials == [("other-entra-token-1", 401), ("other-entra-token-2", 401)]
    # A role that came meanwhile: the first token is as good as it was.
    assert await account.call(relay) == 502
    assert account.dials[2:] == account.dials[:2]
    assert len(directory.asked) == 2, "each token is fetched once"


async def test_a_scope_that_the_account_has_taken_is_not_doubted_when_a_dial_is_refused_later(
    relay_for: RelayFactory, upstream: RawServer, directory: Directory, account: Account, dial: Caller, here: None
) -> None:
    relay = await relay_for(upstream.port, **NO_KEY)
    assert await account.call(relay) == 101
    connecting = asyncio.create_task(dial(relay.port))
    async with asyncio.timeout(DEADLINE_S):
        await (await upstream.request()).answer("401 Unauthorized")
        assert (await connecting).status == 502
    assert directory.asked == [EVERY_ACCOUNT]


async def test_a_scope_of_another_cloud_is_the_only_one(
    relay_for: RelayFactory, upstream: RawServer, directory: Directory, account: Account, here: None
) -> None:
    directory.audience = EVERY_ACCOUNT
    relay = await relay_for(
        upstream.port, **NO_KEY, AZURE_OPENAI_TOKEN_SCOPE="https://cognitiveservices.azure.us/.default"
    )
    assert await account.call(relay) == 502
    assert account.dials == [("other-entra-token-1", 401)]


async def test_the_refusal_is_the_callers_where_the_endpoint_gives_no_token_of_the_other_audience(
    relay_for: RelayFactory, upstream: RawServer, directory: Directory, account: Account, here: None
) -> None:
    directory.audience = OF_SAMPLES
    relay = await relay_for(upstream.port, **NO_KEY)
    directory.refusal = (400, "{}")
    assert await account.call(relay) == 502
    assert account.dials == [("other-entra-token-1", 401)]
    assert (await relay.event("upstream.failed", cause="refused"))["upstream_status"] == 401
