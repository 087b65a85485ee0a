"""The data path under peers that do their worst, in plaintext and under TLS: what arrives is whole and in order, and
when they are gone, so is everything that they held.
"""

import asyncio
import contextlib
import hashlib
import os
import random
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from rtproxy.call.ending import Sent
from rtproxy.carry import ROSTER
from rtproxy.wire.poller import Poller
from stage.rawpeer import BINARY, CLOSE, TEXT, RawPeer, RawServer, announced, close_payload, frame
from stage.replica import Replica
from tests.conftest import DEADLINE_S, Caller, CallFactory, Limits, ReplicaFactory
from tests.rtproxy.goes import Owned
from tests.standstill import within

KIB = 1024
MIB = 1024 * KIB
CALLS = 200
SIDES = ("client", "upstream")


class Line:
    """A relay process and the model behind it."""

    def __init__(self, replica: Replica, upstream: RawServer, dial: Caller) -> None:
        self.replica, self.upstream, self._dial = replica, upstream, dial
        self._proc = Path(f"/proc/{replica.process.pid}")

    async def call(self, **how: int) -> tuple[RawPeer, RawPeer]:
        async with asyncio.timeout(DEADLINE_S):
            connecting = asyncio.create_task(self._dial(self.replica.port, **how))
            model = await self.upstream.request()
            await model.answer()
            return await connecting, model

    def descriptors(self) -> int:
        return len(list((self._proc / "fd").iterdir()))

    def cpu_s(self) -> float:
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def forgets(self, descriptors: int) -> None:
        """Waits until the relay holds as many descriptors as it did."""
        async with asyncio.timeout(DEADLINE_S):
            while self.descriptors() > descriptors:  # noqa: ASYNC110 - another process tells nobody
                await asyncio.sleep(0.02)


@pytest.fixture(params=["plaintext", "tls"])
async def line(
    request: pytest.FixtureRequest, replica_for: ReplicaFactory, dial: Caller, tmp_path: Path
) -> AsyncIterator[Line]:
    if request.param == "plaintext":
        async with RawServer() as upstream:
            yield Line(await replica_for(upstream.port), upstream, dial)
        return
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    async with RawServer(context) as upstream:
        endpoint = f"https://localhost:{upstream.port}"
        replica = await replica_for(0, AZURE_OPENAI_ENDPOINT=endpoint, SSL_CERT_FILE=str(tmp_path / "ca.pem"))
        yield Line(replica, upstream, dial)


def ends(client: RawPeer, model: RawPeer, side: str) -> tuple[RawPeer, RawPeer]:
    return (client, model) if side == "client" else (model, client)


def frames(seed: int, total: int, *, masked: bool) -> bytes:
    """Frames of every size, of random bytes, ``total`` bytes or a little more."""
    rng = random.Random(seed)
    said = bytearray()
    while len(said) < total:
        payload = rng.randbytes(rng.choice((0, 1, 125, 126, 127, 1800, 4200, 65_535, 65_536, 300_000)))
        said += frame(rng.choice((TEXT, BINARY)), payload, masked=masked)
    return bytes(said)


async def pour(peer: RawPeer, said: bytes) -> None:
    """Writes it all, in slices: under TLS, one large write is not waited for."""
    for at in range(0, len(said), 256 * KIB):
        await peer.write(said[at : at + 256 * KIB])


async def digest(peer: RawPeer, length: int, most: int = 1 << 16) -> str:
    """Reads ``length`` bytes, at most ``most`` at once."""
    seen = hashlib.sha256()
    while length:
        data = await peer.reader.read(min(length, most))
        assert data, "it ended early"
        seen.update(data)
        length -= len(data)
    return seen.hexdigest()


async def test_megabytes_both_ways_arrive_whole_when_both_sides_stop_reading_meanwhile(line: Line) -> None:
    client, model = await line.call()
    up, down = frames(1, 20 * MIB, masked=True), frames(2, 20 * MIB, masked=False)
    for each in (client, model):
        each.reader._transport.pause_reading()
    sending = [asyncio.create_task(pour(client, up)), asyncio.create_task(pour(model, down))]
    _, stuck = await asyncio.wait(sending, timeout=0.5)
    assert len(stuck) == 2
    for each in (client, model):
        each.reader._transport.resume_reading()
    async with asyncio.timeout(DEADLINE_S):
        seen = await asyncio.gather(digest(model, len(up)), digest(client, len(down)))
    assert seen == [hashlib.sha256(up).hexdigest(), hashlib.sha256(down).hexdigest()]
    await asyncio.gather(*sending)


