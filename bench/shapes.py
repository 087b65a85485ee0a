"""The shapes of load: what is held, what is sent, and what is measured of each peer in each round.

Peers run side by side and take turns round by round, because a shared machine changes its speed within seconds:
figures of one round are neighbours in time. A peer that has no turn costs nothing meanwhile.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from bench.load.generator import Calls, Load
from bench.load.wire import TEXT, frame
from bench.process import Running
from bench.result import OURS, Figures

DIRECT = "direct"
PER_S = 50.0
"""Frames a second each way of a call in which somebody speaks."""
BIG_BYTES = 15 * 1024 * 1024
CALLERS = 10
"""How many open a call and close it, and again, when handshakes are counted."""
Round = dict[str, Figures]
SLACK = 200
"""Sessions that a peer may have beyond those that stand: calls that are just ending."""
_STEADY = "100 calls, 50 frames/s each way"


@dataclass(frozen=True, slots=True)
class Bench:
    """What a shape runs with: ``rounds`` of ``seconds`` for each peer, ``most`` calls; `tell` is for people.

    `failed` is called with each failure of a peer; then the run has no success.
    """

    load: Load
    rounds: int
    seconds: float
    most: int
    tell: Callable[[str], None]
    failed: Callable[[str], None]


Beside = Callable[[Bench, int], contextlib.AbstractAsyncContextManager[None]]
"""What goes on through a port beside the calls that are measured."""


@contextlib.asynccontextmanager
async def big_frame(bench: Bench, port: int) -> AsyncIterator[None]:
    """One more call that sends a frame of 15 MiB every half second."""
    calls = await bench.load.call(port, 1)
    big = frame(TEXT, b"A" * BIG_BYTES, masked=True)

    async def send() -> None:
        while True:
            if not calls.callers[0].full:
                calls.callers[0].transport.write(big)
            await asyncio.sleep(0.5)

    async with _meanwhile(send(), calls):
        yield


@contextlib.asynccontextmanager
async def stalled(bench: Bench, port: int) -> AsyncIterator[None]:
    """One more call whose client reads nothing, while the model sends as fast as it can."""
    calls = await bench.load.call(port, 1)
    calls.callers[0].transport.pause_reading()

    async def flood() -> None:
        while True:
            for _ in range(8):
                calls.models[0].send()
            await asyncio.sleep(0.005)

    async with _meanwhile(flood(), calls):
        yield


@contextlib.asynccontextmanager
async def _meanwhile(doing: Coroutine[Any, Any, None], calls: Calls) -> AsyncIterator[None]:
    task = asyncio.create_task(doing)
    try:
        yield
    finally:
        task.cancel()
        await calls.hang_up()


class Standing(NamedTuple):
    """Calls through ``port``, which is ``peer``'s or the model's own, and how much memory there was before them."""

    calls: Calls
    port: int
    peer: Running | None = None
    before_kb: int = 0

    def per_call_kb(self) -> float | None:
        return (self.peer.rss_kb() - self.before_kb) / len(self.calls.callers) if self.peer else None


async def speech(
    bench: Bench, peers: list[Running], held: int, talking: int, beside: Beside | None = None
) -> list[Round]:
    """``held`` calls through each peer, of which ``talking`` carry 50 frames a second each way."""
    if len(peers) > 1 and held * len(peers) > bench.most:
        one_by_one = [await speech(bench, [peer], held, talking, beside) for peer in peers]
        # The baseline of one was measured minutes from the others: no round here has one for all of them.
        return [
            {name: figures for each in same for name, figures in each.items() if name != DIRECT}
            for same in zip(*one_by_one, strict=True)
        ]
    port = bench.load.direct_port
    stand = {DIRECT: Standing(await bench.load.call(port, talking), port)}
    for peer in peers:
        bench.tell(f"{peer.name}: {held:,} calls")
        before_kb = peer.rss_kb()
        stand[peer.name] = Standing(await bench.load.call(peer.port, held), peer.port, peer, before_kb)
    idle_kb = {name: each.per_call_kb() for name, each in stand.items()}
    rounds: list[Round] = [{} for _ in range(bench.rounds)]
    for number, figures in enumerate(rounds, start=1):
        for name, each in stand.items():
            bench.tell(f"round {number} of {bench.rounds}: {name}")
            measured = await _turn(bench, each, talking, beside)
            figures[name] = replace(measured, rss_idle_kb=idle_kb[name])
    for each in stand.values():
        await each.calls.hang_up()
    return rounds


async def _turn(bench: Bench, standing: Standing, talking: int, beside: Beside | None) -> Figures:
    ends = standing.calls.ends[: 2 * talking]
    async with beside(bench, standing.port) if beside else contextlib.nullcontext():
        figures = await bench.load.window(ends, PER_S, asyncio.sleep(bench.seconds), standing.peer)
        figures = replace(figures, rss_load_kb=standing.per_call_kb())
    if ended := sum(end.closed.done() for end in standing.calls.callers):
        figures = replace(figures, void=f"{ended} of {len(standing.calls.callers)} calls ended meanwhile")
        bench.failed(f"{standing.peer.name if standing.peer else DIRECT}: {figures.void}")
    # What the call beside them costs is spent on frames that nobody counts.
    return replace(figures, cpu_us_per_frame=None) if beside else figures


async def held(bench: Bench, peers: list[Running], wanted: int) -> list[Round]:
    """As many silent calls as ``wanted``, or as open files allow, through one peer after the other."""
    count = min(wanted, bench.most)
    fewer = "" if count == wanted else f"{count:,} calls, which is what the limit of open files allows here"
    figures: Round = {}
    for peer in peers:
        bench.tell(f"{peer.name}: {count:,} calls")
        before = peer.rss_kb()
        try:
            calls = await bench.load.call(peer.port, count)
        except OSError as problem:
            void = f"the calls were not established ({type(problem).__name__}: {problem})"
            bench.failed(f"{peer.name}: {void}")
            figures[peer.name] = Figures(void=void)
            continue
        cost_ns, began = peer.cpu_ns(), time.monotonic()
        await asyncio.sleep(bench.seconds)
        busy = (peer.cpu_ns() - cost_ns) / 1e7 / (time.monotonic() - began)
        rss = peer.rss_kb()
        note = "; ".join(filter(None, (fewer, f"{peer.name} uses {busy:.1f} % of its core meanwhile")))
        figures[peer.name] = Figures(rss_mb=rss / 1024, rss_idle_kb=(rss - before) / count, note=note)
        await calls.hang_up()
    return [figures]


async def handshakes(bench: Bench, peers: list[Running]) -> list[Round]:
    """Ten callers who open a call, close it and open the next.

    The rate is that of the peer's own CPU time, what a core of its would do in a second: the load is slower than some.
    """

    async def caller(port: int, until: float) -> int:
        done = 0
        while time.monotonic() < until:
            call = await bench.load.dial(port)
            call.close()
            await call.closed
            done += 1
        return done

    rounds: list[Round] = []
    for number in range(1, bench.rounds + 1):
        rounds.append({})
        for peer in peers:
            bench.tell(f"round {number} of {bench.rounds}: {peer.name}")
            cost_ns, until = peer.cpu_ns(), time.monotonic() + bench.seconds
            done = sum(await asyncio.gather(*(caller(peer.port, until) for _ in range(CALLERS))))
            rounds[-1][peer.name] = Figures(handshakes_per_s=done / (peer.cpu_ns() - cost_ns) * 1e9)
    return rounds


async def drain(bench: Bench, peers: list[Running], quiet: int, talking: int) -> list[Round]:
    """SIGTERM with ``quiet`` calls between two turns and ``talking`` in one: how long, and what those notice."""
    (peer,) = peers
    bench.tell(f"{peer.name}: {quiet + talking:,} calls")
    busy = await bench.load.call(peer.port, talking)
    turn = frame(TEXT, b'{"type":"response.created","event_id":"e","response":{"id":"r"}}', masked=False)
    for model in busy.models:
        model.transport.write(turn)
    silent = await bench.load.call(peer.port, quiet)
    before = await bench.load.window(busy.ends, PER_S, asyncio.sleep(bench.seconds), peer)
    bench.tell(f"{peer.name} drains")
    began = time.monotonic()
    peer.process.terminate()
    all_silent = asyncio.gather(*(end.closed for end in silent.callers))
    during = await bench.load.window(busy.ends, PER_S, all_silent, peer)
    await peer.process.wait()
    figures = replace(
        before, drain_s=time.monotonic() - began, p99_during_us=during.p99_us, void=during.void or before.void
    )
    return [{peer.name: figures}]


Run = Callable[[Bench, list[Running]], Coroutine[Any, Any, list[Round]]]


class Shape(NamedTuple):
    """`sessions` is how many calls a peer carries at most, `only` the peer that it is for; `quick`: in a quick run."""

    name: str
    title: str
    run: Run
    sessions: int
    tls: bool = False
    baseline: str | None = DIRECT
    only: str | None = None
    quick: bool = False


SHAPES = (
    Shape("steady", f"{_STEADY}, plaintext", partial(speech, held=100, talking=100), 100, quick=True),
    Shape("steady-tls", f"{_STEADY}, TLS upstream", partial(speech, held=100, talking=100), 100, tls=True, quick=True),
    Shape("quiet", "2,000 calls, 50 of them talking", partial(speech, held=2000, talking=50), 2000),
    Shape(
        "big-frame",
        f"{_STEADY}, beside one that sends frames of 15 MiB",
        partial(speech, held=100, talking=100, beside=big_frame),
        100,
    ),
    Shape(
        "stalled",
        f"{_STEADY}, beside one whose client reads nothing",
        partial(speech, held=100, talking=100, beside=stalled),
        100,
    ),
    Shape("handshakes", "calls opened and closed, plaintext", handshakes, 100, baseline=None, quick=True),
    Shape("handshakes-tls", "calls opened and closed, TLS upstream", handshakes, 100, True, None, quick=True),
    Shape("held", "10,000 silent calls", partial(held, wanted=10_000), 10_000, baseline=None),
    Shape(
        "drain",
        "SIGTERM with 1,000 calls between two turns and 100 in one",
        partial(drain, quiet=1000, talking=100),
        1100,
        baseline=None,
        only=OURS,
    ),
)
