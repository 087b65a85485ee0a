"""Which spliced sockets have news: one epoll for all of them, asked again until it has none, in one go of the loop.

A transport of uvloop is made for any protocol: what it does around each read and each write costs as much as a frame
should. Here a frame is one ``recv``, one walk and one ``send``. uvloop keeps everything else, and watches this epoll.
"""

import asyncio
import select
import time
from collections.abc import Callable

READABLE, WRITABLE = select.EPOLLIN, select.EPOLLOUT
ENDING = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
BROKEN = select.EPOLLERR
# Edge triggered: a socket is reported once for what is new, so nothing is looked at twice (epoll(7)).
_EVENTS = READABLE | WRITABLE | select.EPOLLRDHUP | select.EPOLLET
_BATCH = 64
TURN_S = 0.002
"""Frames that keep coming may hold everything else up for this long: timers, handshakes, signals."""


class Poller:
    """Tells the owners of sockets, one after the other, in the loop it was made in. They may come and go meanwhile."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._owners: dict[int, tuple[Callable[[int], None], Callable[[Exception], None]]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll.fileno(), self._turn)

    def close(self) -> None:
        """Watches nothing any more."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def add(self, fileno: int, ready: Callable[[int], None], failed: Callable[[Exception], None]) -> None:
        """Watches a socket; what it has by now is news, too.

        ``ready`` gets a mask of epoll(7)'s events, and what they announce is not announced again. ``failed`` gets what
        ``ready`` raised.
        """
        self._owners[fileno] = ready, failed
        self._epoll.register(fileno, _EVENTS)

    def discard(self, fileno: int) -> None:
        """Forgets a socket, which is about to be closed."""
        del self._owners[fileno]
        if not self._epoll.closed:
            self._epoll.unregister(fileno)

    def again(self, fileno: int) -> None:
        """What was announced of a socket and not dealt with is announced once more."""
        self._epoll.modify(fileno, _EVENTS)

    def _turn(self) -> None:
        poll, owner_of = self._epoll.poll, self._owners.get
        until = time.monotonic() + TURN_S
        while news := poll(0, _BATCH):
            for fileno, events in news:
                owner = owner_of(fileno)
                if owner is not None:
                    ready, failed = owner
                    try:
                        ready(events)
                    except Exception as defect:  # noqa: BLE001 - it costs this call and no other
                        failed(defect)
            if time.monotonic() > until:
                return
