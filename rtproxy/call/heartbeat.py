"""One timer for every heartbeat and every stalled leg, however many sessions there are.

The wheel has a slot a tick. A session sits in one slot and is beaten once a turn of the wheel, which takes one
heartbeat, so a thousand sessions beat in small groups and an idle replica wakes twice a second.
"""

import asyncio
import math
import time
from typing import TYPE_CHECKING

from rtproxy.wire.slices import in_slices

if TYPE_CHECKING:
    from rtproxy.call.leg import Leg
    from rtproxy.call.splice import Splice

STALL_S = 30.0
"""A reader that takes no byte for this long is given up (design: ended by limit, 1008)."""
TICK_MAX_S = 0.5
SLOTS_MIN = 20


class Wheel:
    """Beats the splices that are ``add``-ed once every ``heartbeat_s`` and watches legs that do not drain."""

    def __init__(self, heartbeat_s: float) -> None:
        slots = max(SLOTS_MIN, math.ceil(heartbeat_s / TICK_MAX_S))
        self._tick_s = heartbeat_s / slots
        self._slots: list[set[Splice]] = [set() for _ in range(slots)]
        self._now = 0
        self._full: dict[Leg, tuple[float, tuple[int, ...]]] = {}

    def add(self, splice: "Splice") -> None:
        """The first beat comes one whole heartbeat from now."""
        splice.slot = (self._now - 1) % len(self._slots)
        self._slots[splice.slot].add(splice)

    def discard(self, splice: "Splice") -> None:
        """Forgets a splice that ended; its legs too."""
        self._slots[splice.slot].discard(splice)
        self._full.pop(splice.client, None)
        self._full.pop(splice.upstream, None)

    def watch(self, leg: "Leg") -> None:
        """From now on ``leg`` must take bytes every 30 s, until `unwatch`."""
        self._full[leg] = (time.monotonic(), leg.untaken())

    def unwatch(self, leg: "Leg") -> None:
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

    def _beat(self, splice: "Splice") -> None:
        if splice in self._slots[self._now]:  # it may have ended meanwhile
            splice.beat()

    def _check(self, leg: "Leg") -> None:
        if leg not in self._full:
            return
        since, seen = self._full[leg]
        untaken, now = leg.untaken(), time.monotonic()
        if untaken != seen:
            self._full[leg] = (now, untaken)
        elif now - since >= STALL_S:
            leg.splice.stalled(leg)
