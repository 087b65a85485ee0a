"""However a leg ends, the other one learns it at once, with the code the table says, and stays open no longer."""

import asyncio
import contextlib
import gc
import os
import socket

import pytest

from rtproxy.call.leg import Leg
from rtproxy.call.session import Session
from rtproxy.call.splice import Splice
from rtproxy.carry import ROSTER
from stage.rawpeer import BINARY, CLOSE, TEXT, RawPeer, RawServer, announced, close_payload, frame
from tests.conftest import Call, Caller, CallFactory, Limits, RelayFactory
from tests.standstill import within

MIB = 1024 * 1024
PASSED = [(1000, ""), (1000, "done"), (4000, "app"), (4999, "r" * 123), (3000, "registered"), (None, "")]


def ends(call: Call, side: str) -> tuple[RawPeer, RawServer, RawPeer]:
    """The end of ``side`` and the other one."""
    return (call.client, call.model) if side == "client" else (call.model, call.client)


@pytest.mark.parametrize("side", ["client", "upstream"])
@pytest.mark.parametrize(("code", "reason"), PASSED)
async def test_a_close_passes_unchanged_and_so_does_its_answer(
    call: CallFactory, side: str, code: int | None, reason: str
) -> None:
    here, there = ends(opened := await call(), side)
    await here.send(CLOSE, close_payload(code, reason))
    assert await there.read() == (0x88, close_payload(code, reason))
    await there.send(CLOSE, close_payload(code, reason))
    async with within(1):
        assert await here.read() == (0x88, close_payload(code, reason))
        assert (await here.ended(), await there.ended()) == ("fin", "fin")
    closed = await opened.relay.event("connection.closed")
    assert closed["ended_by"] == side
    assert (closed["client_code"], closed["upstream_code"]) == (code or 1005, code or 1005)


@pytest.mark.parametrize("side", ["client", "upstream"])
@pytest.mark.parametrize("way", ["hang_up", "reset"])
async def test_the_other_leg_is_told_within_a_second_when_one_vanishes(call: CallFactory, side: str, way: str) -> None:
    here, there = ends(opened := await call(), side)
    getattr(here, way)()
    async with within(1):
        told = await there.read()
        assert await there.ended() == "fin"
    code = 1001 if side == "client" else 1011
    assert (told.opcode, told.code) == (CLOSE, code)
    closed = await opened.relay.event("connection.closed")
    assert closed["ended_by"] == side
    codes = {"client": (1006, 1001), "upstream": (1011, 1006)}
    assert (closed["client_code"], closed["upstream_code"]) == codes[side]


@pytest.mark.parametrize("side", ["client", "upstream"])
@pytest.mark.parametrize("way", ["hang_up", "reset"])
async def test_the_other_leg_is_hung_up_when_one_vanishes_in_the_middle_of_a_frame(
    call: CallFactory, side: str, way: str
) -> None:
    here, there = ends(await call(), side)
    await here.write(announced(BINARY, 1000, masked=here.masked) + b"half")
    await there.reader.readexactly(len(announced(BINARY, 1000, masked=here.masked)) + 4)
    getattr(here, way)()
    async with within(1):
        assert await there.reader.read() == b""


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_a_peer_that_half_closes_after_its_close_gets_the_answer(call: CallFactory, side: str) -> None:
    here, there = ends(await call(), side)
    await here.send(CLOSE, close_payload(1000))
    here.half_close()
    assert (await there.read()).code == 1000
    await there.send(CLOSE, close_payload(1000))
    assert (await here.read()).code == 1000


async def test_a_model_that_vanished_is_1006_in_the_log_though_it_could_still_read(call: CallFactory) -> None:
    client, model, relay = await call()
    model.half_close()
    assert (await client.read()).code == 1011
    await client.send(CLOSE, close_payload(1011))
    closed = await relay.event("connection.closed")
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("upstream", 1011, 1006)


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_a_close_is_answered_for_a_peer_that_vanishes_instead_of_answering(call: CallFactory, side: str) -> None:
    here, there = ends(await call(), side)
    await here.send(CLOSE, close_payload(4321, "bye"))
    assert (await there.read()).code == 4321
    there.reset()
    async with within(1):
        assert (await here.read()).code == 4321
        assert await here.ended() == "fin"


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_the_other_leg_is_closed_within_a_second_when_a_peer_says_close_and_goes(
    call: CallFactory, side: str
) -> None:
    here, there = ends(await call(), side)
    await here.send(CLOSE, close_payload(1000))
    here.hang_up()
    async with within(1):
        assert (await there.read()).code == 1000
        assert await there.ended() == "fin"


