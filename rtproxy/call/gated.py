"""The gate as the reader of a client's flow: sets a time limit for withheld messages, and sends refusals to the client.

The model is sent only whole messages, so ``skip`` is 0, and the relay's own frames need not wait; except while a long
message is sent in pieces.
"""

from typing import Protocol

from rtproxy.call.gate import Gate
from rtproxy.call.room import FREE
from rtproxy.wire.clock import Clock, Timer
from rtproxy.wire.frames import Count


class Owner(Protocol):
    """The owner of the flow (`leg.Leg`)."""

    def refuse(self, refusal: bytes) -> None:
        """Sends a refusal, a frame, to the client."""

    def halted(self) -> None:
        """A message was withheld for too long; ``halt`` is ``"unfinished"`` then."""


class Gated:
    """A `Gate` as a flow's reader."""

    __slots__ = (
        "_clock",
        "_deadline",
        "_gate",
        "_owner",
        "_whole_s",
        "skip",
    )
    # Every frame is given to the gate.
    fast = False
    fast_opening = head_size = 0
    ignored: tuple[bytes, ...] = ()

    def __init__(self, gate: Gate, clock: Clock, whole_s: float, owner: Owner) -> None:
        self._gate, self._clock, self._whole_s, self._owner = gate, clock, whole_s, owner
        self._deadline: tuple[int, Timer] | None = None
        self.skip = 0

    @property
    def halt(self) -> str:
        return self._gate.halt

    @halt.setter
    def halt(self, why: str) -> None:
        self._gate.halt = why

    @property
    def count(self) -> Count:
        return self._gate.count

    @property
    def close(self) -> bytes:
        return self._gate.close

    @property
    def code(self) -> int:
        return self._gate.code

    @property
    def rest(self) -> bytes:
        return self._gate.rest

    @property
    def fragmented(self) -> bool:
        return False

    def has_backlog(self) -> bool:
        """Whether there are bytes to pass on although no more bytes arrive."""
        return bool(self._gate.rest) or self._gate.releasing > 0

    def discard_backlog(self) -> None:
        """Discards everything that is withheld."""
        self._gate.discard()
        self._cancel()

    def feed(self, data: bytes) -> bytes:
        """Takes the client's next bytes, and returns those that may pass."""
        gate = self._gate
        data = gate.feed(data)
        self.skip = gate.releasing
        if self._deadline is not None or gate.withheld > FREE:
            self._mind_deadline()
        if gate.refusal:
            refusal, gate.refusal = gate.refusal, b""
            self._owner.refuse(refusal)
        return data

    def _mind_deadline(self) -> None:
        gate = self._gate
        began = gate.began if gate.withheld > FREE and not gate.halt else None
        if self._deadline is not None and self._deadline[0] != began:
            self._cancel()
        if self._deadline is None and began is not None:
            self._deadline = began, self._clock.call_later(self._whole_s, self._not_whole)

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline[1].cancel()
            self._deadline = None

    def _not_whole(self) -> None:
        self._gate.halt = "unfinished"
        self._gate.discard()
        self._owner.halted()