async def test_a_stream_arrives_whole_when_the_reader_stops_and_goes(line: Line) -> None:
    async def passes(side: str) -> None:
        here, there = ends(*await line.call(receive_buffer=32 * KIB), side)
        said = frames(3, 6 * MIB, masked=here.masked)
        sending = asyncio.create_task(pour(here, said))
        rng, seen, left = random.Random(4), hashlib.sha256(), len(said)
        while left:
            data = await there.reader.readexactly(min(left, rng.choice((1, 100, 70_000, 400_000))))
            seen.update(data)
            left -= len(data)
            await asyncio.sleep(rng.choice((0, 0, 0.01)))  # what makes it stop
        assert seen.hexdigest() == hashlib.sha256(said).hexdigest(), side
        await sending

    async with asyncio.timeout(DEADLINE_S):
        for side in SIDES:
            await passes(side)


async def test_a_reader_that_comes_back_is_served_though_it_talks_all_the_while(line: Line) -> None:
    for side in SIDES:
        here, there = ends(*await line.call(receive_buffer=32 * KIB), side)
        there.reader._transport.pause_reading()
        said = frame(BINARY, os.urandom(8 * MIB), masked=here.masked)
        sending = asyncio.create_task(pour(here, said))

        async def talk(peer: RawPeer = there) -> None:
            while True:
                await peer.send(TEXT, b'{"type":"response.output_audio.delta","delta":"'.ljust(1800, b"a"))

        async def listen(peer: RawPeer = here) -> None:
            while await peer.reader.read(1 << 16):
                pass

        others = [asyncio.create_task(talk()), asyncio.create_task(listen())]
        await asyncio.wait((sending,), timeout=0.2)
        there.reader._transport.resume_reading()
        async with asyncio.timeout(DEADLINE_S):
            assert await digest(there, len(said)) == hashlib.sha256(said).hexdigest()
        for task in others:
            task.cancel()
        for peer in (here, there):
            peer.writer.transport.abort()


async def test_bytes_that_come_one_by_one_arrive_in_order(line: Line) -> None:
    for side in SIDES:
        here, there = ends(*await line.call(), side)
        said = b"".join(frame(TEXT, bytes(range(n)), masked=here.masked) for n in range(0, 140, 20))
        sock = here.writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(said)):
            await here.write(said[at : at + 1])
            if at % 7 == 0:
                await asyncio.sleep(0)
        async with asyncio.timeout(DEADLINE_S):
            assert await there.reader.readexactly(len(said)) == said


async def test_nothing_is_held_when_a_peer_goes_in_the_middle_of_megabytes(line: Line) -> None:
    held = line.descriptors()
    calls = [(*await line.call(), side, way) for side in SIDES for way in ("hang_up", "reset") for _ in range(3)]
    stuck = []
    for client, model, _, _ in calls:
        # Nobody reads and both are in the middle of a frame, with all that the kernels take on its way.
        for each in (client, model):
            each.reader._transport.pause_reading()
            stuck.append(
                asyncio.create_task(pour(each, announced(BINARY, 15 * MIB, masked=each.masked) + bytes(9 * MIB)))
            )
    await asyncio.wait(stuck, timeout=0.3)
    for task in stuck:
        task.cancel()
    endings = []
    for client, model, side, way in calls:
        here, there = ends(client, model, side)
        getattr(here, way)()
        there.reader._transport.resume_reading()
        endings.append(asyncio.create_task(there.ended()))
    async with asyncio.timeout(DEADLINE_S):
        assert {await ending for ending in endings} <= {"fin", "reset"}
        for client, _, _, _ in calls:
            await line.replica.event("connection.closed", session=client.headers["x-rtproxy-session"])
    for client, model, _, _ in calls:
        client.hang_up()
        model.hang_up()
    await line.forgets(held)
    summaries = [event for event in line.replica.events if event["event"] == "connection.closed"]
    assert len(summaries) == len(calls)


async def test_two_hundred_calls_at_once_arrive_whole_and_leave_nothing(line: Line) -> None:
    held = line.descriptors()

    models: list[RawPeer] = []

    async def answer() -> None:
        for _ in range(CALLS):
            models.append(await line.upstream.request())
            await models[-1].answer()

    async with asyncio.timeout(20):
        answering = asyncio.create_task(answer())
        clients = await asyncio.gather(*[line._dial(line.replica.port) for _ in range(CALLS)])
        await answering
        said = [frames(seed, 60 * KIB, masked=True) for seed in range(CALLS)]
        for client, stream in zip(clients, said, strict=True):
            client.writer.write(stream)

        async def echo(model: RawPeer) -> bytes:
            """Says what it heard, a digest a message, and then goodbye."""
            seen = hashlib.sha256()
            with contextlib.suppress(asyncio.IncompleteReadError):
                while (got := await model.read()).opcode != CLOSE:
                    seen.update(frame(got.opcode, got.payload, masked=True))
            await model.send(TEXT, seen.hexdigest().encode())
            await model.send(CLOSE, close_payload(1000))
            return seen.hexdigest().encode()

        echoing = [asyncio.create_task(echo(model)) for model in models]
        for client in clients:
            await client.send(CLOSE, close_payload(1000))
        for client, stream in zip(clients, said, strict=True):
            assert (await client.read()).payload.decode() == hashlib.sha256(stream).hexdigest()
            assert (await client.read()).code == 1000
        await asyncio.gather(*echoing)
    for each in (*clients, *models):
        each.hang_up()
    await line.forgets(held)


