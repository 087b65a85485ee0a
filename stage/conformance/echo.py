"""A well-behaved peer that says every message back, as either side of the protocol.

It is aiohttp's: of an unsound stream it still hears what came before the fault, which makes it hard to be as good as.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, web

_NO_LIMIT = 0


@asynccontextmanager
async def answering() -> AsyncIterator[int]:
    """A server on a free loopback port, which is yielded. It agrees on no extension, as the relay does not."""
    app = web.Application()
    app.router.add_get("/{path:.*}", _answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _answer(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(max_msg_size=_NO_LIMIT, compress=False)
    await socket.prepare(request)
    await _echo(socket)
    return socket


async def asking(session: ClientSession, url: str) -> None:
    """A client that calls, and echoes until the other side has enough. Raises ClientError when nobody answers."""
    async with session.ws_connect(url, max_msg_size=_NO_LIMIT) as socket:
        await _echo(socket)


async def _echo(socket: web.WebSocketResponse | ClientWebSocketResponse) -> None:
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
