"""Frames that cost more than their bytes: they wait for others, their side is slowed, and ended when it goes on."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from rtproxy.carry import ROSTER
from rtproxy.model.events import ClientEvents, ModelEvents
from rtproxy.model.turns import Turns
from rtproxy.wire import slices
from rtproxy.wire.credit import BYTES_PER_UNIT, Allowance, Credit
from rtproxy.wire.flow import SLOWED
from rtproxy.wire.frames import FRAMES_IN_ONE_GO
from rtproxy.wire.poller import Poller
from rtproxy.wire.slices import Soon, in_slices
from stage.rawpeer import BINARY, CLOSE, PING, PONG, TEXT, RawPeer, announced, frame
from tests.conftest import DEADLINE_S, CallFactory, Limits
from tests.rtproxy.goes import Owned, a_walker, all_of

FREE_UNITS, FLOOD_S, PAUSE_S = Allowance().free_units, Allowance().flood_s, Allowance().pause_s
UNITS_A_S, UNITS_AT_MOST = Allowance().units_per_s, int(Allowance().units_limit)

# What is counted.


def spending(units: int, every_s: float, for_s: float) -> Credit:
    """A side that spends so many units so often, and does not wait when it should."""
    side, now = Credit(Allowance()), 100.0
    while now < 100 + for_s:
        side.spend(units, now)
        now += every_s
    return side


def test_whoever_speaks_as_often_as_audio_can_is_never_slowed() -> None:
    side = spending(2, 0.005, 60)
    assert (side.wait_s, side.flood) == (0, False)


def test_a_side_that_sends_short_events_now_and_then_keeps_its_priority() -> None:
    assert not spending(2, 0.1, 60).low_priority
    assert spending(int(FREE_UNITS) + 1, 1, 0.1).low_priority


def test_a_side_that_spent_all_waits_and_is_a_flood_when_it_goes_on() -> None:
    side = spending(100, 0.01, UNITS_AT_MOST / 9000 - 0.1)
    assert side.wait_s == 0
    side = spending(100, 0.01, 1)
    assert side.wait_s >= PAUSE_S
    assert not side.flood
    assert spending(100, 0.01, FLOOD_S + 1).flood


def test_a_side_that_stops_for_a_moment_begins_anew() -> None:
    side, now = Credit(Allowance()), 100.0
    for _ in range(10):
        side.spend(UNITS_AT_MOST, now)
        assert not side.flood
        now += UNITS_AT_MOST / UNITS_A_S
    assert side.wait_s > 0


# Turns.


def test_a_walk_stops_after_some_frames_and_goes_on_where_it_was() -> None:
    stream = b"".join(frame(PING, b"%d" % number, masked=True) for number in range(200)) + announced(
        TEXT, 9, masked=True
    )
    walker = a_walker(masked=True)
    first = walker.feed(stream)
    assert walker.count.frames == FRAMES_IN_ONE_GO
    assert first + walker.rest == stream
    assert first + all_of(walker, b"") == stream
    assert (walker.count.frames, walker.skip, walker.rest) == (201, 9, b"")


@pytest.mark.parametrize("masked", [False, True], ids=["model", "client"])
def test_events_that_are_long_to_parse_take_more_than_one_go(masked: bool) -> None:
    turns = Turns()
    tap = ClientEvents((turns,)) if masked else ModelEvents((turns,))
    inner = b"[" + b"[]," * 5000 + b"1]"
    # The client's has its type far behind, so that it is parsed to find it.
    event = b'{"x":' + inner + b',"type":"x"}' if masked else b'{"type":"response.done","x":' + inner + b"}"
    stream = frame(TEXT, event, masked=masked) * 4
    walker = a_walker(masked=masked, finder=tap)
    goes, passed = 1, walker.feed(stream)
    while walker.rest:
        assert walker.count.frames <= 2 * goes
        passed += walker.feed(b"")
        goes += 1
    assert passed == stream
    assert goes == 2


class Busy:
    """Sockets that all have news, whose owners take a while for them."""

    def __init__(self, poller: Poller, count: int, takes_s: float) -> None:
        self.pairs = [socket.socketpair() for _ in range(count)]
        self.heard: list[int] = []
        for near, far in self.pairs:
            far.send(b"news")
            poller.add(near.fileno(), Owned(partial(self._hear, near.fileno(), takes_s)))

    def _hear(self, number: int, takes_s: float, events: int) -> None:
        until = time.monotonic() + takes_s
        while time.monotonic() < until:
            pass
        self.heard.append(number)

    def close(self) -> None:
        for each in (end for pair in self.pairs for end in pair):
            each.close()


async def test_a_turn_ends_after_its_slice_and_the_next_goes_on_where_it_was() -> None:
    poller = Poller()
    busy = Busy(poller, 60, slices.SLICE_S / 2)
    rounds = []
    async with asyncio.timeout(DEADLINE_S):
        while len(set(busy.heard)) < 60:
            before = len(busy.heard)
            await asyncio.sleep(0)
            rounds.append(len(busy.heard) - before)
    assert max(rounds) <= 4, "others have their turn after a slice, and not after a batch of sockets"
    assert len(busy.heard) < 120, "nobody is heard again before all others were"
    poller.close()
    busy.close()


async def test_what_is_put_off_comes_behind_the_news_and_all_the_same_when_there_are_always_some() -> None:
    poller = Poller()
    order: list[str] = []
    for number in range(3):
        poller.defer(lambda number=number: order.append(f"late {number}"), print)
    near, far = socket.socketpair()

    def news(_: int) -> None:
        order.append("news")
        poller.rearm(near.fileno())
        time.sleep(slices.SLICE_S)

    poller.add(near.fileno(), Owned(news))
    async with asyncio.timeout(DEADLINE_S):
        while len([each for each in order if each != "news"]) < 3:  # noqa: ASYNC110 - it is this test's own loop
            await asyncio.sleep(0)
    late = [place for place, each in enumerate(order) if each != "news"]
    assert order[0] == "news"
    assert [order[place] for place in late] == ["late 0", "late 1", "late 2"]
    poller.close()
    near.close()
    far.close()


async def test_news_of_a_socket_that_is_closed_are_not_those_of_the_next_one_with_its_number() -> None:
    poller = Poller()
    busy = Busy(poller, 20, slices.SLICE_S)
    while not busy.heard:  # noqa: ASYNC110 - it is this test's own loop
        await asyncio.sleep(0)
    waiting = [near for near, _ in busy.pairs if near.fileno() not in busy.heard]
    number = waiting[-1].fileno()
    poller.discard(number)
    told: list[int] = []
    poller._owners[number] = Owned(told.append)
    for _ in range(100):
        await asyncio.sleep(0)
    assert told == []
    poller.close()
    busy.close()


async def test_a_thousand_things_to_do_soon_are_done_in_order_and_in_slices() -> None:
    soon, done = Soon(asyncio.get_running_loop()), []
    broken: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context["exception"]))

    def breaks() -> None:
        raise RuntimeError("a defect")

    soon(breaks)
    for number in range(1000):
        soon(lambda number=number: (done.append(number), time.sleep(0.0001)))
    at_most = 0
    async with asyncio.timeout(DEADLINE_S):
        while len(done) < 1000:
            before = len(done)
            await asyncio.sleep(0)
            at_most = max(at_most, len(done) - before)
    assert done == list(range(1000))
    assert at_most <= 2 * slices.SLICE_S / 0.0001
    assert len(broken) == 1


async def test_many_calls_are_told_something_in_slices() -> None:
    told: list[int] = []
    telling = asyncio.create_task(in_slices(range(1000), lambda number: (told.append(number), time.sleep(0.0001))))
    rounds = 0
    async with asyncio.timeout(DEADLINE_S):
        while not telling.done():
            await asyncio.sleep(0)
            rounds += 1
    assert told == list(range(1000))
    assert rounds > 20


# Calls.

Flood = Callable[[RawPeer], Awaitable[None]]


def of(raw: Callable[[bool], bytes], first: Callable[[bool], bytes] = lambda masked: b"") -> Flood:
    async def flood(peer: RawPeer) -> None:
        with contextlib.suppress(ConnectionError):
            await peer.write(first(peer.masked))
            while True:
                await peer.write(raw(peer.masked))

    return flood


async def trickle(peer: RawPeer) -> None:
    with contextlib.suppress(ConnectionError):
        await peer.write(announced(BINARY, 15 << 20, masked=peer.masked))
        while True:
            for _ in range(50):
                await peer.write(b"x")
                await asyncio.sleep(0)


FLOODS = {
    "pings": of(lambda masked: frame(PING, masked=masked) * 1000),
    "pongs": of(lambda masked: frame(PONG, masked=masked) * 1000),
    "one-byte texts": of(lambda masked: frame(TEXT, b"x", masked=masked) * 1000),
    "empty fragments": of(
        lambda masked: frame(0, masked=masked, fin=False) * 1000,
        lambda masked: frame(TEXT, masked=masked, fin=False),
    ),
    "empty messages": of(lambda masked: frame(BINARY, masked=masked) * 1000),
}


async def drink(peer: RawPeer) -> int | None:
    """Reads on to the Close, and returns its code."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        return (await peer.read_until(CLOSE)).code
    return None


