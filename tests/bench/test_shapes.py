"""The shapes of load: what they make of a peer that does not do what was asked of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bench.load.generator import Calls, Load
from bench.peers import PEERS
from bench.process import Running
from bench.shapes import DIRECT, Bench, held, speech
from stage.envoy import free_port
from tests.bench.conftest import Serve


class Known(Load):
    """Knows the calls that were opened last."""

    calls: Calls

    async def call(self, port: int, count: int) -> Calls:
        self.calls = await super().call(port, count)
        return self.calls


@pytest.fixture
async def load() -> AsyncIterator[Known]:
    load = Known()
    await load.listen(None)
    yield load
    load.stop()


@pytest.fixture
def failures() -> list[str]:
    return []


@pytest.fixture
def bench(load: Known, failures: list[str]) -> Bench:
    return Bench(load, rounds=1, seconds=0.2, most=1000, tell=lambda what: None, failed=failures.append)


async def test_a_round_in_which_calls_ended_does_not_count(bench: Bench, load: Known, failures: list[str]) -> None:
    @asynccontextmanager
    async def losing_one(bench: Bench, port: int) -> AsyncIterator[None]:
        load.calls.models[0].transport.abort()
        yield

    (found,) = await speech(bench, [], held=4, talking=2, beside=losing_one)
    assert found[DIRECT].void == "1 of 2 calls ended meanwhile"
    assert failures == ["direct: 1 of 2 calls ended meanwhile"]


async def test_a_peer_that_does_not_hold_the_calls_has_failed(bench: Bench, failures: list[str]) -> None:
    process = await asyncio.create_subprocess_exec("sleep", "600")
    deaf = Running("rtproxy", free_port(), process)
    try:
        (found,) = await held(bench, [deaf], 5)
    finally:
        process.kill()
        await process.wait()
    assert str(found["rtproxy"].void).startswith("the calls were not established (ConnectionRefusedError: ")
    assert failures == [f"rtproxy: {found['rtproxy'].void}"]


async def test_peers_that_stand_one_by_one_have_no_baseline_in_common(
    bench: Bench, load: Known, serve: Serve, failures: list[str]
) -> None:
    ours, aiohttp = (next(peer for peer in PEERS if peer.name == name) for name in ("rtproxy", "aiohttp"))
    peers = [await serve(peer, load.port) for peer in (ours, aiohttp)]
    few = Bench(load, bench.rounds, bench.seconds, 5, bench.tell, bench.failed)
    (found,) = await speech(few, peers, held=4, talking=2)
    assert list(found) == ["rtproxy", "aiohttp"]
    assert failures == []
