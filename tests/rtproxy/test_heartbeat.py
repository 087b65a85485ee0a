"""A quiet peer that is alive stays; one that is dead is found out within two heartbeats."""

import asyncio
import signal
import sys
import time
from asyncio.subprocess import PIPE

import pytest

from stage.rawpeer import BINARY, CLOSE, PING, PONG, RawPeer, RawServer, announced
from tests.conftest import KEY, Call, CallFactory, RelayFactory
from tests.standstill import within

HEARTBEAT_S = 0.3
HEARTBEAT = {"RTPROXY_HEARTBEAT_SECONDS": str(HEARTBEAT_S)}


async def answer_pings(peer: RawPeer, count: int) -> None:
    for _ in range(count):
        await peer.send(PONG, (await peer.read_until(PING)).payload)


async def test_quiet_peers_that_answer_stay_and_get_one_ping_a_heartbeat(call: CallFactory) -> None:
    client, model, relay = await call(**HEARTBEAT)
    started = time.monotonic()
    await asyncio.gather(answer_pings(client, 5), answer_pings(model, 5))
    assert time.monotonic() - started == pytest.approx(5 * HEARTBEAT_S, rel=0.3)
    assert not [e for e in relay.events if e["event"] == "connection.closed"]


@pytest.mark.parametrize(
    ("silent", "codes"),
    [("client", {"client": 1011, "model": 1001}), ("model", {"client": 1011, "model": 1011})],
)
async def test_a_peer_that_answers_no_ping_is_given_up_within_two_heartbeats(
    call: CallFactory, silent: str, codes: dict[str, int]
) -> None:
    opened: Call = await call(**HEARTBEAT)
    alive = opened.model if silent == "client" else opened.client
    other = "model" if silent == "client" else "client"
    async with within(2 * HEARTBEAT_S + 0.2):
        await answer_pings(alive, 1)
        got = await alive.read()
        while got.opcode in (PING, PONG):
            await alive.send(PONG, got.payload)
            got = await alive.read()
    assert (got.opcode, got.code) == (CLOSE, codes[other])
    closed = await opened.relay.event("connection.closed")
    assert closed["ended_by"] == "heartbeat"
    assert (closed["client_code"], closed["upstream_code"]) == (codes["client"], codes["model"])


async def test_any_byte_is_life_even_from_a_peer_that_answers_no_ping(call: CallFactory) -> None:
    client, model, relay = await call(**HEARTBEAT)
    answering = asyncio.create_task(answer_pings(model, 4))
    while not answering.done():
        await client.send(BINARY, b"audio")
        await asyncio.wait((answering,), timeout=HEARTBEAT_S / 3)
    assert not [e for e in relay.events if e["event"] == "connection.closed"]


async def test_a_peer_in_the_middle_of_a_long_frame_is_not_taken_for_dead(call: CallFactory) -> None:
    client, model, relay = await call(**HEARTBEAT)
    await model.write(announced(BINARY, 1000, masked=False))
    answering = asyncio.create_task(answer_pings(model, 4))
    while not answering.done():
        await model.write(b"a")
        await asyncio.wait((answering,), timeout=HEARTBEAT_S / 3)
    assert not [e for e in relay.events if e["event"] == "connection.closed"], "the client cannot be pinged"
    client.hang_up()


CLIENT = """
import asyncio, sys, aiohttp
async def main(url, key):
    async with aiohttp.ClientSession() as http, http.ws_connect(url, headers={"api-key": key}) as ws:
        print("open", flush=True)
        await ws.receive()
asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_stopped_client_process_is_detected_within_two_heartbeats(
    relay_for: RelayFactory, upstream: RawServer
) -> None:
    relay = await relay_for(upstream.port, **HEARTBEAT)
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, f"{relay.url}/v1/realtime", KEY, stdout=PIPE
    )
    try:
        model = await upstream.request()
        await model.answer()
        assert client.stdout is not None
        await client.stdout.readline()
        await answer_pings(model, 2)
        client.send_signal(signal.SIGSTOP)
        async with within(2 * HEARTBEAT_S + 0.2):
            got = await model.read()
            while got.opcode in (PING, PONG):
                await model.send(PONG, got.payload)
                got = await model.read()
        assert got.code == 1001
        assert (await relay.event("connection.closed"))["ended_by"] == "heartbeat"
    finally:
        client.send_signal(signal.SIGCONT)
        client.kill()
        await client.wait()
