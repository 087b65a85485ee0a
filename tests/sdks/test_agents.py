"""The OpenAI Agents SDK: a RealtimeSession, its model config changed."""

import asyncio
import base64
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from tests.conftest import KEY
from tests.sdks.conftest import CHUNKS, DEADLINE_S, DRAINED, Line, one_turn


async def session_of(line: Line, key: str = KEY, **more: Any) -> Any:
    # Imported here, because every worker collects this file and the import takes a second and more.
    from agents.realtime import RealtimeAgent, RealtimeRunner

    runner = RealtimeRunner(RealtimeAgent(name="assistant", instructions="Be brief."))
    config = {"url": f"{line.ws}/v1/realtime?model=gpt-realtime", "api_key": key}
    return await runner.run(model_config={**config, **more})


async def spoken_turn(session: Any) -> list[Any]:
    """Says something, and returns the events of the session up to the end of the answer."""
    for chunk in CHUNKS:
        await session.send_audio(base64.b64decode(chunk))
    events = []
    async for event in session:
        events.append(event)
        if raw(event).get("type") == "response.done":
            return events
    raise AssertionError("the session ended before the answer")


def raw(event: Any) -> dict[str, Any]:
    """The model's own event in one of the session's, if that is what it is."""
    if event.type != "raw_model_event" or event.data.type != "raw_server_event":
        return {}
    found: dict[str, Any] = event.data.data
    return found


@pytest.mark.parametrize("more", [{}, {"headers": {"api-key": KEY}}], ids=["Bearer", "api-key"])
async def test_the_agents_sdk_holds_a_spoken_turn_through_the_relay(line: Line, more: dict[str, Any]) -> None:
    async with asyncio.timeout(DEADLINE_S), await session_of(line, **more) as session:
        events = await spoken_turn(session)
    assert "audio" in [event.type for event in events]
    assert not [event for event in events if event.type == "error"]
    await one_turn(line.relay, raw(events[-1])["response"]["usage"])


async def test_the_agents_sdk_names_the_refusal_of_a_wrong_key(line: Line) -> None:
    session = await session_of(line, "wrong")
    with pytest.raises(InvalidStatus, match="HTTP 401"):
        await session.enter()


async def test_the_agents_sdk_raises_from_its_events_when_the_relay_drains(line: Line) -> None:
    async with asyncio.timeout(DEADLINE_S), await session_of(line) as session:
        await spoken_turn(session)
        rolling = asyncio.create_task(line.roll())
        with pytest.raises(ConnectionClosedError, match=DRAINED):
            async for _ in session:
                pass
        await rolling
