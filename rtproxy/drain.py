"""SIGTERM to exit: stop admitting, close each call at a quiet moment, one deadline.

The budget, all inside RTPROXY_DRAIN_SECONDS, which is less than the platform's grace period:

    0        lame   calls are still admitted: a balancer learns late that this replica is not ready
    lame     late   quiet calls close one by one, evenly spread; a call in a turn closes when its turn ends
    late     end    what is left is closed in its turn, and the last Closes are answered
"""

import asyncio
import time

from rtproxy.admission import Admission, Door
from rtproxy.events import Log
from rtproxy.live import Live

LAME_S = 3.0
LAME_SHARE = 0.25
"""Upgrades are accepted for the first 3 s, at most a quarter of the window."""
CLOSING_S = 2.0
CLOSING_SHARE = 0.2
"""What is kept for the Closes at the deadline."""
PROGRESS_S = 1.0


async def drain(live: Live, admission: Admission, log: Log, window_s: float) -> None:
    """Returns when no session is left, at most ``window_s`` seconds later."""
    started = time.monotonic()
    lame_s = min(LAME_S, window_s * LAME_SHARE)
    late_s = window_s - min(CLOSING_S, window_s * CLOSING_SHARE)
    log("drain.started", sessions=len(live), quiet=live.quiet, window_s=window_s)
    reporting = asyncio.create_task(_report(live, log, started))
    try:
        # 1. Not ready any more; who is in a turn closes when it ends.
        admission.door = Door.DRAINING
        for session in tuple(live.sessions):
            if not session.quiet:
                session.retire()
        await asyncio.sleep(lame_s)
        # 2. Nobody comes in; who is quiet closes, one by one.
        admission.door = Door.SHUT
        await _retire_spread(live, late_s - lame_s)
        await live.emptied(started + late_s - time.monotonic())
        # 3. The rest, wherever their turn is.
        for session in tuple(live.sessions):
            session.close()
        left = not await live.emptied(started + window_s - time.monotonic())
    finally:
        reporting.cancel()
    log("drain.completed", sessions=len(live) if left else 0, duration_s=round(time.monotonic() - started, 3))


async def _retire_spread(live: Live, span_s: float) -> None:
    """Retires every session, the quiet ones first in the order they came, evenly over ``span_s`` seconds."""
    waiting = sorted(live.sessions, key=lambda session: (not session.quiet, session.started))
    gap_s = span_s / max(1, len(waiting))
    for session in waiting:
        session.retire()
        if await live.emptied(gap_s):
            return


async def _report(live: Live, log: Log, started: float) -> None:
    while True:
        await asyncio.sleep(PROGRESS_S)
        elapsed = round(time.monotonic() - started, 3)
        log("drain.progress", sessions=len(live), quiet=live.quiet, elapsed_s=elapsed)