async def test_a_close_that_nobody_answers_ends_the_call_all_the_same(call: CallFactory, shorten: Limits) -> None:
    shorten(answer_s=0.1)
    client, model, relay = await call()
    await client.send(CLOSE, close_payload(1000))
    assert (await model.read()).code == 1000
    async with within(1):
        assert (await model.ended(), await client.ended()) == ("fin", "fin")
    assert (await relay.event("connection.closed"))["ended_by"] == "client"


async def test_a_clients_close_reaches_the_model_while_a_large_frame_is_on_its_way_down(call: CallFactory) -> None:
    client, model, _ = await call()
    head = announced(BINARY, 5 * MIB, masked=False)
    await model.write(head + b"a" * MIB)
    await client.send(CLOSE, close_payload(4000, "enough"))
    assert (await model.read()).code == 4000
    sending = asyncio.create_task(model.write(b"a" * 4 * MIB + frame(CLOSE, close_payload(4000), masked=False)))
    assert await client.read() == (0x82, b"a" * 5 * MIB)
    assert (await client.read()).code == 4000
    await sending


async def test_a_models_close_behind_a_large_frame_reaches_a_slow_client_whole(call: CallFactory) -> None:
    client, model, _ = await call(receive_buffer=64 * 1024)
    model.writer.write(
        frame(BINARY, b"a" * 5 * MIB, masked=False) + frame(CLOSE, close_payload(1001, "expired"), masked=False)
    )
    model.hang_up()
    received = bytearray()
    while chunk := await client.reader.read(128 * 1024):
        received += chunk
        await asyncio.sleep(0.01)  # what makes it slow
    close = frame(CLOSE, close_payload(1001, "expired"), masked=False)
    assert bytes(received) == frame(BINARY, b"a" * 5 * MIB, masked=False) + close


async def talk(client: RawPeer, size: int) -> None:
    """A frame of ``size`` bytes every 10 ms, until nobody takes them."""
    with contextlib.suppress(OSError):  # the end of it
        while True:
            await client.send(BINARY, b"b" * size)
            await asyncio.sleep(0.01)


async def test_a_models_close_reaches_a_slow_client_that_talks_all_the_while(call: CallFactory) -> None:
    client, model, _ = await call(receive_buffer=32 * 1024)
    said = frame(BINARY, b"a" * 400_000, masked=False) + frame(CLOSE, close_payload(1001, "expired"), masked=False)

    client.writer.transport.pause_reading()  # its own buffer would take all of it at once
    talking, hearing = asyncio.create_task(talk(client, 2000)), asyncio.create_task(model.ended())
    await model.write(said)
    model.half_close()
    received = b""
    with socket.socket(fileno=os.dup(client.writer.get_extra_info("socket").fileno())) as slow:
        slow.setblocking(False)
        while len(received) < len(said) and (chunk := await asyncio.get_running_loop().sock_recv(slow, 4096)):
            received += chunk
            await asyncio.sleep(0.03)  # what makes it slow
    assert received == said
    talking.cancel()
    hearing.cancel()


async def test_every_whole_delta_reaches_a_slow_client_that_talks_when_its_model_goes_in_the_middle_of_one(
    call: CallFactory,
) -> None:
    client, model, relay = await call(receive_buffer=32 * 1024)
    (session,) = relay.app[ROSTER].sessions
    session._splice.client.socket._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 512 * 1024)
    said = frame(BINARY, b"a" * 4000, masked=False) * 50 + announced(BINARY, 4000, masked=False) + b"a" * 100

    client.writer.transport.pause_reading()  # its own buffer would take all of it at once
    talking, hearing = asyncio.create_task(talk(client, 160)), asyncio.create_task(model.ended())
    await model.write(said)
    model.half_close()
    received = b""
    with socket.socket(fileno=os.dup(client.writer.get_extra_info("socket").fileno())) as slow:
        slow.setblocking(False)
        while chunk := await asyncio.get_running_loop().sock_recv(slow, 4096):
            received += chunk
            await asyncio.sleep(0.03)  # what makes it slow
            if len(received) == len(said):
                talking.cancel()
    assert received == said
    hearing.cancel()
    closed = await relay.event("connection.closed")
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("upstream", 1006, 1006)


