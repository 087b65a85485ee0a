"""How many replicas there are: decided by counts and time, and done with real processes."""

import asyncio
import gc
from contextlib import suppress
from typing import Any

import pytest

from stage.ingress import Counts
from stage.platform.replicas import Activator, Scaler
from stage.platform.template import Scale
from stage.platform.unverified import Timing, Unverified
from tests.stage.apps import DEADLINE_S, NAME, SECRET, StageFactory, eventually, properties
from tests.stage.conftest import ModelFactory

BLUE = f"{NAME}--blue"


class Run:
    """A revision under a scaler, second by second, without any process."""

    def __init__(self, count: int, unverified: Unverified | None = None, **scale: Any) -> None:
        self.count, self.now, self.started = count, 0, 0
        self.steps: list[tuple[int, int]] = []
        self._scaler = Scaler(Scale(**scale), Timing(), unverified or Unverified(), 0, count)
        self._scaler.observe(0, Counts(0, 0))

    def seconds(self, length: int, *, requests: int = 0, active: int = 0) -> list[tuple[int, int]]:
        """Lets time pass with so many requests a second; the steps taken in it: second and count."""
        taken = len(self.steps)
        for _ in range(length):
            self.now += 1
            self.started += requests
            self._scaler.observe(self.now, Counts(self.started, active))
            if (step := self._scaler.decide(self.now, self.count)) is not None:
                self.count = step[0]
                self.steps.append((self.now, self.count))
        return self.steps[taken:]


def test_the_http_rule_counts_the_requests_of_the_last_15_seconds() -> None:
    run = Run(1, maximum=10, concurrent_requests=10)
    assert run.seconds(15, requests=10) == []
    assert run.seconds(15, requests=11) == [(30, 2)]
    assert run.seconds(15, requests=31) == [(45, 4)]
    assert run.seconds(15, requests=500) == [(60, 8)]
    assert run.seconds(15, requests=500) == [(75, 10)]


def test_scale_up_goes_1_4_8_16_32() -> None:
    run = Run(1, maximum=100, concurrent_requests=1)
    assert [count for _, count in run.seconds(75, requests=90)] == [4, 8, 16, 32, 64]


def test_surplus_goes_at_once_when_none_of_it_was_needed_for_300_seconds_whatever_the_cooldown() -> None:
    run = Run(1, minimum=2, maximum=10, concurrent_requests=10, cooldown_s=20)
    assert run.seconds(15, requests=40) == [(15, 4)]
    assert run.seconds(600) == [(330, 2)]


def test_the_last_replica_goes_when_nothing_happened_for_the_cooldown() -> None:
    run = Run(1, cooldown_s=60, polling_s=1)
    run.seconds(10, requests=1)
    assert run.seconds(600) == [(70, 0)]


def test_an_open_socket_is_activity_unless_azure_should_prove_otherwise() -> None:
    run = Run(1, cooldown_s=60, polling_s=1)
    assert run.seconds(600, active=1) == []
    # It was open at 600, and could have been for almost a second more.
    assert run.seconds(600) == [(661, 0)]
    run = Run(1, Unverified(open_sockets_are_activity=False), cooldown_s=60, polling_s=1)
    assert run.seconds(600, active=1) == [(60, 0)]


def test_several_replicas_go_to_zero_together_unless_azure_should_prove_otherwise() -> None:
    assert Run(3, cooldown_s=60, polling_s=30).seconds(100) == [(60, 0)]
    stepwise = Run(3, Unverified(zero_from_any_count=False), cooldown_s=60, polling_s=30)
    assert stepwise.seconds(600) == [(315, 1), (330, 0)]


def test_the_cooldown_has_no_effect_with_a_minimum_of_one() -> None:
    assert Run(1, minimum=1, cooldown_s=1, polling_s=1).seconds(1000) == []


def test_zero_is_looked_at_once_a_polling_interval() -> None:
    assert Run(1, cooldown_s=40, polling_s=30).seconds(100) == [(60, 0)]


async def test_requests_bring_replicas_that_go_again_when_they_are_not_needed(stage_for: StageFactory) -> None:
    stage = await stage_for()
    rule = {"name": "calls", "http": {"metadata": {"concurrentRequests": "10"}}}
    app = await stage.app(scale={"minReplicas": 1, "maxReplicas": 3, "rules": [rule]})
    url = f"{stage.environment.gateway_url}/healthz"

    async def rush() -> None:
        while True:
            async with stage.http.get(url) as answer:
                assert answer.status == 200
            await asyncio.sleep(0.02)

    rushing = [asyncio.create_task(rush()) for _ in range(4)]
    out = await stage.until("revision.scaled", replicas_to=3)
    assert (out["revision"], out["replicas_from"]) == (BLUE, 1)
    assert "requests in 1 s" in out["reason"]
    seen: set[str] = set()
    async with asyncio.timeout(DEADLINE_S):
        while len(seen) < 3:
            seen.add((await stage.get())["replica"])  # type: ignore[index]
    for each in rushing:
        each.cancel()
    results = await asyncio.gather(*rushing, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in results)
    # In one step or two: what the last requests needed is needed for a while yet.
    await eventually(lambda: len(app.latest.replicas) == 1)
    reasons = [each["reason"] for each in stage.timeline.find("replica.sigterm")]
    assert len(reasons) >= 2, "more where the rush itself paused, on a machine that stood still"
    assert set(reasons) == {"scaled in"}
    assert app.latest.replicas[0].ready
    assert await stage.revision() == BLUE


