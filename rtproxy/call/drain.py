"""From SIGTERM to exit: refuse new calls, close each call at a quiet moment, and end the rest at one deadline.

The phases, all inside RTPROXY_DRAIN_SECONDS, which is less than the platform's grace period:

    from    to
    0       lame    calls are still admitted: a balancer learns late that this replica is not ready
    lame    turns   quiet calls close one by one, evenly spread
    turns   late    only calls in a turn are left, and have this time to end it
    late    cut     the calls that are left are closed in their turn, and the answers to the last Closes are awaited
    cut     end     connections whose side has not answered are closed

At any time a call closes when its turn ends: the response is complete, and nobody speaks.
"""

import asyncio
import time
from typing import Protocol

from rtproxy.call.roster import Roster
from rtproxy.call.session import Session
from rtproxy.log import Log

LAME_S = 3.0
LAME_SHARE = 0.25
"""Upgrades are accepted for the first 3 s, but for at most a quarter of the window."""
TURN_S = 15.0
TURN_SHARE = 0.3
"""The time from the last quiet call's end to the deadline. A turn that began while its call waited may take this
long.
"""
CLOSING_S = 2.0
CLOSING_SHARE = 0.2
"""The time that is reserved for the Closes at the deadline."""
CUT_SHARE = 0.25
"""The part of that time for sides that do not answer, so that their calls have a summary, too."""
PROGRESS_S = 1.0


class Door(Protocol):
    """The part of the relay that admits calls (`admission.Admission`)."""

    def drain(self) -> None:
        """Still admits calls, because a balancer learns late; readiness and status report the drain."""

    def shut(self) -> None:
        """From now on refuses every call."""


async def drain(roster: Roster, door: Door, log: Log, window_s: float) -> None:
    """Ends all sessions. Returns when none is left, at most ``window_s`` seconds later."""
    started = time.monotonic()
    lame_s = min(LAME_S, window_s * LAME_SHARE)
    end_s = min(CLOSING_S, window_s * CLOSING_SHARE)
    answer_until_s, cut_s = window_s - end_s, window_s - end_s * CUT_SHARE
    log("drain.started", sessions=len(roster), quiet=roster.quiet, window_s=window_s)
    reporting = asyncio.create_task(_report(roster, log, started))
    try:
        # 1. The replica is not ready any more. From now on the end of a turn is the end of its call.
        door.drain()
        await roster.for_each(Session.retire_after_turn)
        await asyncio.sleep(lame_s)
        # 2. New calls are refused. Quiet calls close, one by one.
        door.shut()
        await roster.for_each(Session.retire_after_turn)
        closing_s = answer_until_s - lame_s
        await _retire_spread(roster, closing_s - min(TURN_S, closing_s * TURN_SHARE))
        await roster.wait_until_empty(started + answer_until_s - time.monotonic())
        # 3. The rest close, even inside a turn.
        await roster.for_each(Session.close)
        await roster.wait_until_empty(started + cut_s - time.monotonic())
        # 4. The sides that do not answer.
        left = not await cut(roster, door, started + window_s - time.monotonic())
    finally:
        reporting.cancel()
    log("drain.completed", sessions=len(roster) if left else 0, duration_s=round(time.monotonic() - started, 3))


async def cut(roster: Roster, door: Door, within_s: float) -> bool:
    """Ends what is left without waiting for answers, then without waiting for readers.

    Returns whether all calls ended.
    """
    door.shut()
    for _ in range(2):
        await roster.for_each(Session.cut)
        emptied = await roster.wait_until_empty(within_s / 2)
    return emptied


async def _retire_spread(roster: Roster, span_s: float) -> None:
    """Retires the quiet sessions, oldest first, evenly over ``span_s`` seconds."""
    waiting = sorted((session for session in roster.sessions if session.quiet), key=lambda session: session.started)
    begun, gap_s = time.monotonic(), span_s / max(1, len(waiting))
    for number, session in enumerate(waiting, 1):
        session.retire()
        # Measured from the begin: a busy loop is late for each of a thousand gaps, and the delays would add up.
        wait_s = begun + number * gap_s - time.monotonic()
        if wait_s > 0 and await roster.wait_until_empty(wait_s):
            return


async def _report(roster: Roster, log: Log, started: float) -> None:
    while True:
        await asyncio.sleep(PROGRESS_S)
        elapsed = round(time.monotonic() - started, 3)
        log("drain.progress", sessions=len(roster), quiet=roster.quiet, elapsed_s=elapsed)
