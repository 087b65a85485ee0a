"""The run from start to verdict: the model, the relay and the clients as processes, and samples of the relay."""

import asyncio
import secrets
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, NamedTuple

import aiohttp
import orjson
from rich.console import Console

from stage.leash import leashed
from stage.replica import DEPLOYMENT, Replica
from stage.soak.books import CLIENTS, MODEL, RELAY, SAMPLES, read
from stage.soak.checks import Check, by_kind, judge
from stage.soak.client import KEYS, key_of
from stage.soak.plan import Plan
from stage.soak.samples import Gauge, Sample

TRUST = "trust.pem"
LINE_EVERY_S = 10.0
EMPTY_S = 60.0
"""From the last client's end until the relay must be empty: longer than the stall of a reader, which is 30 s."""
HOME_S = 100.0
"""How long the clients may take to stop."""
EXIT_S = 30.0
ANSWER_S = 20.0
"""A relay that does not answer for so long has failed."""
FIGURES_S = 1.0
"""/metrics may be as old as this: the end of the last call appears later."""
SETTLE_S = 0.2


class Model(NamedTuple):
    """The model's process; ``trust`` is what a relay needs to trust it, None in plaintext."""

    process: Process
    port: int
    trust: Path | None


@asynccontextmanager
async def model_of(plan: Plan, out: Path) -> AsyncIterator[Model]:
    trust = out / TRUST if plan.tls else None
    told = orjson.dumps({"plan": asdict(plan), "trust": trust and str(trust)}).decode()
    process = await leashed(sys.executable, *("-m", "stage.soak.model", told), stdout=PIPE)
    async with _killed_at_the_end(process):
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            raise RuntimeError("the model did not start")
        async with _kept(process, out / MODEL):
            yield Model(process, int(orjson.loads(line)["port"]), trust)


@asynccontextmanager
async def load_of(plan: Plan, port: int, key: str, out: Path) -> AsyncIterator[Process]:
    process = await leashed(sys.executable, *("-m", "stage.soak.client"), stdin=PIPE, stdout=PIPE)
    async with _killed_at_the_end(process), _kept(process, out / CLIENTS):
        assert process.stdin is not None
        # Not as an argument: every user of the machine can read those.
        process.stdin.write(orjson.dumps({"plan": asdict(plan), "port": port, "key": key}))
        process.stdin.close()
        yield process


@asynccontextmanager
async def relay_of(plan: Plan, model: Model, key: str, log: BinaryIO) -> AsyncIterator[Replica]:
    settings = {
        "AZURE_OPENAI_ENDPOINT": f"{'https' if model.trust else 'http'}://127.0.0.1:{model.port}",
        "AZURE_OPENAI_DEPLOYMENT": DEPLOYMENT,
        "AZURE_OPENAI_API_KEY": secrets.token_urlsafe(24),
        "RTPROXY_CLIENT_KEYS": ",".join(f"soak-{number}:{key_of(key, number)}" for number in range(KEYS)),
        "RTPROXY_HEARTBEAT_SECONDS": str(plan.heartbeat_s),
        "RTPROXY_MAX_SESSIONS": str(2 * plan.calls),
        "RTPROXY_DRAIN_SECONDS": "2",
    }
    if model.trust is not None:
        settings["SSL_CERT_FILE"] = str(model.trust)
    if plan.jemalloc is not None:
        settings["LD_PRELOAD"] = plan.jemalloc
    relay = await Replica.start(settings, log)
    try:
        yield relay
    finally:
        await relay.kill()


@asynccontextmanager
async def _killed_at_the_end(process: Process) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def _kept(process: Process, file: Path) -> AsyncIterator[None]:
    """Writes every line of ``process`` to ``file``, to the last one."""

    async def keep() -> None:
        assert process.stdout is not None
        with file.open("wb") as kept:
            async for line in process.stdout:
                kept.write(line)
                kept.flush()

    keeping = asyncio.create_task(keep())
    try:
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await keeping


class View:
    """``now`` shows a sample, ``say`` a step."""

    def __init__(self, lasts_s: float) -> None:
        self._lasts_s = lasts_s
        self._console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._status = self._console.status("")
        self._said_at = 0.0

    def __enter__(self) -> "View":
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._status.stop()

    def say(self, text: str) -> None:
        self._status.update(text)
        self._console.print(f"soak: {text}")

    def now(self, sample: Sample) -> None:
        facts = (
            f"{min(sample.at, self._lasts_s):.0f} of {self._lasts_s:.0f} s",
            f"{sample.sessions} calls",
            f"{sample.ended} ended",
            f"{sample.frames} frames",
            f"{sample.rss_kb / 1024:.1f} MB",
            f"{sample.descriptors} descriptors",
            f"{sample.tasks} tasks",
            f"answers in {sample.answer_ms:.1f} ms",
        )
        line = "  ".join(facts)
        self._status.update(line)
        if not self._console.is_terminal and time.monotonic() - self._said_at >= LINE_EVERY_S:
            self._said_at = time.monotonic()
            self._console.print(line)


class Found(NamedTuple):
    """What a run came to."""

    checks: list[Check]
    kinds: dict[str, dict[str, int]]
    samples: list[Sample]
    under_load: list[Sample]
    seconds: float
    interrupted: bool


async def run(plan: Plan, seconds: float, every_s: float, out: Path, interrupted: asyncio.Event, view: View) -> Found:
    """Puts the load on a relay for ``seconds``, or until ``interrupted``, and judges what was written to ``out``.

    Raises ReplicaError, RuntimeError or OSError when the processes do not start.
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
        view.say("stopping the clients")
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
        """Until one of ``ends`` is done or the relay does not answer, at most ``seconds``."""
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
        """False when the relay does not answer; its exit may show why."""
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
