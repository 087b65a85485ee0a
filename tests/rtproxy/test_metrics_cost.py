"""Who asks for /metrics or /status, and how often, costs the calls of a replica next to nothing."""

import asyncio
import time
from pathlib import Path

import aiohttp
import pytest

from rtproxy.call.roster import Roster
from rtproxy.call.session import Session, Shared
from rtproxy.call.trace import Trace
from rtproxy.carry import ROSTER
from rtproxy.log import Log
from rtproxy.model.turns import QUIET, Turns
from rtproxy.watch import metrics
from rtproxy.watch.metrics import Metrics
from rtproxy.wire import slices
from stage.rawpeer import RawServer
from stage.replica import Replica
from tests.conftest import Caller, CallFactory, ReplicaFactory

CALLS = 1_000
TIMES = 1.5
WINDOWS = 5
"""The machine does other things: the best of so many windows, each with its control."""


def cpu_s(replica: Replica) -> float:
    return int(Path(f"/proc/{replica.process.pid}/schedstat").read_text().split()[0]) / 1e9


async def asked(replica: Replica, http: aiohttp.ClientSession, path: str, times: int, seconds: float) -> float:
    """The CPU time of a request, in seconds, of so many evenly spread."""
    began, before = time.monotonic(), cpu_s(replica)
    for number in range(times):
        async with http.get(replica.url + path) as answer:
            assert answer.status == 200
            await answer.read()
        await asyncio.sleep(max(0.0, began + (number + 1) * seconds / times - time.monotonic()))
    return (cpu_s(replica) - before) / times


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", ["/metrics", "/status"])
@pytest.mark.parametrize(
    ("calls", "times", "seconds"), [(300, 200, 2.0), pytest.param(CALLS, 1_000, 10.0, marks=pytest.mark.nightly)]
)
async def test_a_strangers_page_costs_at_most_one_and_a_half_of_a_probe_with_a_thousand_calls_up(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, path: str, calls: int, times: int, seconds: float
) -> None:
    relay = await replica_for(upstream.port, RTPROXY_HEARTBEAT_SECONDS="600")
    for _ in range(calls):
        connecting = asyncio.create_task(dial(relay.port))
        await (await upstream.request()).answer()
        await connecting
    ratios = []
    async with aiohttp.ClientSession() as http:
        await asked(relay, http, "/healthz", times // 2, seconds / 2)
        for _ in range(WINDOWS):
            probe = await asked(relay, http, "/healthz", times, seconds)
            page = await asked(relay, http, path, times, seconds)
            ratios.append(page / probe)
            if ratios[-1] <= TIMES:
                break
    assert min(ratios) <= TIMES


@pytest.fixture
def crowded() -> Metrics:
    """The figures of a replica with a thousand calls, none of which stands."""
    roster, log = Roster(), Log("app--blue", "app--blue-1", _Nowhere())
    shared = Shared(roster, log, None, None, frozenset(), None)  # type: ignore[arg-type]  # no socket is joined
    for _ in range(CALLS):
        roster.add(Session("alice", shared, Trace({})))
    return Metrics(roster, lambda: False, log)


class _Nowhere:
    def write(self, line: bytes) -> int:
        return len(line)


async def test_a_walk_over_the_calls_lets_others_run_between_slices(crowded: Metrics) -> None:
    for session in crowded._roster.sessions:
        session.turns = Slow()
    turns, adding = 0, asyncio.create_task(crowded.exposition())
    while not adding.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > CALLS * Slow.S / slices.SLICE_S / 4


class Slow(Turns):
    """The turns of a call that take some time to be asked."""

    S = 0.0005

    @property
    def state(self) -> str:
        time.sleep(self.S)
        return QUIET


async def test_who_asks_meanwhile_or_soon_after_gets_what_was_added_up_once(
    crowded: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    times, add_up = 0, crowded._add_up

    async def counted() -> metrics.Sum:
        nonlocal times
        times += 1
        return await add_up()

    monkeypatch.setattr(crowded, "_add_up", counted)
    first = asyncio.create_task(crowded.exposition())
    others = [asyncio.create_task(crowded.exposition()) for _ in range(50)]
    await asyncio.sleep(0)
    first.cancel()  # it hung up
    assert len(set(await asyncio.gather(*others))) == 1
    assert await crowded.quiet() == CALLS
    assert times == 1
    crowded._fresh_until = time.monotonic()
    await crowded.exposition()
    assert times == 2


async def test_status_has_the_calls_of_now_although_the_quiet_ones_are_counted_once_a_second(call: CallFactory) -> None:
    first = await call()
    async with aiohttp.ClientSession() as http:

        async def status() -> dict[str, object]:
            async with http.get(first.relay.url + "/status") as answer:
                return dict(await answer.json())

        assert (await status())["sessions"] == 1
        second = await call(relay=first.relay)
        assert (await status())["sessions"] == 2
        for each in (first, second):
            each.client.hang_up()
        await first.model.read()
        async with asyncio.timeout(5):
            while len(first.relay.app[ROSTER]):
                for each in (first, second):
                    each.model.hang_up()
                await asyncio.sleep(0.01)
        said = await status()
    assert (said["sessions"], said["quiet"]) == (0, 0)
