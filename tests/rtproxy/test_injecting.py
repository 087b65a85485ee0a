"""Frames of the relay's own go between two frames of a peer, never into one."""

import asyncio

from rtproxy.call.session import Session
from rtproxy.carry import ROSTER
from stage.rawpeer import BINARY, CLOSE, PING, TEXT, RawPeer, announced, close_payload, frame
from tests.conftest import CallFactory, Limits, Relay

MIB = 1024 * 1024
CHUNK = 64 * 1024


async def half_a_frame_down(client: RawPeer, model: RawPeer, relay: Relay) -> Session:
    """The only call of ``relay``, whose client has 50 of the 100 bytes of a frame."""
    await model.write(announced(BINARY, 100, masked=False) + b"a" * 50)
    await client.reader.readexactly(52)
    (session,) = relay.app[ROSTER].sessions
    return session


async def test_a_ping_and_a_drain_close_wait_for_the_end_of_a_trickling_frame(call: CallFactory) -> None:
    client, model, relay = await call(RTPROXY_HEARTBEAT_SECONDS="0.2")
    payload = bytes(range(256)) * (5 * MIB // 256)

    async def trickle() -> None:
        await model.write(announced(BINARY, len(payload), masked=False))
        for start in range(0, len(payload), CHUNK):
            await model.write(payload[start : start + CHUNK])
            await asyncio.sleep(0.01)  # 0.8 s in all: four heartbeats and the drain come in its midst
            if start == 3 * MIB:
                (session,) = relay.app[ROSTER].sessions
                session.close()

    trickling = asyncio.create_task(trickle())
    got = await client.read()
    while got.opcode == PING:
        got = await client.read()
    assert got == (0x82, payload)
    await trickling
    injected = [await client.read(), await client.read()]
    assert [each.opcode for each in injected] == [PING, CLOSE]
    assert (injected[1].code, injected[1].reason) == (1012, "revision draining, reconnect")
    await client.send(CLOSE, injected[1].payload)
    assert (await model.read_until(CLOSE)).code == 1001
    closed = await relay.event("connection.closed")
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("drain", 1012, 1001)


async def test_a_ping_to_the_model_waits_for_the_end_of_a_clients_frame(call: CallFactory) -> None:
    client, model, _ = await call(RTPROXY_HEARTBEAT_SECONDS="0.1")
    head = announced(TEXT, 1000, masked=True)
    await client.write(head + b"a" * 500)
    for _ in range(3):
        assert (await client.read()).opcode == PING
        await client.write(b"a")
    await client.write(b"b" * 497 + frame(TEXT, b"next", masked=True))
    got = await model.read()
    while got.opcode == PING:
        got = await model.read()
    assert got.payload == b"a" * 503 + b"b" * 497
    assert (await model.read()).opcode == PING
    assert (await model.read_until(TEXT)).payload == b"next"


async def test_the_model_is_told_of_a_drain_only_after_the_client(call: CallFactory) -> None:
    client, model, relay = await call()
    session = await half_a_frame_down(client, model, relay)
    session.close()
    await client.send(TEXT, b"still talking")
    assert (await model.read()).payload == b"still talking", "not a Close"
    await model.write(b"a" * 50 + frame(TEXT, b"dropped", masked=False))
    assert await client.reader.readexactly(50) == b"a" * 50
    assert (await client.read()).code == 1012
    assert (await model.read()).code == 1001


async def test_a_client_that_says_close_while_its_own_waits_for_a_boundary_gets_the_frame_and_the_close(
    call: CallFactory,
) -> None:
    client, model, relay = await call()
    session = await half_a_frame_down(client, model, relay)
    session.close()
    await client.send(CLOSE, close_payload(1000))
    assert (await model.read()).code == 1000
    await model.write(b"a" * 50 + frame(CLOSE, close_payload(1000), masked=False))
    assert await client.reader.readexactly(50) == b"a" * 50
    assert (await client.read()).code == 1012
    assert (await client.reader.read(), await model.reader.read()) == (b"", b"")
    closed = await relay.event("connection.closed")
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("drain", 1012, 1000)


async def test_a_call_that_is_cut_in_the_middle_of_a_frame_tells_the_model_and_logs_what_was_said(
    call: CallFactory,
) -> None:
    client, model, relay = await call()
    session = await half_a_frame_down(client, model, relay)
    session.cut()
    assert (await model.read()).code == 1001
    assert await client.reader.read() == b""
    closed = await relay.event("connection.closed")
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("drain", 1006, 1001)


async def test_what_a_client_said_is_logged_where_the_boundary_that_its_own_close_waited_for_never_came(
    call: CallFactory,
) -> None:
    client, model, relay = await call()
    session = await half_a_frame_down(client, model, relay)
    session.close()
    await client.send(CLOSE, close_payload(4000))
    assert (await model.read()).code == 4000
    model.reset()
    assert await client.reader.read() == b""
    closed = await relay.event("connection.closed")
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("drain", 4000, 4000)


async def test_a_call_that_has_lasted_as_long_as_one_may_ends_behind_a_trickling_frame_and_not_in_it(
    call: CallFactory, shorten: Limits
) -> None:
    shorten(linger_s=0.01)
    client, model, relay = await call(RTPROXY_MAX_CALL_SECONDS="40")
    session = await half_a_frame_down(client, model, relay)
    session._nearly_over(0)
    for _ in range(50):
        await asyncio.sleep(0.01)  # what makes it trickle
        await model.write(b"a")
    assert await client.reader.readexactly(50) == b"a" * 50
    assert (await client.read()).code == 1008
    assert (await model.read()).code == 1001


async def test_nothing_but_the_close_follows_a_drain_and_late_audio_is_dropped(call: CallFactory) -> None:
    client, model, relay = await call()
    (session,) = relay.app[ROSTER].sessions
    session.close()
    session.close()
    await model.send(TEXT, b"late")
    assert (await client.read()).code == 1012
    await client.send(CLOSE, close_payload(1012))
    await model.read_until(CLOSE)
    await model.send(CLOSE, close_payload(1001))
    assert await client.reader.read() == b""
    assert await model.reader.read() == b""
