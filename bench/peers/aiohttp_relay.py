"""aiohttp on both sides, on uvloop: one message at a time, its text never decoded."""

import asyncio
from typing import Any

import aiohttp
import uvloop
from aiohttp import WSMsgType, web

from bench.peers.relay import BACKLOG, MAX_MESSAGE, MODEL_HEADERS, Arguments, arguments, sendable

_DATA = (WSMsgType.TEXT, WSMsgType.BINARY)
# Both know whether they decode text only by a parameter of their type.
Leg = web.WebSocketResponse[Any] | aiohttp.ClientWebSocketResponse[Any]


def make_app(route: Arguments) -> web.Application:
    """The relay: dials the model before it accepts, and ends both legs when one ends."""
    http = web.AppKey("http", aiohttp.ClientSession)

    async def relay(request: web.Request) -> web.StreamResponse:
        try:
            model = await request.app[http].ws_connect(
                route.model_url,
                ssl=route.tls or True,
                headers=MODEL_HEADERS,
                max_msg_size=MAX_MESSAGE,
                decode_text=False,
            )
        except aiohttp.ClientError:
            raise web.HTTPBadGateway from None
        async with model:
            client = web.WebSocketResponse(compress=False, max_msg_size=MAX_MESSAGE, decode_text=False)
            await client.prepare(request)
            await asyncio.gather(pump(client, model), pump(model, client))
        return client

    async def session(app: web.Application) -> Any:
        # The default of 100 connections would be the number of calls.
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as app[http]:
            yield

    app = web.Application()
    app.cleanup_ctx.append(session)
    app.router.add_get("/v1/realtime", relay)
    return app


async def pump(source: Leg, target: Leg) -> None:
    """One direction, until its source ends or its target takes no more; then the target is closed."""
    message = await source.receive()
    try:
        while message.type in _DATA:
            await target.send_frame(message.data, message.type)
            message = await source.receive()
    except ConnectionError:
        await source.close()
    reason = message.extra if message.type is WSMsgType.CLOSE else None
    await target.close(code=sendable(source.close_code), message=(reason or "").encode())


def main() -> None:
    route = arguments()
    web.run_app(
        make_app(route),
        host="127.0.0.1",
        port=route.port,
        backlog=BACKLOG,
        access_log=None,
        print=None,
        shutdown_timeout=0.5,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()
