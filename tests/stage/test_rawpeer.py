"""A raw server lets go of everybody who came, however far they had got."""

import asyncio
import socket
from typing import Any

import pytest

from stage.rawpeer import RawServer, connect
from tests.conftest import DEADLINE_S

HALF = b"GET / HTTP/1.1\r\nHost: lo"


async def test_who_is_still_asking_is_hung_up_on_when_the_server_ends() -> None:
    async with RawServer() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HALF)
        asking = asyncio.create_task(connect(server.port))
        await server.request()

    assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""
    with pytest.raises(asyncio.IncompleteReadError):
        await asking
    writer.close()


@pytest.mark.parametrize("turns", [1, 2, 3])
async def test_who_comes_at_the_last_moment_is_hung_up_on_too(turns: int) -> None:
    async with RawServer() as server:
        client = socket.create_connection(("127.0.0.1", server.port), DEADLINE_S)
        for _ in range(turns):  # of the loop: it has been accepted, and the server may not have seen it yet
            await asyncio.sleep(0)

    with client:
        assert client.recv(1) == b""


async def test_who_hangs_up_before_it_has_asked_is_no_error() -> None:
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    async with RawServer() as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HALF)
        writer.close()
        await writer.wait_closed()
        asking = asyncio.create_task(connect(server.port))
        await (await server.request()).answer()
        (await asking).hang_up()

    assert errors == []
