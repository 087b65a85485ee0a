"""The token endpoint is down for longer than the token lives: an hour, at fifty times its pace."""

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from stage.identity import Directory, beside, make_app
from stage.rawpeer import TEXT, RawServer
from tests.conftest import DEADLINE_S, Caller, Limits, RelayFactory, error
from tests.faults.conftest import SOON_S
from tests.standstill import within

PACE_S = 0.1
"""5 s between two questions, at this pace."""
LIFETIME_S = 2
DOWN_S = 1.0
"""So long nobody has a token."""


@pytest.fixture
async def directory(monkeypatch: pytest.MonkeyPatch, shorten: Limits) -> AsyncIterator[Directory]:
    """The endpoint beside relays of this process."""
    directory = Directory(lifetime_s=LIFETIME_S)
    shorten(refresh_min_s=PACE_S)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with beside(make_app(directory), directory.header) as environ:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        yield directory


@pytest.mark.parametrize("status", [403, 500])
async def test_calls_come_in_while_the_token_lives_then_502_and_again_soon_after_the_endpoint_is_back(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, directory: Directory, status: int
) -> None:
    relay = await relay_for(upstream.port, AZURE_OPENAI_API_KEY="")

    async def call() -> int:
        connecting = asyncio.create_task(dial(relay.port))
        asking = asyncio.create_task(upstream.request())
        await asyncio.wait((connecting, asking), return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            models.append(asking.result())
            await models[-1].answer()
            clients.append(await connecting)
            return 101
        asking.cancel()
        refused = await connecting
        assert (await error(refused))["code"] == "upstream_token"
        return refused.status

    async def ready() -> bool:
        async with aiohttp.request("GET", f"{relay.url}/readyz") as answer:
            return answer.status == 200

    models, clients = [], []
    directory.refusal = (status, "{}")
    assert await call() == 101, "with the token it has"
    async with within(LIFETIME_S + SOON_S):
        while await ready():  # noqa: ASYNC110 - it is asked as a probe asks
            await asyncio.sleep(PACE_S)
    asked, began = len(directory.asked), time.monotonic()
    while time.monotonic() - began < DOWN_S:
        assert await call() == 502
        await asyncio.sleep(PACE_S)
    assert len(directory.asked) - asked <= (time.monotonic() - began) / PACE_S + 3, "no sooner than it may"
    failed = [event for event in relay.events if event["event"] == "upstream.failed"]
    assert {event["cause"] for event in failed} == {"token"}
    await models[0].send(TEXT, b"still here")
    assert (await clients[0].read_until(TEXT)).payload == b"still here"
    directory.refusal, directory.lifetime_s = None, 3600
    async with asyncio.timeout(DEADLINE_S):
        while not await ready():  # noqa: ASYNC110 - as above
            await asyncio.sleep(PACE_S)
    assert await call() == 101
    assert not [event for event in relay.events if event["event"] == "connection.closed"]
