"""Every peer is a relay that a call can be held through: what is measured works, and trusts only whom it should."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from bench.peers import PEERS, Peer
from bench.process import Running
from stage.rawpeer import BINARY, CLOSE, TEXT, RawPeer, RawServer, close_payload, connect
from tests.bench.conftest import Serve
from tests.conftest import DEADLINE_S

END_S = 8.0
"""A relay of ours lets calls in for 3 s after SIGTERM; the others end at once."""
UP = bytes(range(65, 91)) * 70
DOWN = bytes(range(65, 91)) * 162
"""1.8 KB and 4.2 KB, the sizes of the bench."""

each_peer = pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)


async def dial(served: Running) -> RawPeer:
    headers = {"Authorization": "Bearer bench-client-key-0123456789"}
    return await connect(served.port, "/v1/realtime?model=bench", headers=headers)


@contextlib.asynccontextmanager
async def call(served: Running, server: RawServer) -> AsyncGenerator[tuple[RawPeer, RawPeer]]:
    """Both ends of a call through the peer, the client's and the model's."""
    async with asyncio.timeout(DEADLINE_S):
        dialing = asyncio.create_task(dial(served))
        model = await server.request()
        assert model.headers["upgrade"].lower() == "websocket"
        assert model.headers["connection"].lower() == "upgrade"
        assert "sec-websocket-extensions" not in model.headers
        await model.answer()
        client = await dialing
        try:
            assert client.status == 101
            yield client, model
        finally:
            await client.closed()


async def exchange(served: Running, server: RawServer) -> None:
    async with call(served, server) as (client, model):
        for opcode in (TEXT, BINARY):
            await client.send(opcode, UP)
            await model.send(opcode, DOWN)
            assert await model.read() == (0x80 | opcode, UP)
            assert await client.read() == (0x80 | opcode, DOWN)


@each_peer
async def test_text_and_binary_go_both_ways(peer: Peer, serve: Serve, upstream: RawServer) -> None:
    await exchange(await serve(peer, upstream.port), upstream)


@each_peer
async def test_text_and_binary_go_both_ways_over_tls(
    peer: Peer, serve: Serve, tls_model: RawServer, tmp_path: Path
) -> None:
    await exchange(await serve(peer, tls_model.port, tmp_path / "ca.pem"), tls_model)


@each_peer
async def test_model_of_another_authority_gets_no_request(
    peer: Peer, serve: Serve, tls_model: RawServer, other_authority: Path
) -> None:
    served = await serve(peer, tls_model.port, other_authority)
    requested = asyncio.create_task(tls_model.request())
    async with asyncio.timeout(DEADLINE_S):
        client = await dial(served)
        if client.status == 101:  # picows accepts first, and closes then
            await client.read_until(CLOSE)
    await client.closed()
    assert not requested.done()
    requested.cancel()


async def told(side: RawPeer) -> None:
    """Reads the Close that was sent and answers it; whether the sender gets this answer is the peer's affair."""
    close = await side.read_until(CLOSE)
    assert (close.code, close.reason) == (4001, "bye")
    await side.send(CLOSE, close.payload)


@each_peer
async def test_close_of_either_side_reaches_the_other(peer: Peer, serve: Serve, upstream: RawServer) -> None:
    served = await serve(peer, upstream.port)
    async with call(served, upstream) as (client, model):
        await client.send(CLOSE, close_payload(4001, "bye"))
        await told(model)
        model.hang_up()
        await client.read_until(CLOSE)
    async with call(served, upstream) as (client, model):
        await model.send(CLOSE, close_payload(4001, "bye"))
        telling = asyncio.create_task(told(client))
        await model.read_until(CLOSE)
        model.hang_up()
        await telling


@each_peer
async def test_ends_at_sigterm(peer: Peer, serve: Serve, upstream: RawServer) -> None:
    served = await serve(peer, upstream.port)
    served.process.terminate()
    async with asyncio.timeout(END_S):
        await served.process.wait()