@pytest.mark.parametrize("listed", ["", "response.create"], ids=["any event", "a gate"])
@pytest.mark.parametrize("kind", FLOODS)
@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_a_side_that_floods_is_slowed_and_ended_and_the_other_one_told(
    call: CallFactory, shorten: Limits, side: str, kind: str, listed: str
) -> None:
    shorten(flood_s=0.5)
    client, model, relay = await call(RTPROXY_CLIENT_EVENTS=listed)
    flooder, other = (client, model) if side == "client" else (model, client)
    flooding = asyncio.create_task(FLOODS[kind](flooder))
    both = asyncio.gather(drink(flooder), drink(other))
    async with asyncio.timeout(6 * DEADLINE_S):
        while relay.app[ROSTER].sessions:  # noqa: ASYNC110 - it is this test's own loop
            await asyncio.sleep(0.01)
    closed = await relay.event("connection.closed")
    codes = {"client": (1008, 1001), "upstream": (1011, 1008)}[side]
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("limit", *codes)
    moved = closed["frames_up" if side == "client" else "frames_down"]
    assert moved < 3 * UNITS_AT_MOST, "it was slowed before"
    flooding.cancel()
    for each in (client, model):
        each.writer.transport.abort()
    await both


async def test_a_frame_that_comes_byte_by_byte_for_ever_ends_the_call(call: CallFactory, shorten: Limits) -> None:
    shorten(flood_s=0.3)
    shorten(units_limit=100)
    shorten(units_per_s=1.0)
    client, model, relay = await call()
    trickling = asyncio.create_task(trickle(client))
    drinking = asyncio.gather(drink(client), drink(model))
    assert (await relay.event("connection.closed"))["ended_by"] == "limit"
    trickling.cancel()
    for each in (client, model):
        each.writer.transport.abort()
    assert (await drinking)[0] == 1008


