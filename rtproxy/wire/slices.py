"""Work for many calls at once, in slices: between two of them the loop serves everybody else.

A thousand calls that end at once, or are told to, would otherwise hold up frames, probes and timers for all of it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

SLICE_S = 0.002
"""Nothing may hold everything else up for longer than about this."""

T = TypeVar("T")


async def in_slices(things: Iterable[T], do: Callable[[T], object]) -> None:
    """Does something with each of ``things``; those that are there now, however they change meanwhile."""
    until = time.monotonic() + SLICE_S
    for thing in tuple(things):
        do(thing)
        if time.monotonic() > until:
            await asyncio.sleep(0)
            until = time.monotonic() + SLICE_S


class Soon:
    """Calls what it is given in the next rounds of the loop, in order, a slice in each."""

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
            except Exception as defect:  # noqa: BLE001 - it costs nobody else anything
                self._loop.call_exception_handler({"message": f"{do!r} failed", "exception": defect})
            if time.monotonic() > until:
                break
        if self._waiting:
            self._loop.call_soon(self._go_on)
