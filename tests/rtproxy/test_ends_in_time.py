"""A time that is up is up, whatever a peer does: the longest call, a key that was taken away, the end of a drain."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator

import pytest

from rtproxy.call.session import Session
from rtproxy.carry import ROSTER
from stage.rawpeer import BINARY, CLOSE, RawPeer, RawServer, announced, close_payload, frame
from tests.conftest import DEADLINE_S, Caller, CallFactory, Limits, Relay, ReplicaFactory
from tests.standstill import standstill

MIB = 1 << 20
ANSWER_S = 0.4


@pytest.fixture(autouse=True)
def _short_waits(shorten: Limits) -> None:
    shorten(answer_s=ANSWER_S)
    shorten(linger_s=ANSWER_S / 4)


@contextlib.asynccontextmanager
async def trickling(peer: RawPeer) -> AsyncIterator[None]:
    """It is inside a frame of 16 MiB, and stays there."""

    async def trickle() -> None:
        await peer.write(announced(BINARY, 16 * MIB, masked=peer.masked))
        while True:
            await peer.write(b"x" * 1000)
            await asyncio.sleep(0.01)  # what makes it trickle

    task = asyncio.create_task(trickle())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ended_in(relay: Relay, seconds: float) -> dict[str, object]:
    """The summary of the call, which has to end within ``seconds`` and what the machine took."""
    with standstill() as took:
        closed = await relay.event("connection.closed")
        assert took.spent_s < seconds
    return closed


def the_session(relay: Relay) -> Session:
    (session,) = relay.app[ROSTER].sessions
    return session


async def amid_a_frame(peer: RawPeer) -> None:
    await peer.reader.readexactly(5000)


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_a_call_that_lasted_too_long_ends_although_a_side_goes_on_inside_a_frame(
    call: CallFactory, side: str
) -> None:
    client, model, relay = await call(RTPROXY_MAX_CALL_SECONDS="40")
    talker, other = (client, model) if side == "client" else (model, client)
    drinking = asyncio.create_task(other.ended())
    async with trickling(talker):
        await asyncio.sleep(0.1)
        the_session(relay)._nearly_over(0)
        closed = await ended_in(relay, 4 * ANSWER_S + 1)
    # Whose frame it is has its Close between two of the other side's; a Close would stand in the frame of the other.
    codes = {"client": (1008, 1006), "upstream": (1006, 1001)}[side]
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("limit", *codes)
    await drinking


async def test_a_call_that_lasted_too_long_ends_although_it_was_closing_already(
    call: CallFactory,
) -> None:
    client, model, relay = await call(RTPROXY_MAX_CALL_SECONDS="40")
    await client.send(CLOSE, close_payload(1000))
    assert (await model.read()).code == 1000
    drinking = asyncio.create_task(client.ended())
    async with trickling(model):
        await asyncio.sleep(3 * ANSWER_S)
        assert relay.app[ROSTER].sessions, "its model is still answering, and may"
        the_session(relay)._nearly_over(0)
        closed = await ended_in(relay, 4 * ANSWER_S + 1)
    assert closed["ended_by"] == "client"
    await drinking


async def test_a_call_that_lasted_too_long_ends_although_its_reader_takes_a_little_now_and_then(
    call: CallFactory,
) -> None:
    client, model, relay = await call(receive_buffer=64 * 1024, RTPROXY_MAX_CALL_SECONDS="40")
    client.reader._transport.pause_reading()
    sending = asyncio.create_task(model.write(frame(BINARY, bytes(60_000), masked=False) * 100))
    _, stuck = await asyncio.wait((sending,), timeout=0.5)
    assert stuck

    async def sip() -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await client.reader.readexactly(2000)
                await asyncio.sleep(0.05)

    sipping = asyncio.create_task(sip())
    the_session(relay)._nearly_over(0)
    closed = await ended_in(relay, 4 * ANSWER_S + 1)
    assert closed["ended_by"] == "limit"
    for task in (sipping, sending):
        task.cancel()
    await asyncio.gather(sipping, sending, return_exceptions=True)


@pytest.mark.parametrize("how", ["in a frame", "closing"])
async def test_a_call_whose_key_was_taken_away_ends_although_a_side_goes_on(call: CallFactory, how: str) -> None:
    client, model, relay = await call()
    drinking = asyncio.create_task(model.ended())
    if how == "closing":
        await model.send(CLOSE, close_payload(1000))
    async with trickling(client):
        await asyncio.sleep(0.1)
        the_session(relay).revoke()
        closed = await ended_in(relay, 4 * ANSWER_S + 1)
    assert closed["ended_by"] == {"in a frame": "limit", "closing": "upstream"}[how]
    await drinking


async def test_what_a_side_says_is_no_reason_for_a_drain_to_wait_for_its_answer(call: CallFactory) -> None:
    client, model, relay = await call()
    drinking = asyncio.create_task(model.ended())
    async with trickling(client):
        await asyncio.sleep(0.1)
        the_session(relay).close()
        closed = await ended_in(relay, 4 * ANSWER_S + 1)
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("drain", 1012, 1006)
    await drinking


async def test_a_drain_ends_in_its_window_although_both_sides_go_on_inside_a_frame(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller
) -> None:
    replica = await replica_for(upstream.port, RTPROXY_DRAIN_SECONDS="2")
    connecting = asyncio.create_task(dial(replica.port))
    model = await upstream.request()
    await model.answer()
    client = await connecting
    async with trickling(client), trickling(model):
        await amid_a_frame(model)
        drinking = [asyncio.create_task(each.ended()) for each in (client, model)]
        with standstill() as took:
            replica.signal(signal.SIGTERM)
            async with asyncio.timeout(DEADLINE_S):
                code, _ = await asyncio.gather(replica.exited(), asyncio.sleep(0))
            assert took.spent_s < 3
    assert code == 0
    assert (await replica.event("connection.closed"))["ended_by"] == "drain"
    await asyncio.gather(*drinking)
