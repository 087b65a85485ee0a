"""No file may be opened any more, or no memory is left: who comes is turned away, who talks goes on talking."""

import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from rtproxy.__main__ import SPARE_DESCRIPTORS
from stage.rawpeer import BINARY, RawPeer, announced
from stage.replica import Replica
from tests.conftest import DEADLINE_S, error
from tests.faults.conftest import Line, LineFactory
from tests.world import World

CALLERS = 30
STUCK = 200
LIMIT_KIB = 32 * 1024
"""160 KiB for each of them: a read of each side may wait for the other, and there is the call itself."""


@contextmanager
def limited(replica: Replica, limit: int, soft: int) -> Iterator[None]:
    """The replica may have ``soft`` of what ``limit`` is about, for a while."""
    before, hard = resource.prlimit(replica.process.pid, limit)
    resource.prlimit(replica.process.pid, limit, (soft, hard))
    yield
    resource.prlimit(replica.process.pid, limit, (before, hard))


def taken(replica: Replica) -> set[int]:
    return {int(each.name) for each in Path(f"/proc/{replica.process.pid}/fd").iterdir()}


def allowing(replica: Replica, more: int) -> int:
    """The limit with which a replica may open ``more`` files: numbers are given from below."""
    free = (number for number in range(1 << 20) if number not in taken(replica))
    return next(number for place, number in enumerate(free) if place == more)


async def settled(replica: Replica, count: int) -> None:
    """Waits until a replica has so many descriptors."""
    async with asyncio.timeout(DEADLINE_S):
        while len(taken(replica)) != count:  # noqa: ASYNC110 - another process tells nobody
            await asyncio.sleep(0.01)


@asynccontextmanager
async def idler(replica: Replica, count: int) -> AsyncIterator[None]:
    """Somebody who asks nothing has the last of ``count`` descriptors."""
    writers, stays = [], False
    async with asyncio.timeout(DEADLINE_S):
        while not stays:
            # It may be hung up on, as long as others who knocked are still being dealt with.
            reader, writer = await asyncio.open_connection("127.0.0.1", replica.port)
            writers.append(writer)
            ending = asyncio.create_task(reader.read())
            ended, _ = await asyncio.wait((ending,), timeout=0.2)
            stays = not ended and len(taken(replica)) == count
            ending.cancel()
    yield
    for writer in writers:
        writer.transport.abort()


def cpu_s(replica: Replica) -> float:
    fields = Path(f"/proc/{replica.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def data_kib(replica: Replica) -> int:
    status = Path(f"/proc/{replica.process.pid}/status").read_text()
    return int(status.split("VmData:")[1].split()[0])


async def knock(line: Line) -> str:
    """What a caller gets that does not hold on to its connection."""
    try:
        client: RawPeer = await line.dial(line.replica.port)
    except (ConnectionError, EOFError):
        return "hung up"
    if client.status == 101:
        return "101"
    told = await error(client)
    assert client.headers["retry-after"] == "5"
    await client.closed()
    return f"{client.status} {told['code']}"


async def let_in_again(line: Line) -> None:
    """A call stands; one that met the last of the hanging up knocks once more."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            knocking = asyncio.create_task(knock(line))
            dialed = asyncio.create_task(line.upstream.request())
            await asyncio.wait((knocking, dialed), return_when=asyncio.FIRST_COMPLETED)
            if dialed.done():
                await dialed.result().answer()
                assert await knocking == "101"
                return
            dialed.cancel()
            assert await knocking == "hung up"


async def test_callers_are_turned_away_and_calls_go_on_when_no_descriptor_is_left_and_they_come_in_again_after(
    line: Line,
) -> None:
    idle = len(taken(line.replica))
    async with line.neighbour():
        await line.calls(3)
        await settled(line.replica, idle + 2 * 4)
        # One more: the caller's socket, and none for the model's.
        with limited(line.replica, resource.RLIMIT_NOFILE, allowing(line.replica, 1)):
            before = cpu_s(line.replica)
            became = [await knock(line) for _ in range(CALLERS)]
            assert "503 at_capacity" in became
            assert {*became} <= {"503 at_capacity", "hung up"}
            # And now that one is taken, too: nobody can be told anything.
            async with idler(line.replica, idle + 2 * 4 + 1):
                became = [await knock(line) for _ in range(CALLERS)]
                assert "hung up" in became
                assert {*became} <= {"503 at_capacity", "hung up"}
            await settled(line.replica, idle + 2 * 4)
            # The free one may be the listener's reserve by now, by which it hangs up.
            assert {await knock(line) for _ in range(CALLERS)} <= {"503 at_capacity", "hung up"}
            assert cpu_s(line.replica) - before < 1, "it does not spin"
        await let_in_again(line)
        assert (await line.get("/readyz"))[0] == 200
    failed = await line.replica.event("upstream.failed")
    assert (failed["cause"], failed["status"]) == ("descriptors", 503)
    assert line.summaries() == []


async def test_callers_are_503_and_probes_answered_when_a_relay_has_fewer_descriptors_than_places(
    line_for: LineFactory, tmp_path: Path
) -> None:
    places = 20
    world = World(tmp_path / "world", descriptors=SPARE_DESCRIPTORS + 2 * places)
    world.tell()
    line = await line_for(world=world)
    async with line.neighbour():
        await line.calls(places - 1)
        assert {await knock(line) for _ in range(CALLERS)} == {"503 at_capacity"}
        assert (await line.get("/healthz"))[0] == 200
    await line.stop()
    refused = [event for event in line.replica.events if event["event"] == "client.refused"]
    assert {event["code"] for event in refused} == {"at_capacity"}
    assert sum(event.get("count", 1) for event in refused) == CALLERS


async def test_two_hundred_calls_that_nobody_reads_do_not_bring_a_relay_to_its_memory_limit(line: Line) -> None:
    """What a client or a model can make a relay hold is bounded; a kernel that kills at the limit is SIGKILL."""
    async with line.neighbour():
        with limited(line.replica, resource.RLIMIT_DATA, (data_kib(line.replica) + LIMIT_KIB) * 1024):
            calls, pouring = [], []
            for _ in range(STUCK):
                calls.append(await line.call(receive_buffer=16 * 1024))
                for each in calls[-1]:
                    each.reader._transport.pause_reading()
                    each.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
                    said = announced(BINARY, 15 << 20, masked=each.masked) + bytes(1 << 20)
                    pouring.append(asyncio.create_task(each.write(said)))
            _, stuck = await asyncio.wait(pouring, timeout=0.5)
            assert len(stuck) > STUCK, "the relay holds them back"
            assert (await line.get("/healthz"))[0] == 200
            assert line.summaries() == []
            for task in stuck:
                task.cancel()
            for end in (end for each in calls for end in each):
                end.writer.transport.abort()
    await line.replica.kill()
    assert line.replica.stderr == b"", "nothing failed for want of memory"
