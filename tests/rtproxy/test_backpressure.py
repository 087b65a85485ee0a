"""A slow reader slows its own call down and no other; one that stands still is given up."""

import asyncio
import time
from pathlib import Path

import pytest

from stage.rawpeer import BINARY, CLOSE, TEXT, RawPeer, RawServer, announced, frame
from stage.replica import Replica
from tests.conftest import DEADLINE_S, Caller, CallFactory, Limits, ReplicaFactory
from tests.standstill import within

KIB = 1024
MIB = 1024 * KIB
SLOW_BYTES_A_S = 64 * KIB


def rss_kib(replica: Replica) -> int:
    status = Path(f"/proc/{replica.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


async def flood(model: RawPeer, stop: asyncio.Event) -> None:
    audio = frame(BINARY, b"a" * 8 * KIB, masked=False)
    while not stop.is_set():
        await model.write(audio)


async def test_a_slow_reader_costs_less_than_a_mib_and_others_keep_their_latency(
    replica_for: ReplicaFactory,
    upstream: RawServer,
    dial: Caller,
) -> None:
    replica = await replica_for(upstream.port)

    async def open_call(**how: int) -> tuple[RawPeer, RawPeer]:
        connecting = asyncio.create_task(dial(replica.port, **how))
        model = await upstream.request()
        await model.answer()
        return await connecting, model

    fast, fast_model = await open_call()
    slow, slow_model = await open_call(receive_buffer=64 * KIB)

    async def echo_ms() -> float:
        started = time.monotonic()
        await fast.send(TEXT, b"x" * 1800)
        await fast_model.read()
        await fast_model.send(TEXT, b"y" * 4200)
        await fast.read()
        return (time.monotonic() - started) * 1000

    for _ in range(20):
        await echo_ms()
    before, stop = rss_kib(replica), asyncio.Event()
    flooding = asyncio.create_task(flood(slow_model, stop))
    latencies, grown = [], 0
    started = time.monotonic()
    while time.monotonic() - started < 3:
        await slow.reader.read(SLOW_BYTES_A_S // 20)
        latencies += [await echo_ms() for _ in range(5)]
        grown = max(grown, rss_kib(replica) - before)
        await asyncio.sleep(0.05)  # what makes it slow
    stop.set()
    flooding.cancel()
    assert grown < 1024, "KiB"
    assert sorted(latencies)[len(latencies) * 95 // 100] < 20, "ms"


@pytest.mark.parametrize("stalled", ["client", "upstream"])
async def test_a_reader_that_stands_still_is_given_up(call: CallFactory, shorten: Limits, stalled: str) -> None:
    shorten(stall_s=0.5)
    client, model, relay = await call(receive_buffer=64 * KIB)
    talker = model if stalled == "client" else client
    stop = asyncio.Event()
    audio = frame(BINARY, b"a" * 8 * KIB, masked=talker.masked)

    async def talk() -> None:
        while not stop.is_set():
            await talker.write(audio)

    reader = client if stalled == "client" else model
    reader.reader._transport.pause_reading()  # the raw peer stops taking bytes from its socket
    talking = asyncio.create_task(talk())
    async with asyncio.timeout(DEADLINE_S):
        told = await talker.read_until(CLOSE)
    talking.cancel()
    codes = {"client": (1008, 1001), "upstream": (1011, 1008)}[stalled]
    assert told.code == codes[1 if stalled == "client" else 0]
    reader.reader._transport.resume_reading()
    assert (await reader.read_until(CLOSE)).code == 1008
    closed = await relay.event("connection.closed")
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("limit", *codes)


async def test_a_slow_reader_that_moves_is_not_given_up(call: CallFactory, shorten: Limits) -> None:
    shorten(stall_s=0.5)
    client, model, relay = await call(receive_buffer=64 * KIB)
    stop = asyncio.Event()
    flooding = asyncio.create_task(flood(model, stop))
    started = time.monotonic()
    while time.monotonic() - started < 2:
        await client.reader.readexactly(32 * KIB)
        await asyncio.sleep(0.1)  # what makes it slow
    stop.set()
    flooding.cancel()
    assert not [e for e in relay.events if e["event"] == "connection.closed"]


async def test_a_reset_is_noticed_on_a_leg_that_is_held_back(call: CallFactory, shorten: Limits) -> None:
    shorten(answer_s=0.2)
    client, model, relay = await call()
    model.reader._transport.pause_reading()
    sending = asyncio.create_task(client.write(announced(BINARY, 15 * MIB, masked=True) + bytes(14 * MIB)))
    _, stuck = await asyncio.wait((sending,), timeout=0.5)
    assert stuck, "the relay holds the client back, and so reads nothing from it"
    sending.cancel()
    client.reset()
    async with within(2):
        assert (await relay.event("connection.closed"))["ended_by"] == "client"


async def test_the_model_is_told_when_a_client_stands_still_in_the_middle_of_a_large_frame(
    call: CallFactory, shorten: Limits
) -> None:
    shorten(stall_s=0.5)
    shorten(answer_s=0.2)
    client, model, relay = await call(receive_buffer=64 * KIB)
    client.reader._transport.pause_reading()
    sending = asyncio.create_task(model.send(BINARY, bytes(15 * MIB)))
    async with asyncio.timeout(DEADLINE_S):
        assert (await model.read_until(CLOSE)).code == 1001
    sending.cancel()
    closed = await relay.event("connection.closed")
    assert (closed["ended_by"], closed["upstream_code"]) == ("limit", 1001)
