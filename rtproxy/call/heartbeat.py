"""One timer for all heartbeats, and for all legs that do not drain, however many sessions there are.

The wheel has one slot for each tick. A session is in one slot, and gets one heartbeat each time the wheel has turned
once. A thousand sessions are therefore handled in small groups, and an idle replica wakes twice a second.
"""

import asyncio
import math
import time
from typing import Protocol

from rtproxy.wire.slices import in_slices

TICK_MAX_S = 0.5
SLOTS_MIN = 20


class WatchedLeg(Protocol):
    """A leg with bytes that wait to be sent (`leg.Leg`)."""

    def undelivered(self) -> tuple[int, ...]:
        """Changes whenever the side reads."""

    def stalled(self) -> None:
        """The side read nothing for too long."""


class WatchedCall(Protocol):
    """An established call (`splice.Splice`). The wheel sets ``slot``."""

    slot: int

    @property
    def legs(self) -> tuple[WatchedLeg, ...]: ...

    def beat(self) -> None:
        """Does one heartbeat on both legs."""


class Wheel:
    """Calls `beat` of each added call once every ``heartbeat_s``, and watches legs that do not drain.

    A leg whose side reads nothing for ``stall_s`` is stalled.
    """

    def __init__(self, heartbeat_s: float, stall_s: float) -> None:
        self._stall_s = stall_s
        slots = max(SLOTS_MIN, math.ceil(heartbeat_s / TICK_MAX_S))
        self._tick_s = heartbeat_s / slots
        self._slots: list[set[WatchedCall]] = [set() for _ in range(slots)]
        self._now = 0
        self._undrained: dict[WatchedLeg, tuple[float, tuple[int, ...]]] = {}

    def add(self, call: WatchedCall) -> None:
        """Adds a call. Its first heartbeat comes after one whole interval."""
        call.slot = (self._now - 1) % len(self._slots)
        self._slots[call.slot].add(call)

    def discard(self, call: WatchedCall) -> None:
        """Removes a call that ended, and its legs."""
        self._slots[call.slot].discard(call)
        for leg in call.legs:
            self._undrained.pop(leg, None)

    def watch(self, leg: WatchedLeg) -> None:
        """From now on the side of ``leg`` must read something every ``stall_s`` seconds, until `unwatch`."""
        self._undrained[leg] = (time.monotonic(), leg.undelivered())

    def unwatch(self, leg: WatchedLeg) -> None:
        """All bytes for ``leg`` are sent."""
        self._undrained.pop(leg, None)

    async def run(self) -> None:
        """Turns the wheel until it is cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + self._tick_s, loop.time())
            await asyncio.sleep(due - loop.time())
            await in_slices(self._slots[self._now], self._beat)
            self._now = (self._now + 1) % len(self._slots)
            await in_slices(self._undrained, self._check)

    def _beat(self, call: WatchedCall) -> None:
        if call in self._slots[self._now]:  # the call may have ended in the meantime
            call.beat()

    def _check(self, leg: WatchedLeg) -> None:
        if leg not in self._undrained:
            return
        since, seen = self._undrained[leg]
        undelivered, now = leg.undelivered(), time.monotonic()
        if undelivered != seen:
            self._undrained[leg] = (now, undelivered)
        elif now - since >= self._stall_s:
            leg.stalled()
