"""The OpenAI SDK for Python, async and sync."""

import asyncio
from typing import Any

import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI, OpenAI
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from tests.conftest import KEY
from tests.sdks.conftest import CHUNKS, DEADLINE_S, DRAINED, Line, one_turn

BEARER: dict[str, str] = {}
API_KEY = {"api-key": KEY, "Authorization": ""}
PREVIEW = "2025-04-01-preview"


async def until(kind: str, call: Any) -> list[Any]:
    """Every event up to one of that type."""
    events = []
    async for event in call:
        events.append(event)
        if event.type == kind:
            return events
    raise AssertionError(f"the call ended before {kind}")


async def spoken_turn(call: Any) -> list[Any]:
    """Says something, and returns every event up to the end of the answer."""
    for chunk in CHUNKS:
        await call.input_audio_buffer.append(audio=chunk)
    return await until("response.done", call)


@pytest.mark.parametrize("headers", [BEARER, API_KEY], ids=["Bearer", "api-key"])
async def test_the_sdk_holds_a_spoken_turn_through_the_relay(line: Line, headers: dict[str, str]) -> None:
    client = AsyncOpenAI(websocket_base_url=f"{line.ws}/openai/v1", api_key=KEY)
    async with (
        asyncio.timeout(DEADLINE_S),
        client.realtime.connect(model="gpt-realtime", extra_headers=headers) as call,
    ):
        assert (await call.recv()).type == "session.created"
        await call.session.update(session={"type": "realtime", "instructions": "Be brief."})
        assert (await call.recv()).type == "session.updated"
        events = await spoken_turn(call)
    kinds = [event.type for event in events]
    assert kinds[0] == "input_audio_buffer.speech_started"
    assert "response.output_audio.delta" in kinds
    await one_turn(line.relay, events[-1].response.usage.to_dict())
    await client.close()


@pytest.mark.parametrize("line", [{"AZURE_OPENAI_API_VERSION": PREVIEW}], indirect=True)
async def test_the_dated_azure_client_holds_a_spoken_turn_on_the_preview_url(line: Line) -> None:
    client = AsyncAzureOpenAI(
        azure_endpoint=line.http, websocket_base_url=f"{line.ws}/openai", api_version=PREVIEW, api_key=KEY
    )
    async with asyncio.timeout(DEADLINE_S), client.beta.realtime.connect(model="gpt-realtime") as call:
        assert (await call.recv()).type == "session.created"
        events = await spoken_turn(call)
    assert "response.audio.delta" in [event.type for event in events]
    await one_turn(line.relay, events[-1].response.usage.to_dict())
    await client.close()


@pytest.mark.parametrize(
    "asked", [{"extra_query": {"intent": "transcription"}}, {"call_id": "rtc_7"}], ids=["transcription", "sideband"]
)
async def test_the_sdk_gets_the_session_that_it_asks_for_in_the_place_of_a_model(
    line: Line, asked: dict[str, Any]
) -> None:
    client = AsyncOpenAI(websocket_base_url=f"{line.ws}/openai/v1", api_key=KEY)
    headers = {"OpenAI-Safety-Identifier": "user-7"}
    async with asyncio.timeout(DEADLINE_S), client.realtime.connect(**asked, extra_headers=headers) as call:
        created = await call.recv()
    assert created.session.type == ("realtime" if "call_id" in asked else "transcription")
    await client.close()


async def test_the_dated_azure_client_is_told_which_setting_it_needs_at_a_relay_without_it(line: Line) -> None:
    client = AsyncAzureOpenAI(
        azure_endpoint=line.http, websocket_base_url=f"{line.ws}/openai", api_version=PREVIEW, api_key=KEY
    )
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(InvalidStatus) as refused:
            await client.beta.realtime.connect(model="gpt-realtime").enter()
    assert refused.value.response.status_code == 400
    assert b"AZURE_OPENAI_API_VERSION" in refused.value.response.body
    await client.close()


