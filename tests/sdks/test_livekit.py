"""LiveKit Agents: the realtime model of its OpenAI plugin."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from tests.conftest import KEY
from tests.sdks.conftest import CHUNKS, DEADLINE_S, Line, one_turn


class Caller:
    """A session of the plugin, and what its listeners are told."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.errors = asyncio.Queue[Any]()
        self._events = asyncio.Queue[dict[str, Any]]()
        session.on("openai_server_event_received", self._events.put_nowait)
        session.on("error", self.errors.put_nowait)

    async def spoken_turn(self) -> Any:
        """Says something, and returns what the answer to it has used."""
        from livekit.rtc import AudioFrame

        for chunk in CHUNKS:
            sound = base64.b64decode(chunk)
            self.session.push_audio(AudioFrame(sound, sample_rate=24_000, num_channels=1, samples_per_channel=2400))
        return (await self.until("response.done"))["response"]["usage"]

    async def until(self, kind: str) -> dict[str, Any]:
        while (event := await self._events.get())["type"] != kind:
            pass
        return event


def openai(line: Line, key: str) -> Any:
    # Imported here, because every worker collects this file and the import takes two seconds.
    from livekit.plugins.openai.realtime import RealtimeModel

    return RealtimeModel(base_url=f"{line.http}/v1", api_key=key, model="gpt-realtime")


def azure(line: Line, key: str) -> Any:
    from livekit.plugins.openai.realtime import RealtimeModel

    return RealtimeModel.with_azure(azure_endpoint=line.http, api_key=key, azure_deployment="gpt-realtime")


@asynccontextmanager
async def calling(model: Any) -> AsyncIterator[Caller]:
    async with AsyncExitStack() as stack:
        stack.push_async_callback(model.aclose)
        session = model.session()
        stack.push_async_callback(session.aclose)
        async with asyncio.timeout(DEADLINE_S):
            yield Caller(session)


@pytest.mark.parametrize("model_by", [openai, azure], ids=["Bearer", "api-key"])
async def test_livekit_holds_a_spoken_turn_through_the_relay(line: Line, model_by: Callable[[Line, str], Any]) -> None:
    async with calling(model_by(line, KEY)) as caller:
        usage = await caller.spoken_turn()
    assert caller.errors.empty()
    await one_turn(line.relay, usage)


async def test_livekit_names_the_refusal_of_a_wrong_key_and_gives_up_after_three_more_tries(line: Line) -> None:
    from livekit.agents import APIConnectionError, APIConnectOptions
    from livekit.plugins.openai.realtime import RealtimeModel

    brisk = APIConnectOptions(retry_interval=0)
    model = RealtimeModel(base_url=f"{line.http}/v1", api_key="wrong", model="gpt-realtime", conn_options=brisk)
    with pytest.raises(APIConnectionError, match=r"after 3 attempts .*401"):
        async with calling(model) as caller:
            told = [await caller.errors.get() for _ in range(4)]
    assert [each.error.__cause__.status for each in told] == [401] * 4
    assert [each.recoverable for each in told] == [True, True, True, False]


async def test_livekit_calls_again_by_itself_when_the_relay_drains(line: Line) -> None:
    async with calling(openai(line, KEY)) as caller:
        await caller.spoken_turn()
        rolling = asyncio.create_task(line.roll())
        await caller.until("session.created")
        await caller.until("session.updated")  # it has sent its settings again
        usage = await caller.spoken_turn()
        await rolling
    assert caller.errors.get_nowait().recoverable
    assert caller.errors.empty()
    await one_turn(line.relay, usage)
