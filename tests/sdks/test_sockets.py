"""WebSocket libraries without an SDK: websockets and aiohttp."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
import websockets
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from tests.conftest import KEY
from tests.sdks.conftest import CHUNKS, DEADLINE_S, DRAINED, Line, one_turn

BEARER = {"Authorization": f"Bearer {KEY}"}
API_KEY = {"api-key": KEY}
WAYS = pytest.mark.parametrize("headers", [BEARER, API_KEY], ids=["Bearer", "api-key"])
UTTERANCE = [json.dumps({"type": "input_audio_buffer.append", "audio": chunk}) for chunk in CHUNKS]


async def with_websockets(call: websockets.ClientConnection) -> Any:
    """A spoken turn; what its answer has used."""
    for event in UTTERANCE:
        await call.send(event)
    async for message in call:
        event = json.loads(message)
        if event["type"] == "response.done":
            return event["response"]["usage"]
    raise AssertionError("the call ended before the answer")


@WAYS
async def test_websockets_holds_a_spoken_turn(line: Line, headers: dict[str, str]) -> None:
    async with (
        asyncio.timeout(DEADLINE_S),
        websockets.connect(f"{line.ws}/v1/realtime", additional_headers=headers) as call,
    ):
        usage = await with_websockets(call)
    await one_turn(line.relay, usage)


async def test_websockets_raises_what_the_relay_refuses(line: Line) -> None:
    with pytest.raises(InvalidStatus, match="HTTP 401") as refused:
        await websockets.connect(f"{line.ws}/v1/realtime", additional_headers={"api-key": "wrong"})
    assert json.loads(refused.value.response.body or b"")["error"]["code"] == "invalid_api_key"


async def test_websockets_raises_when_the_relay_drains(line: Line) -> None:
    async with (
        asyncio.timeout(DEADLINE_S),
        websockets.connect(f"{line.ws}/v1/realtime", additional_headers=API_KEY) as call,
    ):
        await with_websockets(call)
        rolling = asyncio.create_task(line.roll())
        with pytest.raises(ConnectionClosedError, match=DRAINED):
            async for _ in call:
                pass
        await rolling


async def with_aiohttp(call: aiohttp.ClientWebSocketResponse) -> Any:
    """A spoken turn; what its answer has used."""
    for event in UTTERANCE:
        await call.send_str(event)
    async for message in call:
        event = message.json()
        if event["type"] == "response.done":
            return event["response"]["usage"]
    raise AssertionError("the call ended before the answer")


@WAYS
async def test_aiohttp_holds_a_spoken_turn(line: Line, headers: dict[str, str]) -> None:
    async with (
        asyncio.timeout(DEADLINE_S),
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{line.ws}/v1/realtime", headers=headers) as call,
    ):
        usage = await with_aiohttp(call)
    await one_turn(line.relay, usage)


async def test_aiohttp_raises_what_the_relay_refuses(line: Line) -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(f"{line.ws}/v1/realtime", headers={"api-key": "wrong"})
    assert refused.value.status == 401


async def test_aiohttp_ends_its_loop_without_an_error_when_the_relay_drains(line: Line) -> None:
    async with (
        asyncio.timeout(DEADLINE_S),
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{line.ws}/v1/realtime", headers=API_KEY) as call,
    ):
        await with_aiohttp(call)
        rolling = asyncio.create_task(line.roll())
        async for message in call:
            assert message.json()["type"] == "rate_limits.updated"
        await rolling
    assert call.close_code == 1012