async def test_the_last_replica_goes_after_the_cooldown_and_a_call_brings_it_back(
    stage_for: StageFactory, model_for: ModelFactory
) -> None:
    model = await model_for(key=SECRET)
    stage = await stage_for()
    scale = {"minReplicas": 0, "maxReplicas": 2, "cooldownPeriod": 2, "pollingInterval": 1}
    app = await stage.app(model=model.url, scale=scale)
    clock = asyncio.get_running_loop().time
    call = await stage.call()
    # Twice the cooldown, and nothing but an open socket: nothing else could tell that the replica stays.
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(stage.timeline.until("revision.scaled", replicas_to=0), 4)
    await call.close()
    ended = clock()
    await stage.until("revision.scaled", replicas_to=0)
    assert 1.5 < clock() - ended < DEADLINE_S
    await eventually(lambda: not app.latest.replicas)
    assert (app.latest.active, app.latest.running_state, app.latest.health_state) == (True, "Running", "Healthy")
    calls = await asyncio.gather(*(stage.call() for _ in range(3)))
    woken = await stage.until("revision.scaled", replicas_to=1, replicas_from=0, reason="a request came")
    assert woken["revision"] == BLUE
    assert len(app.latest.replicas) == 1
    for each in calls:
        await each.send_json({"type": "session.update", "session": {"type": "realtime"}})
        assert (await each.receive_json(timeout=DEADLINE_S))["type"] == "session.updated"
    assert await stage.revision() == BLUE
    await app.deactivate(BLUE)
    for each in calls:
        assert (await each.receive(timeout=DEADLINE_S)).data == 1012


async def test_a_minimum_of_one_never_goes_to_zero(stage_for: StageFactory) -> None:
    stage = await stage_for()
    scale = {"cooldownPeriod": 1, "pollingInterval": 1}
    app = await stage.app(scale={"minReplicas": 1} | scale)
    other = await stage.environment.put("other", properties(scale={"minReplicas": 0} | scale))
    await stage.settled(other)
    await stage.until("revision.scaled", app="other", replicas_to=0)
    assert len(app.latest.replicas) == 1
    assert not stage.timeline.find("revision.scaled", app=NAME, replicas_to=0)


async def test_a_sleeping_revision_can_be_deactivated_and_activated_again(stage_for: StageFactory) -> None:
    stage = await stage_for()
    app = await stage.app(scale={"minReplicas": 0, "cooldownPeriod": 0, "pollingInterval": 1})
    await stage.until("revision.scaled", replicas_to=0)
    await app.deactivate(BLUE)
    assert await stage.revision(BLUE) == 404
    await app.activate(BLUE)
    await stage.settled(app)
    assert await stage.revision(BLUE) == BLUE


async def test_an_activator_whose_revision_does_not_wake_ends_the_connection_and_takes_the_next() -> None:
    waiting = asyncio.Event()

    async def wake() -> int:
        waiting.set()
        raise TimeoutError

    activator = Activator(wake)
    await activator.start()
    for _ in range(2):
        reader, writer = await asyncio.open_connection("127.0.0.1", activator.port)
        async with asyncio.timeout(DEADLINE_S):
            await waiting.wait()
            assert await reader.read() == b""
        waiting.clear()
        writer.close()
    activator.close()


async def test_an_activator_that_is_closed_ends_who_waits_and_lets_who_talks_talk_on() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    replica = await asyncio.start_server(echo, "127.0.0.1", 0)
    ports: asyncio.Queue[int] = asyncio.Queue()
    ports.put_nowait(replica.sockets[0].getsockname()[1])
    activator = Activator(ports.get)
    await activator.start()
    talking, waiting = [await asyncio.open_connection("127.0.0.1", activator.port) for _ in range(2)]
    await eventually(ports.empty)
    activator.close()
    async with asyncio.timeout(DEADLINE_S):
        assert await waiting[0].read() == b""
        talking[1].write(b"still here\n")
        assert await talking[0].read() == b"still here\n"
    for _, writer in (talking, waiting):
        writer.close()
    replica.close()


async def test_an_activator_that_is_stopped_ends_who_talks_and_forgets_nobody_before() -> None:
    hung_up, talked = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b"that is all\n"  # the caller has gone; the replica has more to say
        hung_up.set()
        with suppress(ConnectionError):
            while True:
                writer.write(bytes(1 << 16))
                await writer.drain()
        writer.close()
        talked.set()

    replica = await asyncio.start_server(talk, "127.0.0.1", 0)

    async def wake() -> int:
        port: int = replica.sockets[0].getsockname()[1]
        return port

    activator = Activator(wake)
    await activator.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", activator.port)
    writer.write(b"that is all\n")
    writer.write_eof()
    async with asyncio.timeout(DEADLINE_S):
        await hung_up.wait()
        gc.collect()
        assert await reader.read(1)
        await activator.stop()
        await talked.wait()
    writer.close()
    replica.close()
