"""Limits the cost of small frames. It does no I/O and has no clock of its own.

A read costs about the same whatever its size, and so does a frame. A side that sends empty frames, or segments of one
byte, therefore causes a hundred times the work for each byte. Each read and each frame costs one unit, less one unit
for every BYTES_PER_UNIT bytes: audio costs nothing, a short event two units, and a flood one unit for every few bytes.
Units are counted, time is not measured: a time would also include what the machine did meanwhile, and to read the CPU
time of this thread costs as much as a small frame.
"""

from typing import Final, NamedTuple

BYTES_PER_UNIT: Final = 64
"""Bytes that pay for one unit: a transcript delta, of some 150 bytes, pays for its own frame and its own read."""


class Allowance(NamedTuple):
    """The units that one side may spend. Tests pass in lower values."""

    free_units_per_s: float = 50.0
    free_units: float = 50.0
    """A side has low priority when it spent this many units more than ``free_units_per_s`` allows: its bytes are read
    when no other socket has anything to read. This has no effect while there is time for all sockets. When a thousand
    calls need more time than there is, only the expensive ones wait."""
    units_per_s: float = 1000.0
    """This many units come back each second. No normal client needs more: audio in frames of 10 ms is 100 frames a
    second."""
    units_limit: float = 3000.0
    """The units that a side may spend at once."""
    pause_s: float = 0.25
    """A side that has spent all its units is not read for this long, rather than only until the next unit comes
    back.
    """
    flood_s: float = 10.0
    """A side that continues for this long after it has spent all its units, and never lets half of them come back, is a
    flood."""


class Credit:
    """The account of one side.

    ``low_priority``: read it after the others. ``flood``: end its call. ``wait_s``: do not read it for this long.
    """

    __slots__ = ("_allowance", "_at", "_left", "_recent", "_spent_since", "flood", "low_priority", "wait_s")

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._left = allowance.units_limit
        self._recent = self._at = 0.0
        self._spent_since: float | None = None
        self.low_priority = self.flood = False
        self.wait_s = 0.0

    def spend(self, units: int, now: float) -> None:
        """Subtracts ``units`` at the monotonic time ``now``."""
        allowance = self._allowance
        elapsed_s, self._at = now - self._at, now
        decayed = max(0.0, self._recent - elapsed_s * allowance.free_units_per_s)
        self._recent = min(4 * allowance.free_units, decayed + units)
        self.low_priority = self._recent > allowance.free_units
        self._left = min(allowance.units_limit, self._left + elapsed_s * allowance.units_per_s)
        if self._left >= allowance.units_limit / 2:
            self._spent_since = None
        self._left -= units
        self.wait_s = 0.0
        if self._left <= 0:
            if self._spent_since is None:
                self._spent_since = now
            self.wait_s = allowance.pause_s - self._left / allowance.units_per_s
            self.flood = now - self._spent_since >= allowance.flood_s
