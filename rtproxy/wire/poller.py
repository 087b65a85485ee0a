"""Which spliced sockets have news: one epoll for all of them, asked again until it has none, in one go of the loop.

A transport of uvloop is made for any protocol: what it does around each read and each write costs as much as a frame
should. Here a frame is one ``recv``, one walk and one ``send``. uvloop keeps everything else, and watches this epoll.

A turn lasts one slice, whatever is to be done; the rest follows in the loop's next round. News go first. A socket whose
frames cost more than their bytes is put off instead, and comes when there are no news, so that it waits for others and
others do not wait for it.
"""

import asyncio
import select
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from rtproxy.wire.slices import SLICE_S, Soon

READABLE, WRITABLE = select.EPOLLIN, select.EPOLLOUT
ENDING = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
BROKEN = select.EPOLLERR
# Edge triggered: a socket is reported once for what is new, so nothing is looked at twice (epoll(7)).
_EVENTS = READABLE | WRITABLE | select.EPOLLRDHUP | select.EPOLLET
_BATCH = 64
MOMENT_S = 0.01

Failed = Callable[[Exception], None]


class Owner(Protocol):
    """Whose socket it is. An object, and no two callables: they would cost a call as much as all else here."""

    def ready(self, events: int) -> None:
        """Gets a mask of epoll(7)'s events, and what they announce is not announced again."""

    def failed(self, defect: Exception) -> None:
        """Gets what `ready` raised."""


class Watcher(Protocol):
    """What a call needs of a `Poller`."""

    def add(self, fileno: int, owner: Owner) -> None: ...

    def discard(self, fileno: int) -> None: ...

    def again(self, fileno: int) -> None: ...

    def put_off(self, go: Callable[[], None], failed: Failed) -> None: ...

    def put_off_a_moment(self, go: Callable[[], None], failed: Failed) -> None: ...

    @property
    def soon(self) -> Callable[[Callable[[], object]], None]: ...


class Poller:
    """Tells the owners of sockets, one after the other, in the loop it was made in. They may come and go meanwhile.

    ``soon`` calls what it is given in the loop's next rounds, a slice in each.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._owners: dict[int, Owner] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll.fileno(), self._turn)
        self._late: deque[tuple[Callable[[], None], Failed]] = deque()
        self._in_a_moment: list[tuple[Callable[[], None], Failed]] = []
        self._busy = False
        self._next_turn: asyncio.Handle | None = None
        self.soon = Soon(self._loop)

    def close(self) -> None:
        """Watches nothing any more."""
        self._loop.remove_reader(self._epoll.fileno())
        if self._next_turn is not None:
            self._next_turn.cancel()
        self._epoll.close()

    def add(self, fileno: int, owner: Owner) -> None:
        """Watches a socket; what it has by now is news, too."""
        self._owners[fileno] = owner
        self._epoll.register(fileno, _EVENTS)

    def discard(self, fileno: int) -> None:
        """Forgets a socket, which is about to be closed."""
        del self._owners[fileno]
        if not self._epoll.closed:
            self._epoll.unregister(fileno)

    def again(self, fileno: int) -> None:
        """What was announced of a socket and not dealt with is announced once more."""
        self._epoll.modify(fileno, _EVENTS)

    def put_off(self, go: Callable[[], None], failed: Failed) -> None:
        """Calls ``go`` once, when there are no news, and else one in each turn. ``failed`` gets what it raised."""
        self._late.append((go, failed))
        self._turn_again()

    def put_off_a_moment(self, go: Callable[[], None], failed: Failed) -> None:
        """As `put_off`, but MOMENT_S later where there is more to do than time: small pieces that come become one."""
        if not self._busy:
            self.put_off(go, failed)
            return
        if not self._in_a_moment:
            self._loop.call_later(MOMENT_S, self._moment_is_over)
        self._in_a_moment.append((go, failed))

    def _moment_is_over(self) -> None:
        self._late.extend(self._in_a_moment)
        self._in_a_moment.clear()
        self._turn_again()

    def _turn_again(self) -> None:
        if self._next_turn is None and not self._epoll.closed:
            self._next_turn = self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """A turn with what was put off."""
        self._next_turn = None
        until = time.monotonic() + SLICE_S
        self._turn(until)
        while self._late:
            go, failed = self._late.popleft()
            try:
                go()
            except Exception as defect:  # noqa: BLE001 - as below
                failed(defect)
            if time.monotonic() > until:
                self._busy = True
                break
            self._turn(until)
        if self._late:
            self._turn_again()

    def _turn(self, until: float = 0.0) -> None:
        if self._next_turn is not None and not until:  # it comes in this round anyway
            return
        poll, owner_of, now = self._epoll.poll, self._owners.get, time.monotonic
        until = until or now() + SLICE_S
        while news := poll(0, _BATCH):
            for fileno, events in news:
                owner = owner_of(fileno)
                if owner is not None:
                    try:
                        owner.ready(events)
                    except Exception as defect:  # noqa: BLE001 - it costs this call and no other
                        owner.failed(defect)
                if now() > until:
                    self._busy = True
                    for left, _ in news[news.index((fileno, events)) + 1 :]:
                        if left in self._owners:
                            self.again(left)
                    return
        self._busy = False
