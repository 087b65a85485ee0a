"""The model's end of a call: it breaks off in the middle of what it says, or comes late and then says everything."""

import asyncio
import hashlib
import random
from pathlib import Path

from stage.rawpeer import BINARY, CLOSE, TEXT, RawPeer, frame
from stage.replica import Replica
from tests.conftest import DEADLINE_S
from tests.faults.conftest import SOON_S, Line, LineFactory
from tests.faults.latepeer import LateServer
from tests.standstill import within

KIB = 1024
MIB = 1024 * KIB
DELTA = b'{"type":"response.output_audio.delta","delta":"%s"}' % (b"A" * 4000)
CREATED = b'{"type":"response.created","response":{"id":"resp_1"}}'


CALLERS = 6
LATE_S = 1.5
FLOOD_BYTES = 8 * MIB


async def test_a_client_gets_every_whole_delta_and_1011_when_the_model_resets_between_two(line: Line) -> None:
    held = await line.call()
    async with line.neighbour():
        for said in (CREATED, DELTA, DELTA):
            await held.model.send(TEXT, said)
        assert [(await held.client.read()).payload for _ in range(3)] == [CREATED, DELTA, DELTA]
        held.model.reset()
        async with within(SOON_S):
            told = await held.client.read()
            assert (told.opcode, told.code) == (CLOSE, 1011)
        held.client.hang_up()
        assert await line.closed(held) == ("upstream", 1011, 1006)
    assert line.summaries() == [held.session]


async def test_a_clients_connection_ends_without_a_close_when_the_model_resets_in_the_middle_of_a_delta(
    line: Line,
) -> None:
    """A Close would stand in the middle of a frame, and the client would take it for audio."""
    held = await line.call()
    async with line.neighbour():
        whole = frame(TEXT, DELTA, masked=False)
        await held.model.send(TEXT, CREATED)
        await held.model.write(whole[:2000])
        assert (await held.client.read()).payload == CREATED
        assert await held.client.reader.readexactly(2000) == whole[:2000]
        held.model.reset()
        async with within(SOON_S):
            assert await held.client.reader.read(1) == b""
        assert await line.closed(held) == ("upstream", 1006, 1006)
        closed = await line.replica.event("connection.closed", session=held.session)
        assert closed["turn"] == "responding"
    assert line.summaries() == [held.session]


async def test_calls_wait_for_a_model_that_is_slow_to_accept_and_its_flood_then_arrives_whole_in_bounded_memory(
    line_for: LineFactory,
) -> None:
    async with LateServer() as model:
        line = await line_for(model)
        async with line.neighbour():
            model.leave()
            connecting = [
                asyncio.create_task(line.dial(line.replica.port, receive_buffer=64 * KIB)) for _ in range(CALLERS)
            ]
            _, waiting = await asyncio.wait(connecting, timeout=LATE_S)
            assert len(waiting) == CALLERS, "nobody is refused or let in"
            before = rss_kib(line.replica)
            model.come()
            flooding = [asyncio.create_task(flood(await model.request(), seed)) for seed in range(CALLERS)]
            clients = await asyncio.gather(*connecting)
            assert {client.status for client in clients} == {101}
            # Nobody reads: the model is held back, and not kept in memory.
            for client in clients:
                client.reader._transport.pause_reading()
            _, stuck = await asyncio.wait(flooding, timeout=1)
            assert len(stuck) == CALLERS
            assert rss_kib(line.replica) - before < CALLERS * KIB
            for client in clients:
                client.reader._transport.resume_reading()
            async with asyncio.timeout(DEADLINE_S):
                heard = await asyncio.gather(*[digest(client) for client in clients])
            assert sorted(heard) == sorted([await each for each in flooding])
            assert rss_kib(line.replica) - before < CALLERS * KIB


async def flood(model: RawPeer, seed: int) -> str:
    """Answers, and says FLOOD_BYTES from the same segment on, as fast as they are taken; their digest."""
    said = frame(BINARY, random.Random(seed).randbytes(FLOOD_BYTES), masked=False)
    await model.answer(then=said[: 64 * KIB])
    for at in range(64 * KIB, len(said), 256 * KIB):
        await model.write(said[at : at + 256 * KIB])
    return hashlib.sha256(said).hexdigest()


async def digest(client: RawPeer) -> str:
    got = await client.read()
    return hashlib.sha256(frame(got.opcode, got.payload, masked=False)).hexdigest()


def rss_kib(replica: Replica) -> int:
    status = Path(f"/proc/{replica.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])
