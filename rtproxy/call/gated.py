"""A client's leg with a gate: what may go on is decided by whole messages, and a refusal is told to the client.

The model sees only whole messages, so the relay's own frames for it hardly wait. A refusal is a message, which may not
come between the fragments of one of the model's (RFC 6455 section 5.4): it may wait. Until it is out, the client is not
read, so that there is never more than one; and after it others have their turn.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from rtproxy.call.gate import Gate
from rtproxy.call.leg import Leg
from rtproxy.call.room import FREE, Share
from rtproxy.wire.frames import head
from rtproxy.wire.tls import Tls
from rtproxy.wire.wire import drop

if TYPE_CHECKING:
    from rtproxy.call.splice import Splice


WHOLE_S = 60.0
"""A message of more than `room.FREE` bytes that is withheld has to be whole within this time."""


class GatedLeg(Leg):
    """The client's leg. Its ``skip`` is 0, so that the relay's own frames go to the model at once; they wait while a
    long message goes on in pieces."""

    __slots__ = ("_amid", "_deadline", "_gate", "_paused", "_refusal", "events_refused")

    def __init__(
        self,
        splice: "Splice",
        sock: socket.socket,
        tls: Tls | None,
        allowed: frozenset[str],
        passed: Callable[[bytes], None],
        share: Share,
    ) -> None:
        super().__init__(splice, "client", sock, tls, None)
        self.calm = False  # for good: no frame passes without the gate
        self._gate = Gate(allowed, passed, share)
        self._deadline: tuple[int, asyncio.TimerHandle] | None = None
        self._paused = False
        self._refusal = b""
        self._amid = False
        self.events_refused = 0

    def feed(self, data: bytes) -> bytes:
        gate = self._gate
        if self.halt and not gate.leaving:
            self.rest = b""
            return b""
        gate.keeps_close = self.keeps_close
        data = gate.feed(data)
        self.frames, self.code, self.rest = gate.frames, gate.code, gate.rest
        self.halt = self.halt or gate.halt
        self.skip = gate.leaving
        if self._deadline is not None or gate.withheld > FREE:
            self._mind_deadline()
        if gate.refusal:
            self.events_refused += 1
            self._paused = self.held_back = True
            self._tell(gate.refusal)
            gate.refusal = b""
            self._wake()
        return data

    def _unwalked(self) -> bool:
        return super()._unwalked() or self._gate.leaving > 0

    def _mind_deadline(self) -> None:
        """A long message has WHOLE_S to become whole."""
        began = self._gate.began if self._gate.withheld > FREE and not self.halt else None
        if self._deadline is not None and self._deadline[0] != began:
            self._deadline[1].cancel()
            self._deadline = None
        if self._deadline is None and began is not None:
            self._deadline = began, asyncio.get_running_loop().call_later(WHOLE_S, self._not_whole)

    def _not_whole(self) -> None:
        self.halt = "unfinished"
        self._gate.drop()
        self.halted()

    def abort(self) -> None:
        super().abort()
        self._gate.drop()
        if self._deadline is not None:
            self._deadline[1].cancel()

    def _wake(self) -> None:
        """Goes on as soon as the refusal is out."""
        if self._paused and not (self.full or self._refusal or self.closing):
            self.put_off()

    def _go_on(self) -> None:
        if self._paused and not (self.full or self._refusal or self.closing):
            self._paused = False
            # As `left` has it: a model that does not take what it has holds the client back.
            if not (self.slowed or (self.peer.full and self.out is not drop)):
                self.held_back = False
        super()._go_on()

    def _worth_reading(self, events: int) -> bool:
        worth = super()._worth_reading(events)
        self._wake()
        return worth

    def release(self) -> None:
        if not self._paused:
            super().release()

    def nothing_more(self) -> None:
        super().nothing_more()
        self._refusal = b""
        self._wake()

    def _tell(self, refusal: bytes) -> None:
        if self.sent or self.closing:
            return
        self._amid = self.peer._fragmented
        if not self._amid and self.peer.skip == 0:
            self.write(refusal)
            return
        self._refusal = refusal
        self._to_boundary = self.peer.skip
        self.peer.out = self._write_to_boundary

    def _write_to_boundary(self, data: bytes) -> int:
        start, end = 0, self._to_boundary
        while end <= len(data):
            # Here a frame ends, and unless we are amid fragments, a message.
            ours = self.pending
            self.pending = b""
            if not self._amid:
                ours = self._refusal + ours
                self._refusal = b""
                self._wake()
            if ours:
                self.write(data[start:end] + ours)
                start = end
            if self.sent:
                self.nothing_more()
                self.splice.told(self)
                return len(data)
            if not self._refusal:
                self.peer.out = self.keep if self.full else self.send
                break
            if end == len(data):
                break
            first, at, length = head(data, end)
            if not first & 8:
                self._amid = first < 0x80
            end = at + length
        self._to_boundary = end - len(data)
        if start < len(data):
            self.write(data[start:])
        return len(data)
