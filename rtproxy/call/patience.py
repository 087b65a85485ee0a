"""How long a call that ends waits for its peers, and how it sees whether waiting is worth while."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from rtproxy.call.ending import Lateness, Wait
from rtproxy.wire.clock import Clock, Timer


class Times(NamedTuple):
    """The time limits of a call, in seconds; tests hand in shorter ones."""

    linger_s: float = 0.5
    """A leg whose other side is gone, or does not answer, has this long to answer its Close, and as long again while it
    takes what was said before that: a socket that is closed on somebody who sends is reset, and drops what it holds."""
    last_words_s: float = 0.25
    """When one leg broke the framing, the other one has this long to answer what was said before; both end in a second.
    """
    answer_s: float = 5.0
    """While both legs stand, the answer to a Close may take this long, and longer while bytes still move; where the
    relay ended the call, while a side still reads what was said to it."""
    patience_s: float = 60.0
    """For how long those waits are renewed at most: a peer that trickles cannot hold a session for ever."""
    stall_s: float = 30.0
    """A reader that takes no byte for this long is given up (docs/endings.md: ended by limit, 1008)."""
    whole_s: float = 60.0
    """A message of more than `room.FREE` bytes that is withheld has to be whole within this time."""


class Progress(Protocol):
    """A leg, as far as bytes move on it."""

    def progress(self) -> tuple[int, ...]:
        """Bytes that arrived, then those that its side has not taken yet: here, and in the kernel."""


class Patience:
    """The waits of one call (`ending.Patience`). ``late`` is told when one is over."""

    __slots__ = ("_before", "_clock", "_give_up_at", "_late", "_legs", "_limit", "_timer", "_times")

    def __init__(
        self, clock: Clock, times: Times, legs: tuple[Progress, Progress], late: Callable[[Lateness], None]
    ) -> None:
        self._clock, self._times, self._legs, self._late = clock, times, legs, late
        self._timer: Timer | None = None
        self._limit: Timer | None = None
        self._give_up_at = 0.0
        self._before: tuple[tuple[int, ...], ...] = ()

    def wait(self, wait: Wait) -> None:
        """Begins a wait, in the place of the one before."""
        if self._timer is None:
            self._give_up_at = self._clock.time() + self._times.patience_s
        else:
            self._timer.cancel()
        self._before = tuple(leg.progress() for leg in self._legs)
        self._timer = self._clock.call_later(self._seconds(wait), self._over, wait)

    def renew_no_more(self) -> None:
        """The wait that goes on is the last one but for what is on its way out."""
        self._give_up_at = 0.0

    def hurry(self) -> None:
        """Whatever is waited for, after one wait for an answer there is no other."""
        if self._limit is None:
            self._limit = self._clock.call_later(self._times.answer_s, self._time_is_up)

    def cancel(self) -> None:
        """Nothing is waited for any more."""
        for timer in (self._timer, self._limit):
            if timer is not None:
                timer.cancel()

    def taking(self) -> tuple[bool, bool]:
        """Whether the client, and the model, took some of what was written to it since the wait began, and has more."""
        client, upstream = (0 < now < before for now, before in self._undelivered())
        return client, upstream

    def lateness(self, wait: Wait) -> Lateness:
        """How things stand against the beginning of the wait."""
        return Lateness(
            wait,
            patient=self._clock.time() < self._give_up_at,
            moved=tuple(leg.progress() for leg in self._legs) != self._before,
            read=any(now < before for now, before in self._undelivered()),
        )

    def _undelivered(self) -> list[tuple[int, int]]:
        return [
            (sum(leg.progress()[1:]), sum(before[1:])) for leg, before in zip(self._legs, self._before, strict=True)
        ]

    def _seconds(self, wait: Wait) -> float:
        times = self._times
        return {Wait.ANSWER: times.answer_s, Wait.LINGER: times.linger_s, Wait.LAST_WORDS: times.last_words_s}[wait]

    def _time_is_up(self) -> None:
        self.renew_no_more()
        self._over(Wait.ANSWER)

    def _over(self, wait: Wait) -> None:
        self._late(self.lateness(wait))
