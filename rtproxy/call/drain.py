"""SIGTERM to exit: stop admitting, close each call at a quiet moment, one deadline.

The budget, all inside RTPROXY_DRAIN_SECONDS, which is less than the platform's grace period:

    0        lame   calls are still admitted: a balancer learns late that this replica is not ready
    lame     turns  quiet calls close one by one, evenly spread
    turns    late   only calls in a turn are left, and have the time to end it
    late     cut    what is left is closed in its turn, and the last Closes are answered
    cut      end    who has not answered by now is hung up on

At any time a call whose turn ends closes there: its answer is being listened to, and nobody speaks.
"""

import asyncio
import time
from typing import Protocol

from rtproxy.call.roster import Roster
from rtproxy.call.session import Session
from rtproxy.log import Log

LAME_S = 3.0
LAME_SHARE = 0.25
"""Upgrades are accepted for the first 3 s, at most a quarter of the window."""
TURN_S = 15.0
TURN_SHARE = 0.3
"""From the last quiet call's end to the deadline: a turn that began while its call waited may take this long."""
CLOSING_S = 2.0
CLOSING_SHARE = 0.2
"""What is kept for the Closes at the deadline."""
CUT_SHARE = 0.25
"""What of that is kept for those who answer none, so that their calls have a summary, too."""
PROGRESS_S = 1.0


class Door(Protocol):
    """Where calls come in (`admission.Admission`)."""

    def drain(self) -> None:
        """Calls are still let in, because a balancer learns late; whoever asks is told that the replica drains."""

    def shut(self) -> None:
        """From now on every call is refused."""


async def drain(roster: Roster, door: Door, log: Log, window_s: float) -> None:
    """Returns when no session is left, at most ``window_s`` seconds later."""
    started = time.monotonic()
    lame_s = min(LAME_S, window_s * LAME_SHARE)
    end_s = min(CLOSING_S, window_s * CLOSING_SHARE)
    late_s, cut_s = window_s - end_s, window_s - end_s * CUT_SHARE
    log("drain.started", sessions=len(roster), quiet=roster.quiet, window_s=window_s)
    reporting = asyncio.create_task(_report(roster, log, started))
    try:
        # 1. Not ready any more; from now on the end of a turn is the end of its call.
        door.drain()
        await roster.each(Session.retire_after_turn)
        await asyncio.sleep(lame_s)
        # 2. Nobody comes in; who is quiet closes, one by one.
        door.shut()
        await roster.each(Session.retire_after_turn)
        closing_s = late_s - lame_s
        await _retire_spread(roster, closing_s - min(TURN_S, closing_s * TURN_SHARE))
        await roster.emptied(started + late_s - time.monotonic())
        # 3. The rest, wherever their turn is.
        await roster.each(Session.close)
        await roster.emptied(started + cut_s - time.monotonic())
        # 4. Who does not answer.
        left = not await cut(roster, door, started + window_s - time.monotonic())
    finally:
        reporting.cancel()
    log("drain.completed", sessions=len(roster) if left else 0, duration_s=round(time.monotonic() - started, 3))


async def cut(roster: Roster, door: Door, within_s: float) -> bool:
    """Ends what is left without waiting for answers, then without waiting for readers; says whether all ended."""
    door.shut()
    for _ in range(2):
        await roster.each(Session.cut)
        emptied = await roster.emptied(within_s / 2)
    return emptied


async def _retire_spread(roster: Roster, span_s: float) -> None:
    """Retires the quiet sessions in the order they came, evenly over ``span_s`` seconds."""
    waiting = sorted((session for session in roster.sessions if session.quiet), key=lambda session: session.started)
    begun, gap_s = time.monotonic(), span_s / max(1, len(waiting))
    for number, session in enumerate(waiting, 1):
        session.retire()
        # By the clock: a busy loop is late for each of a thousand gaps.
        wait_s = begun + number * gap_s - time.monotonic()
        if wait_s > 0 and await roster.emptied(wait_s):
            return


async def _report(roster: Roster, log: Log, started: float) -> None:
    while True:
        await asyncio.sleep(PROGRESS_S)
        elapsed = round(time.monotonic() - started, 3)
        log("drain.progress", sessions=len(roster), quiet=roster.quiet, elapsed_s=elapsed)
