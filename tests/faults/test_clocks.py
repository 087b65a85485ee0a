"""The wall clock is set, or the machine was asleep: nothing that takes time in a relay is measured by that clock."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rtproxy.model.identity import TokenTimes
from stage.identity import Directory, beside, make_app
from stage.rawpeer import CLOSE
from tests.faults.conftest import LineFactory
from tests.standstill import within
from tests.world import World

DAY_S = 86_400.0


@pytest.fixture
def directory() -> Directory:
    return Directory(lifetime_s=int(DAY_S))


@pytest.fixture
async def identity(directory: Directory) -> AsyncIterator[dict[str, str]]:
    """The environment of a relay that has an identity in ``directory``."""
    async with beside(make_app(directory), directory.header) as environ:
        yield {"AZURE_OPENAI_API_KEY": "", **environ}


@pytest.mark.parametrize("days", [2, -2])
async def test_calls_heartbeats_and_the_drain_keep_their_time_when_the_wall_clock_is_set(
    line_for: LineFactory, directory: Directory, identity: dict[str, str], tmp_path: Path, days: int
) -> None:
    world = World(tmp_path / "world")
    world.tell()
    line = await line_for(world=world, RTPROXY_DRAIN_SECONDS="2", RTPROXY_HEARTBEAT_SECONDS="0.5", **identity)
    held = await line.call()
    began = time.monotonic()
    world.set_forward_s = days * DAY_S
    world.tell()
    async with line.neighbour(), within(0.5 * 2 + 2):
        assert (await line.get("/readyz"))[0] == 200, "a token lives as long as it was given"
        assert (await line.call()).model.headers["authorization"] == "Bearer entra-token-1"
        assert len(directory.asked) == 1
        # The model answers none of its pings, so this call ends by its heartbeat: not sooner, and not later.
        code, _ = (await held.client.read_until(CLOSE)).code, await held.model.read_until(CLOSE)
        assert code == 1011
        assert time.monotonic() - began > 0.5
    assert (await line.closed(held))[0] == "heartbeat"
    code, took_s = await line.stop()
    assert code == 0
    assert took_s < 2 + 1
    assert (await line.replica.event("drain.completed"))["duration_s"] > 0.4
    closed = await line.replica.event("connection.closed", session=held.session)
    assert 0.5 < closed["duration_s"] < DAY_S


async def test_a_relay_that_starts_with_a_wall_clock_days_ahead_has_a_token_and_takes_calls(
    line_for: LineFactory, directory: Directory, identity: dict[str, str], tmp_path: Path
) -> None:
    world = World(tmp_path / "world", set_forward_s=2 * DAY_S)
    world.tell()
    line = await line_for(world=world, **identity)
    assert (await line.get("/readyz"))[0] == 200
    assert (await line.call()).model.headers["authorization"] == "Bearer entra-token-1"
    assert len(directory.asked) == 1


async def test_a_token_that_expired_while_the_machine_slept_is_renewed_as_soon_as_that_shows(
    line_for: LineFactory, directory: Directory, identity: dict[str, str], tmp_path: Path
) -> None:
    world = World(tmp_path / "world")
    world.tell()
    line = await line_for(world=world, **identity)
    world.slept_s = 2 * DAY_S
    world.tell()
    assert (await line.get("/readyz"))[0] == 503
    async with asyncio.timeout(TokenTimes().refresh_min_s + 2):
        await directory.until(lambda: len(directory.tokens) == 2)
        while (await line.get("/readyz"))[0] != 200:
            pass
    assert (await line.call()).model.headers["authorization"] == "Bearer entra-token-2"
