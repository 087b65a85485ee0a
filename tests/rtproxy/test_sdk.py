"""The OpenAI SDK holds spoken turns through the relay, with nothing changed but its base URL and key."""

import asyncio
import base64
from array import array
from typing import Any

import pytest
from aiohttp.pytest_plugin import AiohttpServer
from openai import AsyncAzureOpenAI, AsyncOpenAI

from stage.gpt.options import Options
from stage.realtime import make_app
from tests.conftest import KEY, Relay, RelayFactory

SPEECH = base64.b64encode(array("h", [8000] * 24 + [-8000] * 24).tobytes() * 50).decode()
SILENCE = base64.b64encode(bytes(4800)).decode()


@pytest.fixture
async def relay(relay_for: RelayFactory, aiohttp_server: AiohttpServer) -> Relay:
    """A relay in front of a simulated model."""
    model = await aiohttp_server(make_app(Options(key="model-key", answer_seconds=0.5, silence_ms=200)))
    assert model.port is not None
    return await relay_for(model.port)


async def spoken_turn(connection: Any) -> list[Any]:
    """Says something, and returns every event up to the end of the answer."""
    events = []
    for chunk in (*[SPEECH] * 10, *[SILENCE] * 4):
        await connection.input_audio_buffer.append(audio=chunk)
    async for event in connection:
        events.append(event)
        if event.type == "response.done":
            return events
    raise AssertionError("the call ended before the answer")


@pytest.mark.parametrize("headers", [None, {"api-key": KEY, "Authorization": ""}], ids=["Bearer", "api-key"])
async def test_the_sdk_holds_a_spoken_turn_through_the_relay(relay: Relay, headers: dict[str, str] | None) -> None:
    client = AsyncOpenAI(api_key=KEY, websocket_base_url=f"ws://127.0.0.1:{relay.port}/openai/v1")
    async with asyncio.timeout(20), client.realtime.connect(model="gpt-realtime", extra_headers=headers or {}) as call:
        assert (await call.recv()).type == "session.created"
        await call.session.update(session={"type": "realtime", "instructions": "Be brief."})
        assert (await call.recv()).type == "session.updated"
        events = await spoken_turn(call)
    kinds = [event.type for event in events]
    assert kinds[0] == "input_audio_buffer.speech_started"
    assert "response.output_audio.delta" in kinds
    closed = await relay.event("connection.closed")
    assert (closed["ended_by"], closed["client_code"], closed["upstream_code"]) == ("client", 1000, 1000)
    usage = events[-1].response.usage
    assert (closed["responses"], closed["tokens_in"], closed["tokens_out"]) == (
        1,
        usage.input_tokens,
        usage.output_tokens,
    )
    assert closed["upstream_session"].startswith("sess_")
    await client.close()


async def test_the_dated_azure_client_holds_a_spoken_turn_on_the_preview_url(
    relay_for: RelayFactory, aiohttp_server: AiohttpServer
) -> None:
    model = await aiohttp_server(make_app(Options(key="model-key", answer_seconds=0.5, silence_ms=200)))
    assert model.port is not None
    version = "2025-04-01-preview"
    relay = await relay_for(model.port, AZURE_OPENAI_API_VERSION=version)
    url = f"ws://127.0.0.1:{relay.port}/openai"
    client = AsyncAzureOpenAI(azure_endpoint=relay.url, websocket_base_url=url, api_version=version, api_key=KEY)
    async with asyncio.timeout(20), client.beta.realtime.connect(model="gpt-realtime") as call:
        assert (await call.recv()).type == "session.created"
        events = await spoken_turn(call)
    assert "response.audio.delta" in [event.type for event in events]
    assert (await relay.event("connection.closed"))["responses"] == 1
    await client.close()


async def test_the_sdk_says_which_key_is_wrong(relay: Relay) -> None:
    client = AsyncOpenAI(api_key="wrong", websocket_base_url=f"ws://127.0.0.1:{relay.port}/openai/v1")
    with pytest.raises(Exception, match="401"):
        async with client.realtime.connect(model="gpt-realtime"):
            pass
    await client.close()
