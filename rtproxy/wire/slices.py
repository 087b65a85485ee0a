"""Work for many calls in short slices. Between two slices the loop serves everything else.

Otherwise a thousand calls that end at once would delay frames, probes and timers until all of them were handled.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

SLICE_S: Final = 0.002
"""No work may block the loop for longer than about this."""

T = TypeVar("T")


async def in_slices(things: Iterable[T], do: Callable[[T], object]) -> None:
    """Calls ``do`` with each of ``things``; with those that exist now, even if the collection changes meanwhile."""
    until = time.monotonic() + SLICE_S
    for thing in tuple(things):
        do(thing)
        if time.monotonic() > until:
            await asyncio.sleep(0)
            until = time.monotonic() + SLICE_S


class Soon:
    """Calls functions in the next rounds of the loop, in order, for one slice in each round."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Callable[[], object]] = deque()

    def __call__(self, do: Callable[[], object]) -> None:
        if not self._waiting:
            self._loop.call_soon(self._go_on)
        self._waiting.append(do)

    def _go_on(self) -> None:
        until = time.monotonic() + SLICE_S
        for _ in range(len(self._waiting)):
            do = self._waiting.popleft()
            try:
                do()
            except Exception as defect:  # noqa: BLE001 - a defect must not stop the other functions
                self._loop.call_exception_handler({"message": f"{do!r} failed", "exception": defect})
            if time.monotonic() > until:
                break
        if self._waiting:
            self._loop.call_soon(self._go_on)