@pytest.mark.parametrize("line", [{"AZURE_OPENAI_API_VERSION": PREVIEW}], indirect=True)
async def test_the_sdk_is_told_which_setting_is_in_its_way_at_a_preview_relay(line: Line) -> None:
    for path in ("/openai/v1", "/v1"):
        client = AsyncOpenAI(websocket_base_url=f"{line.ws}{path}", api_key=KEY)
        async with asyncio.timeout(DEADLINE_S):
            with pytest.raises(InvalidStatus) as refused:
                await client.realtime.connect(model="gpt-realtime").enter()
        assert refused.value.response.status_code == 400
        assert b"AZURE_OPENAI_API_VERSION" in refused.value.response.body
        await client.close()


async def test_the_sync_sdk_holds_a_spoken_turn_through_the_relay(line: Line) -> None:
    client = OpenAI(websocket_base_url=f"{line.ws}/openai/v1", api_key=KEY)

    def spoken() -> Any:
        with client.realtime.connect(model="gpt-realtime") as call:
            return sync_turn(call).response.usage

    async with asyncio.timeout(DEADLINE_S):
        usage = await asyncio.to_thread(spoken)
    await one_turn(line.relay, usage.to_dict())
    client.close()


def sync_turn(call: Any) -> Any:
    """Says something, and returns the event at the end of the answer."""
    for chunk in CHUNKS:
        call.input_audio_buffer.append(audio=chunk)
    return next(event for event in call if event.type == "response.done")


async def test_the_sync_sdk_names_the_refusal_of_a_wrong_key(line: Line) -> None:
    client = OpenAI(websocket_base_url=f"{line.ws}/openai/v1", api_key="wrong")
    with pytest.raises(InvalidStatus, match="HTTP 401"):
        await asyncio.to_thread(client.realtime.connect(model="gpt-realtime").enter)
    client.close()


async def test_the_sync_sdk_raises_when_the_relay_drains(line: Line) -> None:
    client = OpenAI(websocket_base_url=f"{line.ws}/openai/v1", api_key=KEY)
    async with asyncio.timeout(DEADLINE_S):
        call = await asyncio.to_thread(client.realtime.connect(model="gpt-realtime").enter)
        await asyncio.to_thread(sync_turn, call)
        rolling = asyncio.create_task(line.roll())
        with pytest.raises(ConnectionClosedError, match=DRAINED):
            await asyncio.to_thread(list, call)
        await rolling
    client.close()


async def test_the_sdk_names_the_refusal_of_a_wrong_key(line: Line) -> None:
    client = AsyncOpenAI(websocket_base_url=f"{line.ws}/openai/v1", api_key="wrong")
    with pytest.raises(InvalidStatus, match="HTTP 401") as refused:
        await client.realtime.connect(model="gpt-realtime").enter()
    assert b'"invalid_api_key"' in (refused.value.response.body or b"")
    await client.close()


async def test_the_sdk_raises_when_the_relay_drains(line: Line) -> None:
    client = AsyncOpenAI(websocket_base_url=f"{line.ws}/openai/v1", api_key=KEY)
    async with asyncio.timeout(DEADLINE_S), client.realtime.connect(model="gpt-realtime") as call:
        await spoken_turn(call)
        rolling = asyncio.create_task(line.roll())
        with pytest.raises(ConnectionClosedError, match=DRAINED):
            await until("nothing more", call)
        await rolling
    await client.close()


async def test_the_sdk_calls_again_when_the_relay_drains_if_it_is_asked_to(line: Line) -> None:
    client = AsyncOpenAI(websocket_base_url=f"{line.ws}/openai/v1", api_key=KEY)
    codes: list[int] = []

    def note(event: Any) -> None:
        codes.append(event.close_code)

    connecting = client.realtime.connect(model="gpt-realtime", on_reconnecting=note)
    async with asyncio.timeout(DEADLINE_S), connecting as call:
        await spoken_turn(call)
        rolling = asyncio.create_task(line.roll())
        await until("session.created", call)
        events = await spoken_turn(call)
        await rolling
    assert codes == [1012]
    await one_turn(line.relay, events[-1].response.usage.to_dict())
    await client.close()
