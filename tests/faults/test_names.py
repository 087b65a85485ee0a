"""The model's name: nobody answers for it, it is unknown, or it stands for another machine from now on."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from stage.rawpeer import TEXT, RawServer
from tests.conftest import DEADLINE_S, Caller, Limits, RelayFactory, error
from tests.faults.conftest import SOON_S, Line, LineFactory
from tests.standstill import within
from tests.world import World

NAME = "model.example"


class Named(NamedTuple):
    """A relay that finds its model by a name, and what the name means."""

    line: Line
    world: World
    tls: ssl.SSLContext


@pytest.fixture
async def named(line_for: LineFactory, tmp_path: Path) -> AsyncIterator[Named]:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(NAME).configure_cert(tls)
    world = World(tmp_path / "world", names={NAME: "127.0.0.1"})
    world.tell()
    async with RawServer(tls) as model:
        line = await line_for(
            model,
            world,
            AZURE_OPENAI_ENDPOINT=f"https://{NAME}:{model.port}",
            SSL_CERT_FILE=str(tmp_path / "ca.pem"),
        )
        yield Named(line, world, tls)


async def test_calls_are_502_at_once_while_the_models_name_is_unknown_and_come_in_when_it_is_back(
    named: Named,
) -> None:
    async with named.line.neighbour():
        named.world.names = {}
        named.world.tell()
        async with within(SOON_S):
            refused = await named.line.dial(named.line.replica.port)
            assert (refused.status, (await error(refused))["code"]) == (502, "upstream_unreachable")
        assert (await named.line.replica.event("upstream.failed"))["cause"] == "unreachable"
        named.world.names = {NAME: "127.0.0.1"}
        named.world.tell()
        assert (await named.line.call()).client.status == 101
    assert named.line.summaries() == []


async def test_the_next_call_goes_where_the_name_points_now_and_live_calls_stay_where_they_are(named: Named) -> None:
    async with named.line.neighbour(), RawServer(named.tls, "127.0.0.2", named.line.upstream.port) as moved:
        named.world.names = {NAME: "127.0.0.2"}
        named.world.tell()
        connecting = asyncio.create_task(named.line.dial(named.line.replica.port))
        async with asyncio.timeout(DEADLINE_S):
            model = await moved.request()
            await model.answer()
            client = await connecting
            await model.send(TEXT, b"from there")
            assert (await client.read()).payload == b"from there"


async def test_a_call_is_504_when_nobody_answers_for_the_name_and_the_next_one_is_not_held_up(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, monkeypatch: pytest.MonkeyPatch, shorten: Limits
) -> None:
    """In this process, so that nobody waits for the 10 s of a dial."""
    shorten(dial_s=0.3)
    relay = await relay_for(upstream.port, AZURE_OPENAI_ENDPOINT=f"http://localhost:{upstream.port}")
    loop = asyncio.get_running_loop()
    look_up = loop.getaddrinfo
    with monkeypatch.context() as silent:

        async def unanswered(host: str, *port: object, **how: object) -> object:
            if host == "localhost":
                await asyncio.Event().wait()
            return await look_up(host, *port, **how)

        silent.setattr(loop, "getaddrinfo", unanswered)
        async with within(0.3 + SOON_S):
            refused = await asyncio.gather(*[dial(relay.port) for _ in range(20)])
        assert {client.status for client in refused} == {504}
    for client in refused:
        assert (await error(client))["code"] == "upstream_timeout"
    assert [event["cause"] for event in relay.events] == ["timeout"] * 20
    connecting = asyncio.create_task(dial(relay.port))
    async with within(SOON_S):
        await (await upstream.request()).answer()
        assert (await connecting).status == 101
