"""Bytes pass a call untouched and in order, from the very first segment on."""

import asyncio
import os

import pytest

from stage.rawpeer import BINARY, PING, PONG, TEXT, RawServer, announced, frame
from tests.conftest import DEADLINE_S, Caller, CallFactory, RelayFactory

MIB = 1024 * 1024


async def test_session_created_in_the_segment_of_the_101_reaches_the_client(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller
) -> None:
    relay = await relay_for(upstream.port)
    connecting = asyncio.create_task(dial(relay.port))
    model = await upstream.request()
    created = b'{"type":"session.created","session":{"id":"sess_1"}}'
    await model.answer(then=frame(TEXT, created, masked=False))
    client = await connecting
    assert (await client.read()).payload == created
    client.hang_up()
    assert (await relay.event("connection.closed"))["upstream_session"] == "sess_1"


async def test_a_frame_in_the_segment_of_the_upgrade_reaches_the_model(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller
) -> None:
    relay = await relay_for(upstream.port)
    early = frame(TEXT, b'{"type":"session.update"}', masked=True)
    connecting = asyncio.create_task(dial(relay.port, then=early))
    model = await upstream.request()
    await model.answer()
    assert (await model.read()).payload == b'{"type":"session.update"}'
    await connecting


async def test_what_a_client_sends_while_its_call_is_dialed_waits_for_the_model(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller
) -> None:
    relay = await relay_for(upstream.port)
    connecting = asyncio.create_task(dial(relay.port, then=announced(TEXT, MIB, masked=True)))
    model = await upstream.request()
    await model.answer()
    client = await connecting
    await client.write(b"a" * MIB)
    async with asyncio.timeout(DEADLINE_S):
        assert (await model.read()).payload == b"a" * MIB


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 300_000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_a_frame_passes_unchanged_both_ways(call: CallFactory, opcode: int, size: int) -> None:
    client, model, _ = await call()
    payload = os.urandom(size)
    raw = frame(opcode, payload, masked=True)
    await client.write(raw)
    assert await model.reader.readexactly(len(raw)) == raw
    raw = frame(opcode, payload, masked=False)
    await model.write(raw)
    assert await client.reader.readexactly(len(raw)) == raw


async def test_fragments_with_control_frames_between_them_pass_in_order(call: CallFactory) -> None:
    client, model, _ = await call()
    parts = [
        frame(TEXT, b"one", masked=False, fin=False),
        frame(PING, b"between", masked=False),
        frame(0, b"two", masked=False, fin=False),
        frame(PONG, b"", masked=False),
        frame(0, b"three", masked=False),
    ]
    await model.write(b"".join(parts))
    assert await client.reader.readexactly(sum(map(len, parts))) == b"".join(parts)


async def test_pings_and_pongs_of_the_peers_pass_on(call: CallFactory) -> None:
    client, model, _ = await call()
    await client.send(PING, b"are you there")
    assert await model.read() == (0x80 | PING, b"are you there")
    await model.send(PONG, b"are you there")
    assert await client.read() == (0x80 | PONG, b"are you there")


async def test_a_frame_cut_into_single_bytes_passes_whole(call: CallFactory) -> None:
    client, model, _ = await call()
    raw = frame(TEXT, os.urandom(200), masked=True)
    for byte in raw:
        await client.write(bytes((byte,)))
        await asyncio.sleep(0)
    assert await model.reader.readexactly(len(raw)) == raw


async def test_an_append_of_15_mib_passes(call: CallFactory) -> None:
    client, model, _ = await call()
    payload = os.urandom(MIB) * 15
    sending = asyncio.create_task(client.send(TEXT, payload))
    async with asyncio.timeout(DEADLINE_S):
        assert (await model.read()).payload == payload
    await sending


async def test_the_summary_counts_what_each_side_sent(call: CallFactory) -> None:
    client, model, relay = await call()
    up = [frame(TEXT, b"x" * size, masked=True) for size in (10, 1000, 100_000)]
    down = [frame(BINARY, b"y" * size, masked=False) for size in (20, 2000)]
    await client.write(b"".join(up))
    await model.write(b"".join(down))
    await model.reader.readexactly(sum(map(len, up)))
    await client.reader.readexactly(sum(map(len, down)))
    client.hang_up()
    closed = await relay.event("connection.closed")
    assert (closed["frames_up"], closed["bytes_up"]) == (3, sum(map(len, up)))
    assert (closed["frames_down"], closed["bytes_down"]) == (2, sum(map(len, down)))
    assert closed["client"] == "alice"
