"""What the tests of faults share: calls through a relay process, a neighbour whom none of it may touch, a verdict."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import aiohttp
import pytest

from stage.rawpeer import TEXT, RawPeer, RawServer
from stage.replica import Replica
from tests.conftest import DEADLINE_S, Caller, ReplicaFactory
from tests.standstill import standstill
from tests.world import World

UNNOTICED_S = 1.0
"""What a frame of somebody else's call may take there and back while a fault lasts: a busy machine is not a defect."""
SOON_S = 2.0
"""What the relay says it does within a second."""


class Held(NamedTuple):
    """A call that stands: both of its ends."""

    client: RawPeer
    model: RawPeer

    @property
    def session(self) -> str:
        return self.client.headers["x-rtproxy-session"]


class Neighbour:
    """A call that goes on while something befalls others: a frame up, one down, for as long as it is watched."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self.worst_s = 0.0
        self.rounds = 0

    async def talk(self) -> None:
        while True:
            await self._round()
            await asyncio.sleep(0.02)  # the pace of audio

    async def _round(self) -> None:
        with standstill() as took:
            await self._held.client.send(TEXT, b"u" * 1800)
            assert (await self._held.model.read_until(TEXT)).payload == b"u" * 1800
            await self._held.model.send(TEXT, b"d" * 4200)
            assert (await self._held.client.read_until(TEXT)).payload == b"d" * 4200
        self.worst_s = max(self.worst_s, took.spent_s)
        self.rounds += 1


class Line:
    """A relay process and the model behind it."""

    def __init__(self, replica: Replica, upstream: RawServer, dial: Caller) -> None:
        self.replica, self.upstream, self.dial = replica, upstream, dial

    async def call(self, port: int | None = None, **how: Any) -> Held:
        """A call that stands, through ``port`` where that is not the relay's."""
        async with asyncio.timeout(DEADLINE_S):
            connecting = asyncio.create_task(self.dial(port or self.replica.port, **how))
            model = await self.upstream.request()
            await model.answer()
            return Held(await connecting, model)

    async def calls(self, count: int, port: int | None = None) -> list[Held]:
        return [await self.call(port) for _ in range(count)]

    @contextlib.asynccontextmanager
    async def neighbour(self, within_s: float = UNNOTICED_S) -> AsyncIterator[Neighbour]:
        """A call that must go on, unnoticing, from here to the end of the block."""
        neighbour = Neighbour(await self.call())
        talking = asyncio.create_task(neighbour.talk())
        try:
            yield neighbour
            heard = neighbour.rounds
            async with asyncio.timeout(DEADLINE_S):
                while neighbour.rounds < heard + 2:
                    assert not talking.done(), f"the neighbour's call ended: {talking}"
                    await asyncio.sleep(0.01)
        finally:
            talking.cancel()
        assert neighbour.worst_s < within_s

    async def closed(self, held: Held) -> tuple[str, int, int]:
        """What the log says of a call that ended: who ended it, the code on each leg."""
        async with asyncio.timeout(DEADLINE_S):
            line = await self.replica.event("connection.closed", session=held.session)
        return line["ended_by"], line["client_code"], line["upstream_code"]

    def summaries(self) -> list[str]:
        """The session of each connection.closed so far."""
        return [event["session"] for event in self.replica.events if event["event"] == "connection.closed"]

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.request("GET", self.replica.url + path) as answer:
            return answer.status, await answer.text()

    async def stop(self) -> tuple[int, float]:
        """SIGTERM: the exit code, and how long it took."""
        with standstill() as took:
            self.replica.signal(signal.SIGTERM)
            return await self.replica.exited(), took.spent_s


LineFactory = Callable[..., Awaitable[Line]]


@pytest.fixture
async def line_for(replica_for: ReplicaFactory, upstream: RawServer, dial: Caller) -> LineFactory:
    """``await line_for(RTPROXY_DRAIN_SECONDS="2")``; behind another model, or in a world of its own."""

    async def start(server: RawServer = upstream, world: World | None = None, **settings: str) -> Line:
        return Line(await replica_for(server.port, world, **settings), server, dial)

    return start


@pytest.fixture
async def line(line_for: LineFactory) -> Line:
    return await line_for(RTPROXY_DRAIN_SECONDS="2")
