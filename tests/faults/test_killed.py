"""A process in the middle dies: the relay, or the Envoy in front of it. Whoever talked through it knows at once."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stage.ingress import Gateway, Ingress, Site
from stage.rawpeer import CLOSE, TEXT, RawPeer
from tests.conftest import DEADLINE_S
from tests.faults.conftest import SOON_S, Line, LineFactory
from tests.standstill import within

CALLS = 100
BLUE = "rtproxy--blue"


@pytest.fixture
async def ingress(line: Line, tmp_path: Path) -> AsyncIterator[Ingress]:
    """Gateway and ingress, one Envoy, in front of the relay."""
    gateway = Gateway(app="rtproxy")
    async with Ingress(tmp_path, "stage.localhost", gateway, idle_timeout_s=240, cookie="acaAffinity") as ingress:
        await ingress.add_revision(BLUE)
        await ingress.set_replicas(BLUE, [line.replica.port])
        await ingress.set_traffic("rtproxy", Site(fqdn="rtproxy.stage.localhost", weights={BLUE: 100}))
        yield ingress


async def ends_without_a_close(peer: RawPeer) -> str:
    """How the connection ended: without a Close, or this fails."""
    try:
        while True:
            assert (await peer.read()).opcode != CLOSE
    except asyncio.IncompleteReadError:
        return "fin"
    except ConnectionResetError:
        return "reset"


async def all_end_without_a_close(peers: list[RawPeer]) -> None:
    async with within(SOON_S):
        assert {*await asyncio.gather(*map(ends_without_a_close, peers))} <= {"fin", "reset"}


@pytest.mark.parametrize("way", ["directly", "through the gateway"])
async def test_both_sides_of_a_hundred_calls_see_their_connection_end_at_once_when_their_replica_is_killed(
    line: Line, ingress: Ingress, line_for: LineFactory, way: str
) -> None:
    other = await line_for()
    through = ingress.gateway_port if way == "through the gateway" else None
    held = await line.calls(CALLS, through)
    await line.replica.event("client.connected", session=held[-1].session)
    async with other.neighbour():
        await line.replica.kill()
        await all_end_without_a_close([end for each in held for end in each])
    events = [event["event"] for event in line.replica.events]
    assert events.count("client.connected") == CALLS, "what was said before is not lost"
    assert "connection.closed" not in events
    if through is not None:
        assert (await line.dial(through)).status == 503
        await ingress.set_replicas(BLUE, [other.replica.port])
        assert (await other.call(through)).client.status == 101


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_calls_through_an_envoy_that_restarts_end_as_vanished_clients_and_new_ones_come_when_it_is_back(
    line: Line, ingress: Ingress, number: signal.Signals
) -> None:
    held = await line.calls(20, ingress.gateway_port)
    async with line.neighbour():
        await ingress.end(number)
        await all_end_without_a_close([each.client for each in held])
        async with within(SOON_S):
            assert {(await each.model.read_until(CLOSE)).code for each in held} == {1001}
        for each in held:
            each.model.hang_up()
        assert {await line.closed(each) for each in held} == {("client", 1006, 1001)}
        assert len(line.summaries()) == len(held)
        await ingress.come_back()
        again = await line.call(ingress.gateway_port)
        await again.model.send(TEXT, b"hello again")
        async with asyncio.timeout(DEADLINE_S):
            assert (await again.client.read()).payload == b"hello again"
    assert '"sessions": 2' in (await line.get("/status"))[1]
