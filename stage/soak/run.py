"""The run from start to exit: model, relay and load as processes, samples meanwhile, and in the end the verdict."""

import asyncio
import secrets
import signal
from asyncio.subprocess import Process
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, NamedTuple

import aiohttp
import orjson

from stage.replica import Replica
from stage.soak.books import RELAY, SAMPLES, read
from stage.soak.check import Check
from stage.soak.checks import judge
from stage.soak.moved import by_kind
from stage.soak.plan import Plan
from stage.soak.processes import load_of, model_of, relay_of
from stage.soak.samples import Gauge, Sample
from stage.soak.view import View

EMPTY_S = 60.0
"""From the last client's end until the relay has to be empty: longer than the stall of a reader, which is 30 s."""
HOME_S = 100.0
"""What calling everybody home may take."""
EXIT_S = 30.0
ANSWER_S = 20.0
"""A relay that does not answer for so long is given up."""
FIGURES_S = 1.0
"""So old /metrics may be: what it says of the last call's end comes later."""
SETTLE_S = 0.2


class Found(NamedTuple):
    """What a run came to."""

    checks: list[Check]
    kinds: dict[str, dict[str, int]]
    samples: list[Sample]
    under_load: list[Sample]
    seconds: float
    interrupted: bool


async def run(plan: Plan, seconds: float, every_s: float, out: Path, interrupted: asyncio.Event, view: View) -> Found:
    """Lets the load loose on a relay for ``seconds``, or until ``interrupted``, and judges what was written to ``out``.

    Raises ReplicaError, RuntimeError or OSError when the processes do not come to stand.
    """
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        model = await enter(model_of(plan, out))
        key = secrets.token_urlsafe(24)
        relay = await enter(relay_of(plan, model, key, stack.enter_context((out / RELAY).open("wb"))))
        gauge = Gauge(
            await enter(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ANSWER_S))), relay.url, relay.process.pid
        )
        before = await gauge.read()
        samples = _Samples(gauge, relay, stack.enter_context((out / SAMPLES).open("wb")), view)
        samples.taken.append(before)
        view.say(f"{plan.calls} calls, seed {plan.seed}: model {model.process.pid}, relay {relay.process.pid}")
        load = await enter(load_of(plan, relay.port, key, out))
        await samples.until((interrupted.wait(), load.wait(), model.process.wait()), every_s, seconds)
        _check_model(model.process)
        under_load, seconds = list(samples.taken), samples.taken[-1].at
        view.say("calling everybody home")
        if load.returncode is None:
            load.terminate()
        await samples.until((load.wait(),), every_s, HOME_S)
        await _at_home(load)
        after = await samples.settled(before)
        view.say("ending the relay")
        code = await _ended(relay)
        _check_model(model.process)
        model.process.terminate()
        await model.process.wait()
    view.say("reading the books")
    books = read(out, gauge.series, relay.stderr.decode(errors="replace"), code)
    whole = not interrupted.is_set()
    checks = judge(plan, books, before, under_load, after, whole=whole, answered=samples.answered)
    return Found(checks, by_kind(books), samples.taken, under_load, seconds, interrupted.is_set())


def _check_model(model: Process) -> None:
    if model.returncode is not None:
        raise RuntimeError(f"the model broke off with {model.returncode}")


async def _at_home(load: Process) -> None:
    try:
        async with asyncio.timeout(HOME_S):
            code = await load.wait()
    except TimeoutError:
        raise RuntimeError(f"the load did not end within {HOME_S:g} s") from None
    if code:
        raise RuntimeError(f"the load broke off with {code}")


async def _ended(relay: Replica) -> int:
    """Its exit code; SIGKILL's where it does not go."""
    relay.signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(EXIT_S):
            return await relay.exited()
    except TimeoutError:
        return await relay.kill()


class _Samples:
    """Samples while something is awaited; each is kept, written and shown."""

    def __init__(self, gauge: Gauge, relay: Replica, file: BinaryIO, view: View) -> None:
        self.taken: list[Sample] = []
        self.answered = True
        self._gauge, self._relay, self._file, self._view = gauge, relay, file, view

    async def until(self, ends: tuple[Awaitable[object], ...], every_s: float, seconds: float) -> None:
        """Until one of ``ends`` comes to pass or the relay does not answer, at most ``seconds``."""
        loop = asyncio.get_running_loop()
        due, end = loop.time(), loop.time() + seconds
        waits = {asyncio.ensure_future(each) for each in ends}
        done: set[asyncio.Future[object]] = set()
        while not done and loop.time() < end and await self._take():
            due = max(due + every_s, loop.time())
            timeout = min(due, end) - loop.time()
            done, _ = await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()

    async def settled(self, before: Sample) -> Sample:
        """The relay without a call: as soon as it is as empty as it was ``before``, or at last as it is then."""
        loop = asyncio.get_running_loop()
        end = loop.time() + EMPTY_S
        await asyncio.sleep(FIGURES_S)
        while await self._take() and loop.time() < end:
            now = self.taken[-1]
            if now.sessions == 0 and now.descriptors <= before.descriptors and now.tasks <= before.tasks:
                break
            await asyncio.sleep(SETTLE_S)
        return self.taken[-1]

    async def _take(self) -> bool:
        """False when the relay does not answer; how it ended may say why."""
        try:
            sample = await self._gauge.read()
        except (aiohttp.ClientError, OSError):
            self.answered = False
            return False
        self.taken.append(sample)
        self._file.write(orjson.dumps(asdict(sample), option=orjson.OPT_APPEND_NEWLINE))
        self._file.flush()
        self._view.now(sample)
        # All of them are in its file: half an hour of them need not be in memory too.
        self._relay.events.clear()
        return True
