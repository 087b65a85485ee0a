"""A simulated model in this process, and callers whose every event is held against the OpenAI SDK's own types."""

import asyncio
import base64
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, get_args

import aiohttp
import pytest
from aiohttp import web
from openai.types.beta.realtime.realtime_server_event import RealtimeServerEvent as PreviewServerEvent
from openai.types.realtime import RealtimeServerEvent
from pydantic import BaseModel

from stage.gpt.options import Options
from stage.realtime import make_app
from tests.stage.apps import stage_for as stage_for
from tests.stage.rig import az as az
from tests.stage.rig import rig as rig

KEY = "model-key"
DEADLINE_S = 60.0
GA, PREVIEW = "/openai/v1/realtime?model=gpt-realtime", "/openai/realtime?api-version=2025-04-01-preview&deployment="


def _models(union: Any) -> dict[str, type[BaseModel]]:
    """The SDK's model for each event type of an annotated union of them."""
    models = get_args(get_args(union)[0])
    return {get_args(model.model_fields["type"].annotation)[0]: model for model in models}


_SCHEMAS = {GA: _models(RealtimeServerEvent), PREVIEW: _models(PreviewServerEvent)}
_IMPATIENT = aiohttp.ClientWSTimeout(ws_close=0.2)  # a stalled model never answers our Close
# Fields the service sends and the SDK's models do not list.
_UNLISTED = {
    "session.id",
    "session.object",
    "session.expires_at",
    "item.phase",
    "response.output.phase",
    "response.usage.input_token_details.image_tokens",
    "response.usage.input_token_details.cached_tokens_details",
}


def check(event: dict[str, Any], schema: str = GA) -> None:
    """Fails unless `event` is exactly what the SDK's model of its type describes."""
    model = _SCHEMAS[schema][event["type"]].model_validate(event, strict=True)
    unlisted = set(_extras(model)) - _UNLISTED
    assert not unlisted, f"{event['type']} has fields the SDK does not know: {unlisted}"


def _extras(model: BaseModel, path: str = "") -> Iterator[str]:
    yield from (path + name for name in model.model_extra or {})
    for name in type(model).model_fields:
        value = getattr(model, name)
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, BaseModel):
                yield from _extras(inner, f"{path}{name}.")


def speech(ms: int) -> str:
    """`ms` of a loud square wave, as an append carries it."""
    return base64.b64encode(array("h", [8000] * 24 + [-8000] * 24).tobytes() * (ms // 2)).decode()


def silence(ms: int) -> str:
    return base64.b64encode(bytes(ms * 48)).decode()


class Caller:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse, schema: str) -> None:
        self.socket = socket
        self._schema = schema

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send_json({"type": kind, **fields})

    async def append(self, *pieces: str) -> None:
        for audio in pieces:
            await self.send("input_audio_buffer.append", audio=audio)

    async def update(self, **session: Any) -> None:
        await self.send("session.update", session={"type": "realtime", **session})
        await self.until("session.updated")

    async def say(self, text: str) -> None:
        part = {"type": "input_text", "text": text}
        await self.send("conversation.item.create", item={"type": "message", "role": "user", "content": [part]})
        await self.until("conversation.item.done")

    async def next(self) -> dict[str, Any]:
        event: dict[str, Any] = await self.socket.receive_json(timeout=DEADLINE_S)
        check(event, self._schema)
        return event

    async def until(self, kind: str) -> list[dict[str, Any]]:
        """Events up to and including the next one of `kind`."""
        events = [await self.next()]
        while events[-1]["type"] != kind:
            events.append(await self.next())
        return events

    async def last(self, kind: str) -> dict[str, Any]:
        return (await self.until(kind))[-1]

    async def rejection(self) -> dict[str, Any]:
        error: dict[str, Any] = (await self.last("error"))["error"]
        return error

    async def end(self) -> aiohttp.WSMessage:
        """The message that ended the socket."""
        while True:
            message = await self.socket.receive(timeout=DEADLINE_S)
            if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                return message


class LiveModel:
    """One simulated model and an HTTP client for it."""

    def __init__(self, port: int, client: aiohttp.ClientSession) -> None:
        self.client = client
        self.sockets: list[aiohttp.ClientWebSocketResponse] = []
        self.url = f"http://127.0.0.1:{port}"

    async def knock(self, path: str = GA, **how: Any) -> aiohttp.ClientWebSocketResponse:
        """The bare handshake; raises WSServerHandshakeError when refused."""
        how.setdefault("headers", {"api-key": KEY})
        self.sockets.append(await self.client.ws_connect(self.url + path, timeout=_IMPATIENT, **how))
        return self.sockets[-1]

    async def call(self, schema: str = GA) -> Caller:
        """A call that was greeted."""
        path = f"{schema}gpt-realtime" if schema is PREVIEW else schema
        caller = Caller(await self.knock(path), schema)
        await caller.last("session.created")
        return caller

    async def fault(self, fault: str, **fields: Any) -> tuple[int, dict[str, Any]]:
        async with self.client.post(f"{self.url}/_stage/faults", json={"fault": fault, **fields}) as answer:
            return answer.status, await answer.json()

    async def sessions(self) -> list[dict[str, Any]]:
        async with self.client.get(f"{self.url}/_stage/sessions") as answer:
            records: list[dict[str, Any]] = await answer.json()
            return records

    async def ended(self) -> dict[str, Any]:
        """The record of the first call that has ended; asks until there is one."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                for record in await self.sessions():
                    if record["ended"]:
                        return record


ModelFactory = Callable[..., Awaitable[LiveModel]]


@pytest.fixture
async def model_for() -> AsyncIterator[ModelFactory]:
    """`await model_for(answer_seconds=2)`: brisk unless told otherwise."""
    runners: list[web.AppRunner] = []
    models: list[LiveModel] = []
    async with aiohttp.ClientSession() as client:

        async def start(**options: Any) -> LiveModel:
            brisk: dict[str, Any] = {"key": KEY, "answer_seconds": 0.6, "pace": 50, "silence_ms": 200}
            runners.append(web.AppRunner(make_app(Options(**(brisk | options))), access_log=None, shutdown_timeout=1))
            await runners[-1].setup()
            await web.TCPSite(runners[-1], "127.0.0.1", 0).start()
            models.append(LiveModel(runners[-1].addresses[0][1], client))
            return models[-1]

        yield start
        for socket in [socket for model in models for socket in model.sockets]:
            await socket.close()
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def model(model_for: ModelFactory) -> LiveModel:
    return await model_for()


@pytest.fixture
async def caller(model: LiveModel) -> Caller:
    return await model.call()
