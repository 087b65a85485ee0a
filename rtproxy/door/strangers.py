"""Connections before their 101: limits how many there are at once, and how many bytes they may hold together.

None of their clients has been admitted. When a limit is reached, the connection that has waited longest is closed, to
make room for the new one. The connection of an admitted call is none of them.
"""

import resource
import select
from typing import Protocol

from aiohttp import web

from rtproxy.door.limits import Calls

MOST = 2048
"""The most connections. Each takes some 9 KiB, in whatever state it is."""
LEAST = 8
"""So many connections are always allowed, even if few descriptors are left."""
BYTES = 4 * 1024 * 1024
"""The most bytes that all of them together may have sent and that are not answered yet."""
OWN_DESCRIPTORS = 64
"""Descriptors of the relay itself: its port and epolls, its connections to the issuer, the token endpoint and a
collector."""


class Stranger(Protocol):
    """A connection before its 101, as `Strangers` uses it. Two are equal only if they are the same object."""

    @property
    def fileno(self) -> int:
        """Its descriptor; -1 when it has none any more."""

    @property
    def idle(self) -> bool:
        """Whether it is between two requests."""

    def hang_up(self) -> None:
        """Closes it at once, whatever was not sent yet. `Strangers.remove` follows."""


class Strangers:
    """All connections before their 101, in the order in which they are closed to make room.

    The order is that of the last of these events: the connection was made, began a request, or was answered.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._waiting: dict[Stranger, int] = {}
        self._bytes = 0
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._descriptors = soft if soft != resource.RLIM_INFINITY else 1 << 30

    def __len__(self) -> int:
        return len(self._waiting)

    def now_last(self, stranger: Stranger) -> None:
        """A connection was made, began a request, or was answered: it becomes the last one in the order."""
        unanswered = self._waiting.pop(stranger, 0)
        self._waiting[stranger] = unanswered
        self._make_room(stranger)

    def set_unanswered_bytes(self, stranger: Stranger, size: int) -> None:
        """A connection now holds ``size`` bytes of its client that are not answered."""
        if stranger not in self._waiting:
            return
        self._bytes += size - self._waiting[stranger]
        self._waiting[stranger] = size
        while self._bytes > BYTES:
            oldest = next(stranger for stranger, unanswered in self._waiting.items() if unanswered)
            self._hang_up(oldest)

    def remove(self, stranger: Stranger) -> None:
        """A connection has ended, or its call was admitted."""
        self._bytes -= self._waiting.pop(stranger, 0)

    def admitted(self, stranger: Stranger) -> None:
        """A call on it was admitted: it must not be closed to make room, and a call takes descriptors."""
        self.remove(stranger)
        self._make_room(stranger)

    @property
    def _limit(self) -> int:
        # Two for each call, and for the next one.
        left = self._descriptors - OWN_DESCRIPTORS - 2 * (len(self._calls) + 1)
        return max(LEAST, min(MOST, left))

    def _make_room(self, newcomer: Stranger) -> None:
        over = len(self._waiting) - self._limit
        if over <= 0:
            return
        evicted: list[Stranger] = []
        for stranger in self._waiting:
            if len(evicted) == over:
                break
            # Otherwise a request could be lost that an ingress has just sent on a kept connection.
            if stranger is not newcomer and not (stranger.idle and _is_readable(stranger.fileno)):
                evicted.append(stranger)
        for stranger in evicted:
            self._hang_up(stranger)

    def _hang_up(self, stranger: Stranger) -> None:
        self.remove(stranger)
        stranger.hang_up()


STRANGERS = web.AppKey("strangers", Strangers)


def _is_readable(fileno: int) -> bool:
    """Whether there is something to read."""
    if fileno < 0:
        return False
    poller = select.poll()
    poller.register(fileno, select.POLLIN)
    return bool(poller.poll(0))
