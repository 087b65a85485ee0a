"""How many replicas a revision should have, from what the ingress counted. No I/O: time and counts are handed in."""

import math
from collections import deque

from stage.ingress import Counts
from stage.platform.template import Scale
from stage.platform.unverified import Timing, Unverified

_FIRST_STEP = 4
"""Scale-up goes 1, 4, 8, 16, 32, ..."""


class Scaler:
    """Decides for one revision, from ``now`` on, when it has ``count`` replicas."""

    def __init__(self, scale: Scale, timing: Timing, unverified: Unverified, now: float, count: int) -> None:
        self._scale = scale
        self._timing = timing
        self._unverified = unverified
        self._seen: deque[tuple[float, int]] = deque()
        self._wanted: deque[tuple[float, int]] = deque([(now, count)])
        self._rule_due = now + timing.http_window_s
        self._poll_due = now + scale.polling_s
        self.last_activity = now
        self._sockets_were_open = False

    def observe(self, now: float, counts: Counts) -> None:
        """Takes note of what the ingress has counted by now."""
        started = counts.started - (self._seen[-1][1] if self._seen else counts.started)
        open_sockets = counts.active > 0 and self._unverified.open_sockets_are_activity
        # A socket that was open at the last look ended at some time since: the cooldown never begins too early.
        if started > 0 or open_sockets or self._sockets_were_open:
            self.last_activity = now
        self._sockets_were_open = open_sockets
        self._seen.append((now, counts.started))
        # One sample from before the window stays: the count at its beginning.
        while len(self._seen) > 1 and self._seen[1][0] <= now - self._timing.http_window_s:
            self._seen.popleft()

    def decide(self, now: float, count: int) -> tuple[int, str] | None:
        """The count to have now and why, when it is another; a revision at zero is woken by its activator only."""
        if count == 0:
            self._wanted.clear()
            return None
        if now >= self._poll_due:
            self._poll_due = now + self._scale.polling_s
            if self._sleeps(now, count):
                return 0, f"no activity for {self._scale.cooldown_s:g} s"
        if now >= self._rule_due and self._scale.concurrent_requests is not None:
            self._rule_due = now + self._timing.http_window_s
            return self._by_requests(now, count, self._scale.concurrent_requests)
        return None

    def _sleeps(self, now: float, count: int) -> bool:
        if self._scale.minimum or (count > 1 and not self._unverified.zero_from_any_count):
            return False
        return now - self.last_activity >= self._scale.cooldown_s

    def _by_requests(self, now: float, count: int, target: int) -> tuple[int, str] | None:
        window_s = self._timing.http_window_s
        requests = self._seen[-1][1] - self._seen[0][1]
        # To zero is the cooldown's step alone.
        wanted = max(1, self._scale.clamp(math.ceil(requests / window_s / target)))
        while self._wanted and self._wanted[0][0] < now - self._timing.stabilisation_s:
            self._wanted.popleft()
        self._wanted.append((now, wanted))
        if wanted > count:
            return min(wanted, max(_FIRST_STEP, 2 * count)), f"{requests} requests in {window_s:g} s"
        # All of the surplus at once, as soon as none of it was wanted for so long.
        if (needed := max(each for _, each in self._wanted)) < count:
            return needed, f"no more than {needed} needed for {self._timing.stabilisation_s:g} s"
        return None
