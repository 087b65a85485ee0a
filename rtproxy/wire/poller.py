"""Which sockets of the calls can be read or written: one epoll for all of them.

A uvloop transport supports any protocol, and its work around each read and write costs as much as a whole frame should.
Here a frame is one ``recv``, one walk over its header and one ``send``. uvloop does everything else, and watches this
epoll.

One round asks the epoll until it has no more events, and lasts one slice at most; the rest follows in the loop's next
round. Events are handled first. A socket whose frames cost more than their bytes is deferred: it is read when there are
no events, so that it waits for other sockets, and they do not wait for it.
"""

import asyncio
import select
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from rtproxy.wire.slices import SLICE_S, Soon

READABLE: Final = select.EPOLLIN
WRITABLE: Final = select.EPOLLOUT
ENDING: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
BROKEN: Final = select.EPOLLERR
# Edge triggered: epoll reports each change once, so that no socket is looked at twice (epoll(7)).
_EVENTS: Final = READABLE | WRITABLE | select.EPOLLRDHUP | select.EPOLLET
_BATCH: Final = 64
BRIEFLY_S: Final = 0.01

Failed = Callable[[Exception], None]


class Owner(Protocol):
    """Owns a socket. It is one object and not two callables, whose memory would double what a call needs here."""

    def ready(self, events: int) -> None:
        """Receives a mask of epoll(7) events. Each event is reported once."""

    def failed(self, defect: Exception) -> None:
        """Receives an exception that `ready` raised."""


class Watcher(Protocol):
    """The methods of `Poller` that a call needs."""

    def add(self, fileno: int, owner: Owner) -> None: ...

    def discard(self, fileno: int) -> None: ...

    def rearm(self, fileno: int) -> None: ...

    def defer(self, go: Callable[[], None], failed: Failed) -> None: ...

    def defer_briefly(self, go: Callable[[], None], failed: Failed) -> None: ...

    @property
    def soon(self) -> Callable[[Callable[[], object]], None]: ...


class Poller:
    """Calls the owners of sockets that have events, one after the other, in the event loop in which it was created.

    Sockets may be added and discarded at any time. ``soon`` calls functions in the next rounds of the loop, one slice
    in each.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._owners: dict[int, Owner] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll.fileno(), self._poll_round)
        self._deferred: deque[tuple[Callable[[], None], Failed]] = deque()
        self._deferred_briefly: list[tuple[Callable[[], None], Failed]] = []
        self._busy = False
        self._next_round: asyncio.Handle | None = None
        self.soon = Soon(self._loop)

    def close(self) -> None:
        """Watches no socket any more."""
        self._loop.remove_reader(self._epoll.fileno())
        if self._next_round is not None:
            self._next_round.cancel()
        self._epoll.close()

    def add(self, fileno: int, owner: Owner) -> None:
        """Watches a socket. What can be read from it already is reported, too."""
        self._owners[fileno] = owner
        self._epoll.register(fileno, _EVENTS)

    def discard(self, fileno: int) -> None:
        """Stops watching a socket, which is about to be closed."""
        del self._owners[fileno]
        if not self._epoll.closed:
            self._epoll.unregister(fileno)

    def rearm(self, fileno: int) -> None:
        """Reports events of a socket again that were reported and not handled."""
        self._epoll.modify(fileno, _EVENTS)

    def defer(self, go: Callable[[], None], failed: Failed) -> None:
        """Calls ``go`` once, when there are no events, or else one such function a round.

        ``failed`` receives an exception that it raised.
        """
        self._deferred.append((go, failed))
        self._schedule_round()

    def defer_briefly(self, go: Callable[[], None], failed: Failed) -> None:
        """As `defer`, but BRIEFLY_S later while the loop is busy, so that small pieces are read together."""
        if not self._busy:
            self.defer(go, failed)
            return
        if not self._deferred_briefly:
            self._loop.call_later(BRIEFLY_S, self._end_brief_delay)
        self._deferred_briefly.append((go, failed))

    def _end_brief_delay(self) -> None:
        self._deferred.extend(self._deferred_briefly)
        self._deferred_briefly.clear()
        self._schedule_round()

    def _schedule_round(self) -> None:
        if self._next_round is None and not self._epoll.closed:
            self._next_round = self._loop.call_soon(self._round_with_deferred)

    def _round_with_deferred(self) -> None:
        """A round that includes the deferred functions."""
        self._next_round = None
        until = time.monotonic() + SLICE_S
        self._poll_round(until)
        while self._deferred:
            go, failed = self._deferred.popleft()
            try:
                go()
            except Exception as defect:  # noqa: BLE001 - as in _poll_round
                failed(defect)
            if time.monotonic() > until:
                self._busy = True
                break
            self._poll_round(until)
        if self._deferred:
            self._schedule_round()

    def _poll_round(self, until: float = 0.0) -> None:
        if self._next_round is not None and not until:  # a round is already scheduled
            return
        poll, owner_of, now = self._epoll.poll, self._owners.get, time.monotonic
        until = until or now() + SLICE_S
        while news := poll(0, _BATCH):
            for fileno, events in news:
                owner = owner_of(fileno)
                if owner is not None:
                    try:
                        owner.ready(events)
                    except Exception as defect:  # noqa: BLE001 - a defect ends this call, and no other
                        owner.failed(defect)
                if now() > until:
                    self._busy = True
                    for left, _ in news[news.index((fileno, events)) + 1 :]:
                        if left in self._owners:
                            self.rearm(left)
                    return
        self._busy = False
