"""FastAPI on uvicorn and uvloop, `websockets` to the model: two pumps and a message at a time, as people write it."""

import asyncio

import uvicorn
from fastapi import FastAPI, WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from bench.peers.relay import BACKLOG, MAX_MESSAGE, MODEL_HEADERS, Arguments, arguments, sendable


def make_app(route: Arguments) -> FastAPI:
    """The relay: dials the model before it accepts, and ends both legs when one ends."""
    app = FastAPI()

    @app.websocket("/v1/realtime")
    async def relay(client: WebSocket) -> None:
        try:
            model = await connect(
                route.model_url,
                ssl=route.tls,
                additional_headers=MODEL_HEADERS,
                compression=None,
                max_size=MAX_MESSAGE,
                ping_interval=None,
                proxy=None,
            )
        except (OSError, WebSocketException):
            await client.close()
            return
        async with model:
            await client.accept()
            pumps = (asyncio.create_task(up(client, model)), asyncio.create_task(down(model, client)))
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    return app


async def up(client: WebSocket, model: ClientConnection) -> None:
    """From the client to the model, until the client's connection ends."""
    while (message := await client.receive())["type"] == "websocket.receive":
        text = message.get("text")
        await model.send(message["bytes"] if text is None else text)
    await model.close(sendable(message.get("code")), message.get("reason") or "")


async def down(model: ClientConnection, client: WebSocket) -> None:
    """From the model to the client, until the model's connection ends."""
    try:
        while True:
            message = await model.recv()
            if isinstance(message, str):
                await client.send_text(message)
            else:
                await client.send_bytes(message)
    except ConnectionClosed:
        await client.close(sendable(model.close_code), model.close_reason)


def main() -> None:
    route = arguments()
    uvicorn.run(
        make_app(route),
        host="127.0.0.1",
        port=route.port,
        loop="uvloop",
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        backlog=BACKLOG,
        access_log=False,
        log_level="warning",
        lifespan="off",
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
