"""A man in the middle: between callers and the simulated model, he changes what callers or the model hear."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
from aiohttp import WSMsgType, web

Event = dict[str, Any]
Change = Callable[[int, Event], Iterable[tuple[int, Event | bytes]]]


def as_it_was(call: int, event: Event) -> Iterable[tuple[int, Event]]:
    return [(call, event)]


@asynccontextmanager
async def middle(url: str, key: str, down: Change = as_it_was, up: Change = as_it_was) -> AsyncIterator[str]:
    """Yields where to dial. A change is given the number of the call, from 0, and an event, and says who gets what."""
    callers: list[web.WebSocketResponse] = []

    async def carry(request: web.Request) -> web.WebSocketResponse:
        caller = web.WebSocketResponse()
        headers = {"Authorization": f"Bearer {key}"}
        async with aiohttp.ClientSession(headers=headers) as http, http.ws_connect(f"{url}{request.rel_url}") as model:
            await caller.prepare(request)
            callers.append(caller)
            number = len(callers) - 1
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(caller, model, lambda event: [(model, it) for _, it in up(number, event)]))
                group.create_task(
                    _pump(model, caller, lambda event: [(callers[to], it) for to, it in down(number, event)])
                )
        return caller

    app = web.Application()
    app.router.add_get("/v1/realtime", carry)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _pump(
    source: Socket, other: Socket, change: Callable[[Event], Iterable[tuple[Socket, Event | bytes]]]
) -> None:
    """Until one side ends; then the other ends too."""
    async for message in source:
        if message.type is not WSMsgType.TEXT:
            continue
        for to, event in change(orjson.loads(message.data)):
            text = event if isinstance(event, bytes) else orjson.dumps(event)
            if not to.closed:
                await to.send_str(text.decode())
    await other.close()
