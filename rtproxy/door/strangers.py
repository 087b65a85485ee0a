"""Connections before their 101: how many there may be at once, and how much they may have said.

Nobody has shown a credential on one of them that let a call in. So their number and the sum of their bytes are
limited, and whoever has waited longest makes room for whoever comes. A call that was let in is none of them.
"""

import resource
import select
from typing import Protocol

from aiohttp import web

from rtproxy.door.limits import Calls

MOST = 2048
"""Some 9 KiB each, in whatever state they are."""
LEAST = 8
"""So many there are at least, however few descriptors are left."""
BYTES = 4 * 1024 * 1024
"""What all of them together may have said that is not answered yet."""
OWN_DESCRIPTORS = 64
"""Of the relay itself: its port and epolls, its way to the issuer, the token endpoint and a collector."""


class Stranger(Protocol):
    """A connection before its 101, as `Strangers` sees it. Two of them are equal when they are the same."""

    @property
    def fileno(self) -> int:
        """Its descriptor; -1 when it has none any more."""

    @property
    def idle(self) -> bool:
        """Whether it is between two requests."""

    def hang_up(self) -> None:
        """Closes it at once, whatever was not sent yet. It leaves `Strangers` by that."""


class Strangers:
    """All connections before their 101, the longest waiting first: since it came, began a request or was answered."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._waiting: dict[Stranger, int] = {}
        self._bytes = 0
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._descriptors = soft if soft != resource.RLIM_INFINITY else 1 << 30

    def __len__(self) -> int:
        return len(self._waiting)

    def comes(self, stranger: Stranger) -> None:
        """A connection was made, or begins a request, or was answered: it is now the last to go."""
        said = self._waiting.pop(stranger, 0)
        self._waiting[stranger] = said
        self._make_room(stranger)

    def says(self, stranger: Stranger, size: int) -> None:
        """A connection keeps ``size`` bytes of its caller by now that are not answered."""
        if stranger not in self._waiting:
            return
        self._bytes += size - self._waiting[stranger]
        self._waiting[stranger] = size
        while self._bytes > BYTES:
            longest = next(each for each, said in self._waiting.items() if said)
            self._send_off(longest)

    def leaves(self, stranger: Stranger) -> None:
        """A connection ended, or its call was let in."""
        self._bytes -= self._waiting.pop(stranger, 0)

    def let_in(self, stranger: Stranger) -> None:
        """A call came on it: it is nobody's to hang up on; and a call takes descriptors."""
        self.leaves(stranger)
        self._make_room(stranger)

    @property
    def _room(self) -> int:
        # Two for each call, and for one that is about to come.
        left = self._descriptors - OWN_DESCRIPTORS - 2 * (len(self._calls) + 1)
        return max(LEAST, min(MOST, left))

    def _make_room(self, newcomer: Stranger) -> None:
        over = len(self._waiting) - self._room
        if over <= 0:
            return
        going: list[Stranger] = []
        for each in self._waiting:
            if len(going) == over:
                break
            # A request that an ingress has just sent on a connection that it kept would be lost.
            if each is not newcomer and not (each.idle and _has_news(each.fileno)):
                going.append(each)
        for each in going:
            self._send_off(each)

    def _send_off(self, stranger: Stranger) -> None:
        self.leaves(stranger)
        stranger.hang_up()


STRANGERS = web.AppKey("strangers", Strangers)


def _has_news(fileno: int) -> bool:
    """Whether there is something to be read."""
    if fileno < 0:
        return False
    asked = select.poll()
    asked.register(fileno, select.POLLIN)
    return bool(asked.poll(0))
