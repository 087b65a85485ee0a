"""What the small frames of one side may cost. No I/O, no clock of its own.

A read, and a frame, cost about the same whatever is in them: a side that cuts its bytes into frames of no length, or
into segments of one byte, gets a hundred times the work for each. It pays a unit for each read and each frame, less one
for every WORTH bytes: audio pays nothing, a short event two, a flood one for every few bytes. It is counted, not timed:
a clock would blame a side for what the machine did meanwhile, and asking one for the time of this thread costs as much
as a small frame.
"""

from typing import NamedTuple

WORTH = 64
"""Bytes that pay for a unit: a delta of a transcript, of some 150 bytes, pays for its own frame and read."""


class Allowance(NamedTuple):
    """What a side may spend; tests hand in less."""

    behind_a_s: float = 50.0
    behind: float = 50.0
    """Whoever spent that many more than ``behind_a_s`` in each second comes when nobody else has news. Where there is
    time for all, nobody notices; where a thousand calls are a little too dear, it is they that wait."""
    units_a_s: float = 1000.0
    """So many come back. Nobody speaks that often: audio in frames of 10 ms is 100 a second."""
    units_at_most: float = 3000.0
    """And so many may be spent at once."""
    pause_s: float = 0.25
    """Whoever has spent all waits until so much has come back, rather than for the next unit."""
    flood_s: float = 10.0
    """Whoever goes on for this long after it spent all, without ever letting half of it come back, is a flood."""


class Credit:
    """``behind``: others go first. ``flood``: it does not stop. ``wait_s``: not to be read for that long."""

    __slots__ = ("_allowance", "_at", "_lately", "_left", "_spent_since", "behind", "flood", "wait_s")

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._left = allowance.units_at_most
        self._lately = self._at = 0.0
        self._spent_since: float | None = None
        self.behind = self.flood = False
        self.wait_s = 0.0

    def spend(self, units: int, now: float) -> None:
        """Takes ``units`` at the monotonic time ``now``."""
        allowance = self._allowance
        passed_s, self._at = now - self._at, now
        ebbed = max(0.0, self._lately - passed_s * allowance.behind_a_s)
        self._lately = min(4 * allowance.behind, ebbed + units)
        self.behind = self._lately > allowance.behind
        self._left = min(allowance.units_at_most, self._left + passed_s * allowance.units_a_s)
        if self._left >= allowance.units_at_most / 2:
            self._spent_since = None
        self._left -= units
        self.wait_s = 0.0
        if self._left <= 0:
            if self._spent_since is None:
                self._spent_since = now
            self.wait_s = allowance.pause_s - self._left / allowance.units_a_s
            self.flood = now - self._spent_since >= allowance.flood_s
