"""LiveKit Agents: the realtime model of its OpenAI plugin."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.conftest import KEY
from tests.sdks.conftest import CHUNKS, Line, one_turn


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


@asynccontextmanager
async def calling(line: Line, key: str = KEY) -> AsyncIterator[Caller]:
    # Imported here, because every worker collects this file and the import takes two seconds.
    from livekit.plugins.openai.realtime import RealtimeModel

    model = RealtimeModel(base_url=f"{line.http}/v1", api_key=key, model="gpt-realtime")
    session = model.session()
    try:
        async with asyncio.timeout(20):
            yield Caller(session)
    finally:
        await session.aclose()
        await model.aclose()


async def test_livekit_holds_a_spoken_turn_through_the_relay(line: Line) -> None:
    async with calling(line) as caller:
        usage = await caller.spoken_turn()
    assert caller.errors.empty()
    await one_turn(line.relay, usage)


async def test_livekit_names_the_refusal_of_a_wrong_key_and_tries_again(line: Line) -> None:
    async with calling(line, "wrong") as caller:
        told = await caller.errors.get()
    assert told.error.__cause__.status == 401
    assert told.recoverable


async def test_livekit_calls_again_by_itself_when_the_relay_drains(line: Line) -> None:
    async with calling(line) as caller:
        await caller.spoken_turn()
        rolling = asyncio.create_task(line.roll())
        await caller.until("session.created")
        usage = await caller.spoken_turn()
        await rolling
    assert caller.errors.qsize() == 1
    await one_turn(line.relay, usage)