async def test_a_client_that_was_held_back_is_heard_again_when_its_model_vanishes(
    call: CallFactory, shorten: Limits
) -> None:
    shorten(answer_s=0.2)
    client, model, relay = await call()
    model.reader._transport.pause_reading()
    (session,) = relay.app[ROSTER].sessions
    session._splice.upstream.socket._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * 1024)
    sending = asyncio.create_task(client.write(frame(BINARY, bytes(4000), masked=True) * 3500))
    _, stuck = await asyncio.wait((sending,), timeout=0.5)
    assert stuck, "the relay holds the client back, and so reads nothing from it"
    model.half_close()
    assert (await client.read()).code == 1011
    client.writer.write(frame(CLOSE, close_payload(1011), masked=True))
    assert await client.ended() == "fin"
    await sending
    closed = await relay.event("connection.closed")
    assert (closed["ended_by"], closed["frames_up"]) == ("upstream", 3501)


async def test_nothing_goes_to_a_leg_after_its_close(call: CallFactory) -> None:
    client, model, _ = await call()
    await client.send(CLOSE, close_payload(1000))
    await client.send(TEXT, b"too late")
    assert (await model.read()).opcode == CLOSE
    await model.send(CLOSE, close_payload(1000))
    assert await model.reader.read() == b""


async def test_what_the_model_says_before_it_answers_a_close_still_reaches_the_client(call: CallFactory) -> None:
    client, model, _ = await call()
    await client.send(CLOSE, close_payload(1000))
    await model.read()
    await model.write(frame(TEXT, b"last words", masked=False) + frame(CLOSE, close_payload(1000), masked=False))
    assert (await client.read()).payload == b"last words"
    assert (await client.read()).code == 1000


async def test_a_model_that_closes_with_its_handshake_is_heard(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller
) -> None:
    relay = await relay_for(upstream.port)
    connecting = asyncio.create_task(dial(relay.port))
    model = await upstream.request()
    await model.answer(
        then=frame(TEXT, b"no", masked=False) + frame(CLOSE, close_payload(4003, "go away"), masked=False)
    )
    model.hang_up()
    client = await connecting
    assert (await client.read()).payload == b"no"
    assert (await client.read()).reason == "go away"
    assert (await relay.event("connection.closed"))["ended_by"] == "upstream"


async def test_every_session_writes_one_summary_and_leaves_the_live_set(call: CallFactory) -> None:
    opened = [await call()]
    opened += [await call(relay=opened[0].relay) for _ in range(9)]
    for number, (client, model, _) in enumerate(opened):
        (client if number % 2 else model).reset()
    relay = opened[0].relay
    for each in [e["session"] for e in relay.events if e["event"] == "client.connected"]:
        await relay.event("connection.closed", session=each)
    summaries = [e["session"] for e in relay.events if e["event"] == "connection.closed"]
    connected = [e["session"] for e in relay.events if e["event"] == "client.connected"]
    assert sorted(summaries) == sorted(connected)
    assert len(set(summaries)) == len(opened)


async def _goodbye(call: Call) -> None:
    await call.client.send(CLOSE, close_payload(1000))
    await call.model.send(CLOSE, (await call.model.read()).payload)


async def _fault(call: Call) -> None:
    await call.client.write(announced(BINARY, 17 * MIB, masked=True))


async def _reset(call: Call) -> None:
    call.client.reset()


async def _hang_up(call: Call) -> None:
    call.model.hang_up()


ENDS = {
    "by a Close": _goodbye,
    "by a fault": _fault,
    "as the client vanishes": _reset,
    "as the model vanishes": _hang_up,
}


@pytest.mark.parametrize("how", ENDS)
async def test_a_call_that_ended_is_gone_and_waits_for_no_collector(call: CallFactory, how: str) -> None:
    def left() -> list[object]:
        return [each for each in gc.get_objects() if isinstance(each, (Leg, Session, Splice))]

    gc.collect()
    gc.disable()
    try:
        opened = await call()
        assert len(left()) == 4
        await ENDS[how](opened)
        await opened.relay.event("connection.closed")
        await asyncio.sleep(0)
        assert left() == []
    finally:
        gc.enable()
