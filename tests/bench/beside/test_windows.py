"""Two relays measured in turn: who is first, when both are started anew, and what does not count."""

import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bench.beside.windows import A_PAIR, TRIES, NotStarted, Pair, Place, windows
from bench.load.generator import Load
from bench.peers.peer import Peer, Route, nothing
from bench.process import Cores

pytestmark = pytest.mark.timeout(200)
FORWARDER = """
import asyncio, os, sys

port, model_port, calls = map(int, sys.argv[1:])

async def pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)

async def call(reader, writer):
    global calls
    calls -= 1
    model_reader, model_writer = await asyncio.open_connection("127.0.0.1", model_port)
    if calls == 0:
        asyncio.get_running_loop().call_later(0.7, os._exit, 1)
    await asyncio.gather(pump(reader, model_writer), pump(model_reader, writer))

async def main():
    await (await asyncio.start_server(call, "127.0.0.1", port)).serve_forever()

asyncio.run(main())
"""
FOR_EVER = 1_000_000
CALLS = 20
"""A fifth of a run's: what is asked here is not how much a frame costs."""


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.beside.windows.CALLS", CALLS)


def peer(name: str, calls: int = FOR_EVER) -> Peer:
    """Forwards bytes, and is gone soon after that many calls (asking whether it listens is one)."""

    def command(route: Route) -> list[str]:
        return [sys.executable, "-I", "-c", FORWARDER, *map(str, (route.port, route.model_port, calls))]

    return Peer(name, "", lambda: name, command, nothing)


class Still(Cores):
    """The cores as they are: this process goes on on all of them. ``stolen`` is what the host takes at each look."""

    def __init__(self, stolen: float = 0.0) -> None:
        self.load = self.peer = {0}
        self._stolen = stolen
        self._total = 0.0

    @contextlib.contextmanager
    def for_a_child(self) -> Iterator[None]:
        yield

    def stolen_s(self) -> float:
        self._total += self._stolen
        return self._total


@pytest.fixture
async def load() -> AsyncIterator[Load]:
    load = Load()
    await load.listen(None)
    yield load
    load.stop()


def place(load: Load, tmp_path: Path, stolen: float = 0.0) -> Place:
    return Place(load, Still(stolen), tmp_path / "shape", None)


async def test_who_is_first_changes_with_each_window_that_counts(load: Load, tmp_path: Path) -> None:
    told: list[str] = []
    found = await windows(Pair(peer("ours"), peer("before")), place(load, tmp_path), 3, 0.2, told.append)
    counted = 0
    for each in found:
        assert each.first == ("before" if counted % 2 else "ours")
        assert min(each.ours_us, each.before_us) > 1 or each.void  # of no frame that arrived there is no cost
        counted += each.void is None
    assert counted == 3 or len(found) == 3 * TRIES
    assert len(told) == len(found)


async def test_windows_in_which_the_host_took_a_core_are_taken_again_but_not_for_ever(
    load: Load, tmp_path: Path
) -> None:
    taking = place(load, tmp_path, stolen=0.1)
    found = await windows(Pair(peer("ours"), peer("before")), taking, 2, 0.2, lambda what: None)
    assert len(found) == 2 * TRIES
    assert all(each.void for each in found)
    # A busy machine has reasons of its own, which come first.
    assert all("the host took" in each.void or "lagged" in each.void for each in found if each.void)
    assert [each.pair for each in found] == [1, 1, 2, 2, 3, 3]
    assert A_PAIR > 2


async def test_a_relay_that_loses_its_calls_ends_the_run(load: Load, tmp_path: Path) -> None:
    going = Pair(peer("ours"), peer("before", calls=CALLS + 1))
    with pytest.raises(NotStarted, match=rf"^before (lost \d+ of its {CALLS} calls|ended) while it was measured$"):
        await windows(going, place(load, tmp_path), 9, 1.0, lambda what: None)


async def test_a_relay_that_takes_no_calls_ends_the_run(load: Load, tmp_path: Path) -> None:
    load.stop()
    with pytest.raises(NotStarted, match=rf"^ours did not take {CALLS} calls \(\w+: "):
        await windows(Pair(peer("ours"), peer("before")), place(load, tmp_path), 1, 0.2, lambda what: None)
