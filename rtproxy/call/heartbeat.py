"""One timer for every heartbeat and every stalled leg, however many sessions there are.

The wheel has a slot a tick. A session sits in one slot and is beaten once a turn of the wheel, which takes one
heartbeat, so a thousand sessions beat in small groups and an idle replica wakes twice a second.
"""

import asyncio
import math
import time
from typing import Protocol

from rtproxy.wire.slices import in_slices

TICK_MAX_S = 0.5
SLOTS_MIN = 20


class Stalling(Protocol):
    """A leg that bytes wait for (`leg.Leg`)."""

    def undelivered(self) -> tuple[int, ...]:
        """Changes whenever its side reads."""

    def stalled(self) -> None:
        """It took no byte for too long."""


class Beating(Protocol):
    """A call that stands (`splice.Splice`). ``slot`` is the wheel's own."""

    slot: int

    @property
    def legs(self) -> tuple[Stalling, ...]: ...

    def beat(self) -> None:
        """One heartbeat on both legs."""


class Wheel:
    """Beats the calls that are ``add``-ed once every ``heartbeat_s``, and watches legs that do not drain.

    A reader that takes no byte for ``stall_s`` is given up.
    """

    def __init__(self, heartbeat_s: float, stall_s: float) -> None:
        self._stall_s = stall_s
        slots = max(SLOTS_MIN, math.ceil(heartbeat_s / TICK_MAX_S))
        self._tick_s = heartbeat_s / slots
        self._slots: list[set[Beating]] = [set() for _ in range(slots)]
        self._now = 0
        self._full: dict[Stalling, tuple[float, tuple[int, ...]]] = {}

    def add(self, call: Beating) -> None:
        """The first beat comes one whole heartbeat from now."""
        call.slot = (self._now - 1) % len(self._slots)
        self._slots[call.slot].add(call)

    def discard(self, call: Beating) -> None:
        """Forgets a call that ended; its legs too."""
        self._slots[call.slot].discard(call)
        for leg in call.legs:
            self._full.pop(leg, None)

    def watch(self, leg: Stalling) -> None:
        """From now on ``leg`` must take bytes every 30 s, until `unwatch`."""
        self._full[leg] = (time.monotonic(), leg.undelivered())

    def unwatch(self, leg: Stalling) -> None:
        """``leg`` drained."""
        self._full.pop(leg, None)

    async def turn(self) -> None:
        """Turns for ever; to be cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + self._tick_s, loop.time())
            await asyncio.sleep(due - loop.time())
            await in_slices(self._slots[self._now], self._beat)
            self._now = (self._now + 1) % len(self._slots)
            await in_slices(self._full, self._check)

    def _beat(self, call: Beating) -> None:
        if call in self._slots[self._now]:  # it may have ended meanwhile
            call.beat()

    def _check(self, leg: Stalling) -> None:
        if leg not in self._full:
            return
        since, seen = self._full[leg]
        undelivered, now = leg.undelivered(), time.monotonic()
        if undelivered != seen:
            self._full[leg] = (now, undelivered)
        elif now - since >= self._stall_s:
            leg.stalled()
