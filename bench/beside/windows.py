"""Both relays up at once, measured in turn: a window is a turn of each, neighbours in time.

The load goes from one to the other with a time to settle. Who is first changes from window to window (ours, before,
before, ours), so that a machine that becomes slower or faster meanwhile does that to both. After some windows both are
started anew: where a process has its memory, and its hash seed, stay with it for as long as it lives, so that a single
pair would have them in each of its ratios.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.load.generator import Calls, Load
from bench.peers import Peer
from bench.process import Cores, Running, running
from bench.result import Figures
from bench.shapes import PER_S, SLACK

CALLS = 100
A_PAIR = 5
"""Windows until both relays are started anew."""
TRIES = 3
"""Times as many windows as are wanted: then the machine is too busy, and what counted has to do."""
STOLEN = 0.05
"""A window in which the host took this part of a core does not count."""
LOST = 0.02
"""Nor one in which this part of the frames did not arrive, or came from before it."""


class NotStarted(RuntimeError):
    """A relay that did not listen, or did not hold its calls; the text is the reason."""


class Pair(NamedTuple):
    """Something of each side."""

    ours: Peer
    before: Peer


class Place(NamedTuple):
    """Where a shape is measured: the model's load, the cores, a folder of its own, the authority under TLS."""

    load: Load
    cores: Cores
    folder: Path
    trust: Path | None


@dataclass(frozen=True, slots=True)
class Window:
    """CPU per frame of each, in µs; a window with a `void` sentence does not count.

    `first` is who had the first turn, `pair` the number of the two processes, `waited` the part of the time in which
    the relay could have run and another process had its core.
    """

    ours_us: float
    before_us: float
    first: str
    pair: int
    waited: float
    void: str | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.void else self.ours_us / self.before_us


async def windows(peers: Pair, place: Place, wanted: int, seconds: float, tell: Callable[[str], None]) -> list[Window]:
    """Until ``wanted`` of them count, or too many did not. Raises NotStarted."""
    taken: list[Window] = []
    pair = 0
    while _left(taken, wanted):
        pair += 1
        # Who starts first changes, too.
        order = peers[:: 1 if pair % 2 else -1]
        sessions = CALLS + SLACK
        where = place.folder / str(pair)
        async with running(order, place.cores, where, place.load.port, place.trust, sessions) as (relays, problems):
            try:
                if problems:
                    raise NotStarted(problems[0])
                sides = {relay.name: _Side(relay, await _calls(place.load, relay)) for relay in relays}
                for _ in range(min(A_PAIR, _left(taken, wanted))):
                    both = [sides[peers.ours.name], sides[peers.before.name]]
                    taken.append(await _window(both, place, seconds, pair, ours_first=_counted(taken) % 2 == 0))
                    tell(_progress(taken, wanted))
            finally:
                # They hold nothing that is worth a drain.
                for relay in relays:
                    if relay.process.returncode is None:
                        relay.process.kill()
    return taken


class _Side(NamedTuple):
    relay: Running
    calls: Calls


def _counted(taken: list[Window]) -> int:
    return sum(each.void is None for each in taken)


def _left(taken: list[Window], wanted: int) -> int:
    """How many windows to take yet."""
    return min(wanted - _counted(taken), wanted * TRIES - len(taken))


def _progress(taken: list[Window], wanted: int) -> str:
    last = taken[-1]
    result = f"void, {last.void}" if last.void else f"ours {last.ours_us:.2f} µs, before {last.before_us:.2f} µs"
    return f"{_counted(taken)} of {wanted} windows: {result}"


async def _calls(load: Load, relay: Running) -> Calls:
    try:
        return await load.call(relay.port, CALLS)
    except OSError as problem:
        raise NotStarted(f"{relay.name} did not take {CALLS} calls ({type(problem).__name__}: {problem})") from problem


async def _window(sides: list[_Side], place: Place, seconds: float, pair: int, *, ours_first: bool) -> Window:
    order = sides if ours_first else sides[::-1]
    turns = {side.relay.name: await _turn(side, place, seconds) for side in order}
    ours, before = (turns[side.relay.name] for side in sides)
    why = (f"{name}: {turn.void}" for name, turn in turns.items() if turn.void)
    waited = (ours.waited + before.waited) / 2
    return Window(ours.cpu_us, before.cpu_us, order[0].relay.name, pair, waited, next(why, None))


class _Turn(NamedTuple):
    cpu_us: float
    waited: float
    void: str | None


class _Moment(NamedTuple):
    at: float
    stolen_s: float
    waited_ns: int


async def _turn(side: _Side, place: Place, seconds: float) -> _Turn:
    relay, calls = side
    moments: list[_Moment] = []

    async def lasting() -> None:
        moments.append(_Moment(time.monotonic(), place.cores.stolen_s(), relay.waited_ns()))
        await asyncio.sleep(seconds)
        moments.append(_Moment(time.monotonic(), place.cores.stolen_s(), relay.waited_ns()))

    over = lasting()
    try:
        figures = await place.load.window(calls.ends, PER_S, over, relay)
    except FileNotFoundError:  # its place in /proc
        raise NotStarted(f"{relay.name} ended while it was measured") from None
    finally:
        over.close()
    if ended := sum(end.closed.done() for end in calls.callers):
        raise NotStarted(f"{relay.name} lost {ended} of its {CALLS} calls while it was measured")
    began, last = moments
    lasted = last.at - began.at
    waited = (last.waited_ns - began.waited_ns) / 1e9 / lasted
    stolen = (last.stolen_s - began.stolen_s) / lasted
    void = figures.void or next(_why_void(figures, stolen, lasted), None)
    return _Turn(figures.cpu_us_per_frame or 0.0, waited, void)


def _why_void(figures: Figures, stolen: float, lasted: float) -> Iterator[str]:
    if stolen > STOLEN:
        yield f"the host took {100 * stolen:.0f} % of a core"
    sent, arrived = 2 * CALLS * PER_S * lasted, figures.frames or 0
    if abs(arrived / sent - 1) > LOST:
        yield f"{arrived:,.0f} frames arrived where {sent:,.0f} were sent"
