"""Round trips of one socket, from our pings and the pongs that answer them; and how often the other side pings us."""

import asyncio
import time
from collections.abc import Callable

from clients.dial import Socket
from clients.observations import Pong, ms
from clients.pace import between

FIRST_PING_WITHIN_S = 1.0
# A network that swallows a connection sends no end of it; without this a call could be dead for most of a hold.
SILENT_PINGS = 3


class Pings:
    """At most one is without an answer; `hear` is given every pong, ours or not."""

    def __init__(self, call: int, socket: Socket, note: Callable[[Pong], None]) -> None:
        self._call = call
        self._socket = socket
        self._note = note
        self._count = 0
        self._sent_at: float | None = None
        self._heard = False
        self._pinged_at = time.monotonic()
        self.pings_heard = 0
        self._longest_unpinged_s = 0.0

    async def send(self, every: float) -> None:
        """Returns when the other side has gone silent. Raises ConnectionResetError when the socket is gone."""
        await asyncio.sleep(between(0, min(every, FIRST_PING_WITHIN_S)))
        silent = 0
        while silent < SILENT_PINGS:
            self._heard = False
            self._count += 1
            self._sent_at = time.monotonic()
            await self._socket.ping(self._payload)
            await asyncio.sleep(every)
            if self._sent_at is not None:
                self._note(Pong(call=self._call, rtt_ms=None))
            silent = 0 if self._heard else silent + 1

    def heard_something(self) -> None:
        """Any message is a sign of life: pongs queue up behind audio."""
        self._heard = True

    def heard_ping(self) -> None:
        self.pings_heard += 1
        self._longest_unpinged_s = self.longest_unpinged_s
        self._pinged_at = time.monotonic()

    @property
    def longest_unpinged_s(self) -> float:
        """The longest time without a ping of the other side, from the 101 on until now."""
        return max(self._longest_unpinged_s, time.monotonic() - self._pinged_at)

    def hear(self, payload: bytes) -> None:
        """A relay may pass on pongs that answer its own pings; the payload tells them from ours."""
        if self._sent_at is not None and payload == self._payload:
            self._note(Pong(call=self._call, rtt_ms=ms(time.monotonic() - self._sent_at)))
            self._sent_at = None

    @property
    def _payload(self) -> bytes:
        return b"hold %d %d" % (self._call, self._count)
