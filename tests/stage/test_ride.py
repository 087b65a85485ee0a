"""The OpenAI SDK rides through a rollout: it takes 1012 for what it is, calls again, and lands on green."""

import asyncio
import copy
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from openai import AsyncOpenAI
from openai.types.websocket_reconnection import ReconnectingEvent

from stage import seed
from stage.platform import App, Environment, Unverified
from stage.replica import DEPLOYMENT, Model
from stage.timeline import Timeline

MODEL_KEY, CLIENT_KEY = "key-of-the-model", "key-of-the-caller"
BLUE, GREEN = f"{seed.APP}--blue", f"{seed.APP}--green"


@pytest.fixture
async def environment(tmp_path: Path) -> AsyncIterator[Environment]:
    """An app on blue, in Multiple mode, with a drain of 4 s."""
    model = await Model.start(MODEL_KEY)
    with (tmp_path / "timeline.jsonl").open("wb") as stream:
        # New weights are in force everywhere at once: plays wait for that before they stop blue.
        at_once = Unverified(weights_late_s=0)
        async with Environment(tmp_path, Timeline(stream), unverified=at_once) as environment:
            small = seed.Seed(min_replicas=1, grace_s=8, drain_s=4)
            app = await environment.put(seed.APP, seed.properties(small, "rtproxy:1", model.url, MODEL_KEY, CLIENT_KEY))
            await app.settled()
            yield environment
    await model.stop()


async def replace_blue(app: App) -> None:
    """A second revision, and every new call to it."""
    wanted = copy.deepcopy(app.properties)
    wanted["template"]["revisionSuffix"] = "green"
    await app.update(wanted)
    await app.settled()


def sessions(tmp_path: Path, revision: str) -> list[dict[str, Any]]:
    """The summaries of the calls that a revision carried."""
    lines = [
        line for path in (tmp_path / "replicas").glob(f"{revision}-*.jsonl") for line in path.read_bytes().splitlines()
    ]
    return [event for event in map(orjson.loads, lines) if event["event"] == "connection.closed"]


async def ended(tmp_path: Path, revision: str) -> list[dict[str, Any]]:
    """The same of a revision that goes on living: its last line may come after the client's close has returned."""
    async with asyncio.timeout(20):
        while True:
            if found := sessions(tmp_path, revision):
                return found
            await asyncio.sleep(0.05)


async def test_the_sdk_rides_through_a_drain_and_lands_on_green(environment: Environment, tmp_path: Path) -> None:
    app, codes = environment.apps[seed.APP], []

    def on_reconnecting(event: ReconnectingEvent) -> None:
        codes.append(event.close_code)

    url = environment.gateway_url.replace("http", "ws") + "/openai/v1"
    client = AsyncOpenAI(api_key=CLIENT_KEY, websocket_base_url=url)
    async with asyncio.timeout(40), client.realtime.connect(model=DEPLOYMENT, on_reconnecting=on_reconnecting) as call:
        # Its iterator is what reconnects.
        events = aiter(call)
        kinds = [(await anext(events)).type]
        await replace_blue(app)
        stopping = asyncio.create_task(app.deactivate(BLUE))
        kinds.append((await anext(events)).type)
        await stopping
        await call.session.update(session={"type": "realtime", "instructions": "Be brief."})
        kinds.append((await anext(events)).type)
    assert kinds == ["session.created", "session.created", "session.updated"]
    assert codes == [1012]
    await client.close()
    await environment.timeline.until("replica.exited", revision=BLUE)
    (moved,) = sessions(tmp_path, BLUE)
    assert (moved["ended_by"], moved["client_code"]) == ("drain", 1012)
    (landed,) = await ended(tmp_path, GREEN)
    assert (landed["ended_by"], landed["client_code"]) == ("client", 1000)
