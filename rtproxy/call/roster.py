"""The sessions of this replica: the open calls, and the counters of the ended ones."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from rtproxy.call.session import Session
from rtproxy.wire.slices import in_slices


class Roster:
    """Every admitted session, from before its dial until both its legs are closed.

    The counters of ended sessions are kept here; a live session has its own counters, so that nothing is added up per
    frame.
    """

    def __init__(self) -> None:
        self.sessions: dict[Session, None] = {}
        self._of_client: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.endings: Counter[str] = Counter()
        self.refusals: Counter[tuple[int, str]] = Counter()
        self.dial_failures: Counter[str] = Counter()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self.sessions)

    @property
    def quiet(self) -> int:
        """The number of calls that are between two turns."""
        return sum(session.quiet for session in self.sessions)

    @property
    def oldest_s(self) -> float:
        """The age of the oldest open call; 0 when there is none."""
        oldest = next(iter(self.sessions), None)  # sessions are in the order of their admission
        return 0.0 if oldest is None else time.monotonic() - oldest.started

    def sessions_of(self, client: str) -> int:
        """The number of a client's open calls."""
        return self._of_client[client]

    def add(self, session: Session) -> None:
        self.sessions[session] = None
        self._of_client[session.client] += 1

    def discard(self, session: Session) -> None:
        """Removes a session that ended, or whose dial failed."""
        if session in self.sessions:
            del self.sessions[session]
            self._of_client[session.client] -= 1
            if not self._of_client[session.client]:
                del self._of_client[session.client]
        if not self.sessions:
            self._changed.set()

    def add_to_totals(self, session: Session) -> None:
        """Adds the counters of a session that ended to the totals."""
        self.ended.update(session.counts())
        self.endings[session.ended_by] += 1

    async def for_each(self, do: Callable[[Session], object]) -> None:
        """Calls ``do`` with every session that is open now, in slices between which calls go on."""
        await in_slices(self.sessions, do)

    async def wait_until_empty(self, within_s: float) -> bool:
        """Waits until no session is left, at most ``within_s`` seconds. Returns whether none is left."""
        try:
            async with asyncio.timeout(max(0.0, within_s)):
                while self.sessions:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return not self.sessions
        return True
