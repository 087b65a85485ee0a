"""Time that the machine took away: a hypervisor stops it, others work on it. No relay answers for that time."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

TICK_S = 0.01


class Standstill:
    """``lost_s``: how long this process would have run since this was made, and was not let.

    Its own work is not lost time, whatever it keeps waiting. ``told`` hears of each loss.
    """

    def __init__(self, told: Callable[[float], None]) -> None:
        self.lost_s = 0.0
        self._began = time.monotonic()
        self._told = told
        self._wait()

    @property
    def spent_s(self) -> float:
        """What has passed so far without what was lost: for a bound from above."""
        return time.monotonic() - self._began - self.lost_s

    def _wait(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        lost_s = time.monotonic() - self._wall - (time.process_time() - self._cpu) - TICK_S
        if lost_s > TICK_S:
            self.lost_s += lost_s
            self._told(lost_s)
        self._wait()

    def stop(self) -> None:
        """Counts no longer."""
        self._timer.cancel()


@contextmanager
def standstill(told: Callable[[float], None] = lambda lost_s: None) -> Iterator[Standstill]:
    """Counts what is lost in the block, which runs in an event loop."""
    counting = Standstill(told)
    try:
        yield counting
    finally:
        counting.stop()


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """Raises TimeoutError when the block takes more than ``seconds`` and what was lost meanwhile."""
    async with asyncio.timeout(seconds) as limit:

        def forgive(lost_s: float) -> None:
            when = limit.when()
            assert when is not None
            if not limit.expired():
                limit.reschedule(when + lost_s)

        with standstill(forgive):
            yield
