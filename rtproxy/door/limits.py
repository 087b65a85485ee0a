"""The limits of one client: calls at once, calls started in a minute, and dials that the model refuses."""

import math
import time
from collections import deque
from typing import Protocol

from rtproxy.refusal import RETRY_AFTER_FULL_S, too_many

WINDOW_S = 60.0
REFUSED, REFUSED_S = 20, 10.0
"""When the model has refused REFUSED dials of one client within REFUSED_S, the client's further calls are refused."""
WAIT_LIMIT_S = 3600.0
"""The longest time for which a client waits because the model asked for it."""


class Calls(Protocol):
    """The open calls of this replica."""

    def __len__(self) -> int: ...

    def sessions_of(self, client: str) -> int:
        """The number of a client's open calls."""


class Limits:
    """Counts by the client's name. None means no limit. It keeps at most what happened in the last minute."""

    def __init__(self, sessions: int | None, starts: int | None, calls: Calls) -> None:
        self._sessions = sessions
        self._max_starts = starts
        self._calls = calls
        self._starts: dict[str, deque[float]] = {}
        self._refused: dict[str, deque[float]] = {}
        self._busy_until: dict[str, float] = {}
        self._sweep_at = 0.0

    def take(self, client: str) -> float:
        """Counts a start of ``client``. Returns the time of the start, for `give_back`.

        Raises Refused, and counts nothing, when the client has reached a limit, or the model wants it to wait.
        """
        now = time.monotonic()
        self._sweep(now)
        if self._sessions is not None and self._calls.sessions_of(client) >= self._sessions:
            text = f"This client has {self._sessions} open calls, which is its limit: end one first."
            raise too_many(client, "too_many_calls", text, RETRY_AFTER_FULL_S)
        if (wait_s := self._busy_until.get(client, now) - now) > 0:
            text = "The model accepts no more calls of this client for now: retry after the given time."
            raise too_many(client, "rate_limit_exceeded", text, math.ceil(wait_s))
        refused = self._refused.get(client)
        if refused and len(refused) == REFUSED and (wait_s := refused[0] + REFUSED_S - now) > 0:
            text = f"The model refused {REFUSED} calls of this client in {REFUSED_S:.0f} s: try again later."
            raise too_many(client, "rate_limit_exceeded", text, math.ceil(wait_s))
        if self._max_starts is not None:
            self._start(client, self._max_starts, now)
        return now

    def give_back(self, client: str, start: float) -> None:
        """The call was not established: the start does not count."""
        starts = self._starts.get(client)
        if starts and start in starts:
            starts.remove(start)

    def model_refused(self, client: str, wait_s: float | None) -> None:
        """The model refused a dial. If it named a time to wait, the client's next dial waits for ``wait_s``."""
        now = time.monotonic()
        self._refused.setdefault(client, deque(maxlen=REFUSED)).append(now)
        if wait_s is not None:
            self._busy_until[client] = now + min(wait_s, WAIT_LIMIT_S)

    def _start(self, client: str, most: int, now: float) -> None:
        starts = self._starts.setdefault(client, deque(maxlen=most))
        if len(starts) == most and (wait_s := starts[0] + WINDOW_S - now) > 0:
            text = f"This client started {most} calls in {WINDOW_S:.0f} s, which is its limit: try again later."
            raise too_many(client, "rate_limit_exceeded", text, math.ceil(wait_s))
        starts.append(now)

    def _sweep(self, now: float) -> None:
        if now < self._sweep_at:
            return
        self._starts = {name: each for name, each in self._starts.items() if each and each[-1] > now - WINDOW_S}
        self._refused = {name: each for name, each in self._refused.items() if each[-1] > now - REFUSED_S}
        self._busy_until = {name: until for name, until in self._busy_until.items() if until > now}
        self._sweep_at = now + WINDOW_S
