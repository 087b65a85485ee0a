"""How long a call that ends waits for its sides, and whether bytes move meanwhile."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from rtproxy.call.ending import Timeout, Wait
from rtproxy.wire.clock import Clock, Timer


class Times(NamedTuple):
    """The time limits of a call, in seconds. Tests pass in shorter ones."""

    linger_s: float = 0.5
    """When the other side is gone, or does not answer, a side has this long to answer its Close, and as long again
    while it reads what was written before. A socket that is closed while its peer still sends is reset, and the peer
    loses what it has not read."""
    after_fault_s: float = 0.25
    """When one side broke the framing, the other side has this long to answer what was sent before. Both legs are
    closed within a second."""
    answer_s: float = 5.0
    """While both sides are connected, the answer to a Close may take this long, and longer while bytes still move.
    Where the relay ended the call, longer only while a side still reads what was written to it."""
    patience_s: float = 60.0
    """Those waits are renewed for this long at most, so that a slow side cannot keep a session open for ever."""
    stall_s: float = 30.0
    """A side that reads nothing for this long is stalled (docs/endings.md: ended by limit, 1008)."""
    whole_s: float = 60.0
    """A message of more than `room.FREE` bytes that is withheld must be whole within this time."""


class Progress(Protocol):
    """A leg whose moving bytes can be observed."""

    def progress(self) -> tuple[int, ...]:
        """Bytes received, then bytes that its side has not read yet: those that wait here, and those in the kernel."""


class Patience:
    """The waits of one call (`ending.Patience`). ``timed_out`` is called when a wait is over."""

    __slots__ = ("_at_begin", "_clock", "_give_up_at", "_legs", "_limit", "_timed_out", "_timer", "_times")

    def __init__(
        self, clock: Clock, times: Times, legs: tuple[Progress, Progress], timed_out: Callable[[Timeout], None]
    ) -> None:
        self._clock, self._times, self._legs, self._timed_out = clock, times, legs, timed_out
        self._timer: Timer | None = None
        self._limit: Timer | None = None
        self._give_up_at = 0.0
        self._at_begin: tuple[tuple[int, ...], ...] = ()

    def wait(self, wait: Wait) -> None:
        """Begins a wait, and cancels the one before."""
        if self._timer is None:
            self._give_up_at = self._clock.time() + self._times.patience_s
        else:
            self._timer.cancel()
        self._at_begin = self._progress()
        self._timer = self._clock.call_later(self._seconds(wait), self._wait_ended, wait)

    def stop_renewing(self) -> None:
        """Makes the current wait the last one, but for the wait until everything written is sent."""
        self._give_up_at = 0.0

    def limit_to_one_wait(self) -> None:
        """Allows one wait for an answer from now on, whatever the call waits for."""
        if self._limit is None:
            self._limit = self._clock.call_later(self._times.answer_s, self._time_is_up)

    def cancel(self) -> None:
        """Cancels all waits."""
        for timer in (self._timer, self._limit):
            if timer is not None:
                timer.cancel()

    def still_reading(self) -> tuple[bool, bool]:
        """For client and model: whether it has read some of what was written since the wait began, but not all."""
        client, upstream = (0 < now < before for now, before in self._undelivered(self._progress()))
        return client, upstream

    def timeout(self, wait: Wait) -> Timeout:
        """The state of the call, compared with the begin of the wait."""
        progress = self._progress()
        return Timeout(
            wait,
            renewable=self._clock.time() < self._give_up_at,
            bytes_moved=progress != self._at_begin,
            bytes_read=any(now < before for now, before in self._undelivered(progress)),
        )

    def _progress(self) -> tuple[tuple[int, ...], ...]:
        return tuple(leg.progress() for leg in self._legs)

    def _undelivered(self, progress: tuple[tuple[int, ...], ...]) -> list[tuple[int, int]]:
        """For each leg, the bytes not read yet: in ``progress``, and when the wait began."""
        return [(sum(now[1:]), sum(before[1:])) for now, before in zip(progress, self._at_begin, strict=True)]

    def _seconds(self, wait: Wait) -> float:
        times = self._times
        return {Wait.ANSWER: times.answer_s, Wait.LINGER: times.linger_s, Wait.AFTER_FAULT: times.after_fault_s}[wait]

    def _time_is_up(self) -> None:
        self.stop_renewing()
        self._wait_ended(Wait.ANSWER)

    def _wait_ended(self, wait: Wait) -> None:
        self._timed_out(self.timeout(wait))