@pytest.mark.parametrize("listed", ["", "response.create"], ids=["any event", "a gate"])
async def test_a_burst_of_small_frames_arrives_whole_and_in_order(call: CallFactory, listed: str) -> None:
    client, model, relay = await call(RTPROXY_CLIENT_EVENTS=listed)
    said = b"".join(frame(PING, b"%d" % number, masked=True) for number in range(2 * UNITS_AT_MOST))
    last = frame(TEXT, b'{"type":"response.create","x":"' + b"x" * 5000 + b'"}', masked=True)
    sending = asyncio.create_task(client.write(said + last))
    async with asyncio.timeout(DEADLINE_S + 2 * UNITS_AT_MOST / UNITS_A_S):
        for number in range(2 * UNITS_AT_MOST):
            assert (await model.read()).payload == b"%d" % number
        assert len((await model.read()).payload) > 5000
    await sending
    assert not [each for each in relay.events if each["event"] == "connection.closed"]


async def test_what_a_slowed_side_says_last_is_heard_and_its_end_too(call: CallFactory) -> None:
    client, model, relay = await call()
    await client.write(frame(PING, masked=True) * (UNITS_AT_MOST + 500) + frame(CLOSE, b"\x0f\xa0", masked=True))
    client.half_close()
    assert (await model.read_until(CLOSE)).code == 4000
    model.hang_up()
    assert (await relay.event("connection.closed"))["ended_by"] == "client"


async def test_a_reset_of_a_slowed_side_is_noticed_at_once(call: CallFactory, shorten: Limits) -> None:
    shorten(pause_s=600)
    shorten(units_per_s=1.0)
    client, model, relay = await call()
    reading = asyncio.create_task(model.read_until(CLOSE))
    await client.write(frame(PING, masked=True) * (UNITS_AT_MOST + 500))
    (session,) = relay.app[ROSTER].sessions
    assert session._splice is not None
    async with asyncio.timeout(DEADLINE_S):
        while not session._splice.client.inbound.held & SLOWED:  # noqa: ASYNC110 - it is this test's own loop
            await asyncio.sleep(0.01)
    client.reset()
    assert (await reading).code == 1001


async def test_usual_frames_of_many_calls_are_not_charged(call: CallFactory) -> None:
    client, model, relay = await call()
    raw = frame(TEXT, b"x" * (2 * BYTES_PER_UNIT), masked=True)
    for _ in range(500):
        await client.write(raw)
        await model.read()
    (session,) = relay.app[ROSTER].sessions
    assert session._splice is not None
    assert not session._splice.client.inbound.low_priority
