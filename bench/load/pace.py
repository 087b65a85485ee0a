"""When each end speaks: every 20 ms, its own moment in them, and how late the load itself was."""

import asyncio
import time
from collections.abc import Sequence

from bench.load.end import End

SLOT_S = 0.001
"""The event loop's timers are no finer."""


class Pace:
    """Lets each of ``ends`` speak ``per_s`` times a second; ``lags_us`` is how late each millisecond was."""

    def __init__(self, ends: Sequence[End], per_s: float) -> None:
        slots = round(1 / (per_s * SLOT_S))
        self._slots = [ends[i::slots] for i in range(slots)]
        self.lags_us: list[float] = []

    async def run(self) -> None:
        """For ever; to be cancelled."""
        due = time.monotonic()
        while True:
            for slot in self._slots:
                due += SLOT_S
                wait = due - time.monotonic()
                # Late, it gives way all the same: else a machine that is too slow would never get to the window's end.
                await asyncio.sleep(max(wait, 0))
                self.lags_us.append((time.monotonic() - due) * 1e6)
                for end in slot:
                    end.speak()
