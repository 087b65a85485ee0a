"""Connections before their 101: limited in number, in bytes and in time, in every state, and a call still gets in."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from rtproxy.door import halfopen, strangers
from rtproxy.door.strangers import STRANGERS
from stage.rawpeer import TEXT, RawPeer, RawServer
from stage.replica import Replica
from tests.conftest import DEADLINE_S, Caller, Relay, RelayFactory, ReplicaFactory
from tests.standstill import standstill
from tests.world import World

HOST = "Host: relay.example"
HEALTHZ = f"GET /healthz HTTP/1.1\r\n{HOST}\r\n\r\n".encode()
METRICS = HEALTHZ.replace(b"healthz", b"metrics")
BEGUN = f"GET /v1/realtime HTTP/1.1\r\n{HOST}\r\nX: ".encode()
UPGRADE = (
    f"GET /v1/realtime HTTP/1.1\r\n{HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
).encode()
STATES = {
    "silent": b"",
    "a lone end of a line": b"\r\n\r\n",
    "half a request": BEGUN + b"a" * 4000,
    "nearly all of the largest request": BEGUN + b"\r\nX: ".join([b"a" * 250] * 120),
    "after an answer": HEALTHZ,
    "after a refusal": UPGRADE + b"api-key: wrong\r\n\r\n",
    "half a request behind an answer": HEALTHZ + BEGUN + b"a" * 1000,
    "an answer that is not read": METRICS * 500,
    "a body that does not come": HEALTHZ.replace(HOST.encode(), HOST.encode() + b"\r\nContent-Length: 100000"),
    "frames behind a refusal": UPGRADE + b"api-key: wrong\r\n\r\n" + b"\x82\xfe\xff\xff" * 10_000,
}
MIB = 1024 * 1024
GROWTH_MIB = 64

ROOM_BYTES = 4096
"""For what nobody reads, in the kernel and in a reader: with the defaults a relay writes thousands of answers first."""

Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Crowd = Callable[..., Awaitable[list[Opened]]]


def connected(port: int) -> socket.socket:
    sock = socket.socket()
    sock.settimeout(DEADLINE_S)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM_BYTES)
    sock.connect(("127.0.0.1", port))
    sock.setblocking(False)
    return sock


@pytest.fixture
async def crowd() -> AsyncIterator[Crowd]:
    """Connections that say something and read nothing: ``await crowd(port, b"GET ...", b"")``."""
    writers: list[asyncio.StreamWriter] = []

    async def opened(port: int, *said: bytes) -> list[Opened]:
        pairs = []
        for each in said:
            with contextlib.suppress(ConnectionError):
                reader, writer = await asyncio.open_connection(sock=connected(port), limit=ROOM_BYTES)
                writers.append(writer)
                writer.write(each)
                pairs.append((reader, writer))
        return pairs

    yield opened
    for writer in writers:
        writer.transport.abort()


@pytest.fixture
def mob() -> Iterator[Callable[..., None]]:
    """As `crowd`, and nobody of them is listened to: ``mob(port, b"GET ...", b"")``."""
    socks: list[socket.socket] = []

    def opened(port: int, *said: bytes) -> None:
        for each in said:
            socks.append(connected(port))
            with contextlib.suppress(OSError):
                socks[-1].send(each)

    yield opened
    for sock in socks:
        sock.close()


def rss_mib(replica: Replica) -> float:
    status = Path(f"/proc/{replica.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


async def answered(pair: Opened) -> int:
    """The status of the next answer, which is read whole."""
    head = await asyncio.wait_for(pair[0].readuntil(b"\r\n\r\n"), DEADLINE_S)
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await pair[0].readexactly(int(length.split(b":")[1]))
    return int(head.split()[1])


def cpu_s(replica: Replica) -> float:
    return int(Path(f"/proc/{replica.process.pid}/schedstat").read_text().split()[0]) / 1e9


async def call_soon(relay: Replica, upstream: RawServer, dial: Caller) -> RawPeer:
    """A call with a key that echoes, and stands within a second of a relay that has a core to itself.

    By the relay's own CPU time: on a busy machine it waits for that, and no caller is to blame.
    """
    before = cpu_s(relay)
    async with asyncio.timeout(6 * DEADLINE_S):
        connecting = asyncio.create_task(dial(relay.port))
        model = await upstream.request()
        await model.answer()
        client = await connecting
    assert cpu_s(relay) - before <= 1
    await client.send(TEXT, b"hello")
    assert (await model.read()).payload == b"hello"
    return client


@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [3_000, pytest.param(10_000, marks=pytest.mark.nightly)])
async def test_thousands_of_strangers_in_every_state_cost_bounded_memory_and_a_call_gets_in(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, mob: Callable[..., None], count: int
) -> None:
    relay = await replica_for(upstream.port)
    first = await call_soon(relay, upstream, dial)
    before, most, states = rss_mib(relay), 0.0, list(STATES.values())
    for number in range(0, count, 500):
        mob(relay.port, *(states[(number + each) % len(states)] for each in range(500)))
        most = max(most, rss_mib(relay))
        await call_soon(relay, upstream, dial)
    assert most - before <= GROWTH_MIB, f"{before:.0f} MiB, {most - before:+.1f}"
    await first.send(TEXT, b"a call stays")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("state", STATES)
async def test_a_crowd_in_one_state_takes_no_place_from_a_call_and_no_descriptor(
    replica_for: ReplicaFactory, upstream: RawServer, dial: Caller, crowd: Crowd, tmp_path: Path, state: str
) -> None:
    descriptors = 200
    world = World(tmp_path / "world", descriptors=descriptors)
    world.tell()
    relay = await replica_for(upstream.port, world)
    for _ in range(2):
        # Fewer at once than are free: what the kernel refuses meets a caller before the relay can choose.
        for _ in range(4):
            await crowd(relay.port, *[STATES[state]] * 50)
            (probe,) = await crowd(relay.port, HEALTHZ)
            assert await answered(probe) == 200
        await call_soon(relay, upstream, dial)


async def at_most(relay: Relay, count: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while len(relay.app[STRANGERS]) > count:  # noqa: ASYNC110 - it is this test's own loop
            await asyncio.sleep(0.01)


Full = tuple[Relay, list[Opened]]


@pytest.fixture
async def full(relay_for: RelayFactory, upstream: RawServer, crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> Full:
    """A relay with as many connections as it takes, each of them answered once."""
    monkeypatch.setattr(strangers, "MOST", 10)
    relay = await relay_for(upstream.port)
    kept = await crowd(relay.port, *[HEALTHZ] * 10)
    for pair in kept:
        assert await answered(pair) == 200
    return relay, kept


async def test_the_one_that_has_waited_longest_makes_room_and_one_that_was_just_used_stays(
    full: Full, crowd: Crowd
) -> None:
    relay, kept = full
    kept[0][1].write(HEALTHZ)
    assert await answered(kept[0]) == 200
    (newcomer,) = await crowd(relay.port, HEALTHZ)
    assert await answered(newcomer) == 200
    async with asyncio.timeout(DEADLINE_S):
        assert await kept[1][0].read() == b"", "it waits for its next request longer than the others"
    for pair in (kept[0], *kept[2:]):
        pair[1].write(HEALTHZ)
        assert await answered(pair) == 200


async def test_a_kept_connection_on_which_a_request_has_come_is_not_the_one_to_go(
    full: Full, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay, kept = full
    await at_most(relay, 10)
    # Both are in this loop: the request lies in the kernel when room is made.
    kept[0][1].write(HEALTHZ)
    monkeypatch.setattr(strangers, "MOST", 9)
    relay.app[STRANGERS].now_last(next(reversed(relay.app[STRANGERS]._waiting)))
    assert await answered(kept[0]) == 200
    assert await kept[1][0].read() == b""


async def test_a_call_is_no_stranger_from_the_dial_on(
    relay_for: RelayFactory, upstream: RawServer, dial: Caller, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strangers, "MOST", 10)
    relay = await relay_for(upstream.port)
    connecting = asyncio.create_task(dial(relay.port))
    model = await upstream.request()
    await crowd(relay.port, *[b""] * 30)
    await at_most(relay, 10)
    await model.answer()
    assert (await connecting).status == 101
    refused = asyncio.create_task(dial(relay.port))
    await (await upstream.request()).answer("401 Unauthorized")
    assert (await refused).status == 502
    assert len(relay.app[STRANGERS]) == 10, "refused, it is one again"


async def test_what_strangers_have_said_is_limited_in_its_sum(
    relay_for: RelayFactory, upstream: RawServer, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strangers, "BYTES", 100_000)
    relay = await relay_for(upstream.port)
    (idle,) = await crowd(relay.port, HEALTHZ)
    assert await answered(idle) == 200
    begun = await crowd(relay.port, *[BEGUN + b"a" * 8000] * 40)
    async with asyncio.timeout(DEADLINE_S):
        assert await begun[0][0].read() == b""
    idle[1].write(HEALTHZ)
    assert await answered(idle) == 200, "who says nothing makes no room for bytes"
    await at_most(relay, 14)


@pytest.mark.parametrize("state", [state for state in STATES if state not in ("after an answer", "after a refusal")])
async def test_every_state_but_the_pause_between_two_requests_has_an_end(
    relay_for: RelayFactory, upstream: RawServer, crowd: Crowd, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(halfopen, "HANDSHAKE_S", 0.3)
    relay = await relay_for(upstream.port)
    # So that its answers do not all fit into the buffers of the kernel.
    said = METRICS * 20_000 if state.startswith("an answer") else STATES[state]
    ((_, writer),) = await crowd(relay.port, said)
    if state.startswith("an answer"):
        writer.transport.pause_reading()  # type: ignore[attr-defined]
    began = time.monotonic()
    await at_most(relay, 0)
    assert time.monotonic() - began < DEADLINE_S
    writer.transport.abort()


async def test_a_connection_is_kept_between_two_requests_for_longer_than_an_ingress_keeps_it() -> None:
    assert halfopen.IDLE_S > 3600


async def test_a_request_of_32_kib_is_read_and_a_larger_one_is_431(
    relay_for: RelayFactory, upstream: RawServer, crowd: Crowd
) -> None:
    relay = await relay_for(upstream.port)
    fits = (BEGUN + b"\r\nX: ".join([b"a" * 1000] * 31)).replace(b"/v1/realtime", b"/healthz") + b"\r\n\r\n"
    large = BEGUN + b"\r\nX: ".join([b"a" * 1000] * 33)
    assert await answered((await crowd(relay.port, fits))[0]) == 200
    for behind in (b"", b"\r\n\r\n"):
        (pair,) = await crowd(relay.port, large + behind)
        head = await asyncio.wait_for(pair[0].readuntil(b"\r\n\r\n"), DEADLINE_S)
        assert head.split()[1] == b"431"
        assert b'"code": "headers_too_large"' in await pair[0].read()
    assert (await relay.event("client.refused"))["code"] == "headers_too_large"


async def test_requests_ahead_are_read_as_they_are_answered(
    relay_for: RelayFactory, upstream: RawServer, crowd: Crowd
) -> None:
    relay = await relay_for(upstream.port)
    (pair,) = await crowd(relay.port, HEALTHZ * 300 + HEALTHZ[:-1])
    for _ in range(300):
        assert await answered(pair) == 200
    pair[1].write(HEALTHZ[-1:])
    assert await answered(pair) == 200


@pytest.mark.parametrize("cut", range(1, 8))
async def test_requests_come_whole_wherever_the_network_cuts_them(
    relay_for: RelayFactory, upstream: RawServer, crowd: Crowd, cut: int
) -> None:
    relay = await relay_for(upstream.port)
    ((reader, writer),) = await crowd(relay.port, b"")
    said = HEALTHZ * 5
    for begins in range(0, len(said), 11 * cut):
        writer.write(said[begins : begins + 11 * cut])
        await asyncio.sleep(0)
    for _ in range(5):
        assert await answered((reader, writer)) == 200


async def test_a_body_is_read_past_and_its_connection_ends(
    relay_for: RelayFactory, upstream: RawServer, crowd: Crowd
) -> None:
    relay = await relay_for(upstream.port)
    body = b"POST /status HTTP/1.1\r\n\r\n" * 10
    said = f"GET /healthz HTTP/1.1\r\n{HOST}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    (pair,) = await crowd(relay.port, said + HEALTHZ)
    with standstill() as took:
        assert await answered(pair) == 200
        assert await pair[0].read() == b""
    assert took.spent_s < 5