async def test_calls_that_wait_cost_no_cpu(line: Line) -> None:
    """50 that are half closed and wait for the answer to their Close, 50 whose reader stands still."""
    await line.call()
    closing = [await line.call() for _ in range(50)]
    for client, model in closing:
        await client.send(CLOSE, close_payload(1000))
        client.half_close()
        assert (await model.read()).code == 1000
    full = [await line.call(receive_buffer=16 * KIB) for _ in range(50)]
    stuck = []
    for client, model in full:
        client.reader._transport.pause_reading()
        stuck.append(asyncio.create_task(pour(model, announced(BINARY, 15 * MIB, masked=False) + bytes(14 * MIB))))
    await asyncio.wait(stuck, timeout=0.5)
    before = line.cpu_s()
    done, _ = await asyncio.wait(stuck, timeout=2)
    assert not done
    assert line.cpu_s() - before < 0.1
    for task in stuck:
        task.cancel()
    for peer in (end for both in (*closing, *full) for end in both):
        peer.writer.transport.abort()


# What a call may hold when a peer does not read.


async def test_a_model_is_held_back_while_a_drain_waits_for_a_slow_reader(call: CallFactory) -> None:
    client, model, relay = await call(receive_buffer=64 * KIB)
    client.reader._transport.pause_reading()
    sending = asyncio.create_task(model.send(BINARY, bytes(15 * MIB)))
    _, stuck = await asyncio.wait((sending,), timeout=0.5)
    assert stuck
    (session,) = relay.app[ROSTER].sessions
    session.close()
    client.reader._transport.resume_reading()
    await client.reader.readexactly(2 * MIB)
    client.reader._transport.pause_reading()
    splice = session._splice
    assert splice is not None
    _, stuck = await asyncio.wait((sending,), timeout=0.5)
    held = len(splice.client.socket._unsent)
    sending.cancel()
    client.reset()
    assert held < MIB


async def test_a_client_is_held_back_while_its_model_stands_still_and_both_wait_for_the_end_of_a_frame(
    call: CallFactory, shorten: Limits
) -> None:
    shorten(stall_s=0.5)
    client, model, relay = await call(RTPROXY_HEARTBEAT_SECONDS="2")
    (session,) = relay.app[ROSTER].sessions
    model.reader._transport.pause_reading()
    await model.write(announced(BINARY, 100, masked=False) + bytes(50))
    splice = session._splice
    assert splice is not None
    ending = splice.ending
    flooding = asyncio.create_task(pour(client, frame(BINARY, bytes(64 * KIB), masked=True) * 300))
    held = 0
    async with within(DEADLINE_S):
        while not ending.ended_by or Sent.SECOND in (ending.client.sent, ending.upstream.sent):
            await asyncio.sleep(0.01)
            held = max(held, len(splice.upstream.socket._unsent))
    assert ending.ended_by == "limit"
    assert held < MIB
    client.writer.transport.abort()
    await asyncio.gather(flooding, return_exceptions=True)


@pytest.mark.parametrize("side", SIDES)
async def test_a_reader_that_stands_still_is_given_up_though_it_goes_on_talking(
    call: CallFactory, shorten: Limits, side: str
) -> None:
    shorten(stall_s=0.5)
    client, model, relay = await call(receive_buffer=64 * KIB)
    stuck, flooding = ends(client, model, side)
    stuck.reader._transport.pause_reading()

    async def talk(peer: RawPeer, size: int, pause_s: float) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await peer.send(BINARY, bytes(size))
                await asyncio.sleep(pause_s)

    talking = [asyncio.create_task(talk(stuck, 160, 0.02)), asyncio.create_task(talk(flooding, 64 * KIB, 0))]
    try:
        async with within(5):
            told = await flooding.read_until(CLOSE)
        assert told.code == {"client": 1001, "upstream": 1011}[side]
    finally:
        for task in talking:
            task.cancel()
        for peer in (client, model):
            peer.writer.transport.abort()
    assert (await relay.event("connection.closed"))["ended_by"] == "limit"


async def test_a_defect_of_one_leg_costs_no_other_its_news() -> None:
    poller = Poller()
    pairs = [socket.socketpair() for _ in range(8)]
    heard: list[int] = []
    all_heard = asyncio.Event()

    def breaks(fileno: int) -> None:
        poller.discard(fileno)
        raise RuntimeError("a defect")

    def hears(fileno: int) -> None:
        heard.append(fileno)
        if len(heard) == len(pairs) // 2:
            all_heard.set()

    for number, (near, far) in enumerate(pairs):
        near.setblocking(False)
        far.send(b"news")
        deal, fileno = (breaks, hears)[number % 2], near.fileno()
        poller.add(fileno, Owned(lambda _, deal=deal, fileno=fileno: deal(fileno)))
    async with within(2):
        await all_heard.wait()
    poller.close()
    for each in (end for both in pairs for end in both):
        each.close()
