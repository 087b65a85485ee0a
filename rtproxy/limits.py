"""What one client may take of the relay: calls at once, and calls started in a minute."""

import math
import time
from collections import deque

from rtproxy.live import Live
from rtproxy.refusal import RETRY_AFTER_FULL_S, too_many

WINDOW_S = 60.0


class Limits:
    """Counts by the client's name; None is no limit. What it keeps: the starts of the last minute."""

    def __init__(self, sessions: int | None, starts: int | None, live: Live) -> None:
        self._sessions = sessions
        self._most = starts
        self._live = live
        self._starts: dict[str, deque[float]] = {}
        self._sweep_at = 0.0

    def take(self, client: str) -> None:
        """Counts a start of ``client``. Raises Refused, and counts nothing, when it has had its share."""
        if self._sessions is not None and self._live.sessions_of(client) >= self._sessions:
            text = f"This client has {self._sessions} calls up, as many as it may: end one first."
            raise too_many(client, "too_many_calls", text, RETRY_AFTER_FULL_S)
        if self._most is not None:
            self._start(client, self._most, time.monotonic())

    def _start(self, client: str, most: int, now: float) -> None:
        if now >= self._sweep_at:
            self._starts = {name: starts for name, starts in self._starts.items() if starts[-1] > now - WINDOW_S}
            self._sweep_at = now + WINDOW_S
        starts = self._starts.setdefault(client, deque(maxlen=most))
        if len(starts) == most and (wait_s := starts[0] + WINDOW_S - now) > 0:
            text = f"This client started {most} calls in {WINDOW_S:.0f} s, as many as it may: try again later."
            raise too_many(client, "rate_limit_exceeded", text, math.ceil(wait_s))
        starts.append(now)
