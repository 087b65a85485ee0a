"""One place's life: dial, hold the session, and after a cut come back if the plan says so.

With calls that hang up by themselves the place begins the next one, as its next caller would.
"""

import asyncio
import time
from collections.abc import Iterator

import aiohttp

from clients.conversation import Common
from clients.dial import Connection, Line, Refusal
from clients.kinds import KINDS, between
from clients.observations import Observation, Pong, Reconnecting, Refused, Turn, ms
from clients.session import Session

FIRST_BACKOFF_S = 0.25
LONGEST_BACKOFF_S = 5.0
# A dial begun later than this before the end of the hold does not count against the target.
FAIR_DIAL_S = 2.0
LONGEST_PAUSE_S = 1.0


def backoff() -> Iterator[float]:
    """Seconds before each attempt, growing by the golden ratio."""
    longest = FIRST_BACKOFF_S
    while True:
        yield between(longest / 2, longest)
        longest = min(longest * 1.618, LONGEST_BACKOFF_S)


class Call:
    """`run` is the life of the place; the other attributes are for display, the latest measurements of each kind."""

    def __init__(self, number: int, common: Common) -> None:
        plan = common.plan
        self.number = number
        self.kind = KINDS[plan.kinds[(number - 1) % len(plan.kinds)]]
        self.session: Session | None = None
        self.without_session = "starting"
        self.turns = 0
        self.rtt_ms: float | None = None
        self.first_audio_ms: float | None = None
        self._plan = plan
        self._note_to_hold = common.note
        self._common = common._replace(note=self._note)
        self._had_session = False
        self._dialled_at = 0.0

    @property
    def state(self) -> str:
        return self.session.conversation.turn if self.session else self.without_session

    async def run(self, start_after: float, connector: aiohttp.TCPConnector) -> None:
        """Returns when the hold has ended, or when this call has lost its place. Cancel it only without a session."""
        await asyncio.sleep(start_after)
        line = Line(self._plan.target, connector)
        try:
            await self._keep_a_session(line)
        finally:
            await line.close()

    def miss_the_end(self, interrupted: bool) -> None:
        """The hold ends and there is no session. A dial that is still waiting then was given its time, or not."""
        fair = not self._had_session or time.monotonic() - self._dialled_at > FAIR_DIAL_S
        if self.without_session == "connecting" and fair and not interrupted:
            self._note_refused(Refusal(None, "timeout", "no answer before the end of the hold"))

    async def _keep_a_session(self, line: Line) -> None:
        delays = backoff()
        attempt = 0
        cut_at: float | None = None
        while True:
            try:
                connection = await self._dial(line)
            except Refusal as refusal:
                self._note_refused(refusal)
                delay = max(next(delays), refusal.retry_after_s or 0.0)
            else:
                gap = None if cut_at is None else ms(time.monotonic() - cut_at)
                session = await self._hold(connection, gap)
                cut_at = session.ended_at if session.cut else None
                if cut_at is None or session.ended_at - session.opened_at > LONGEST_BACKOFF_S:
                    delays, attempt = backoff(), 0
                delay = next(delays) if session.cut else between(LONGEST_PAUSE_S / 4, LONGEST_PAUSE_S)
            if not self._goes_on(cut_at is not None):
                return
            if cut_at is None:
                self.without_session = "pausing"
            else:
                attempt += 1
                self._note_reconnecting(attempt, delay)
            await asyncio.sleep(delay)

    def _goes_on(self, cut: bool) -> bool:
        """A call that was cut comes back if the plan says so; after one that was not, the next may begin here.

        A place that never had a session is given up: there is nothing to come back to.
        """
        if self._common.end.is_set():
            return False
        return self._plan.reconnect if cut else self._had_session

    async def _dial(self, line: Line) -> Connection:
        self.without_session = "connecting"
        self._dialled_at = time.monotonic()
        return await line.dial()

    async def _hold(self, connection: Connection, gap_ms: float | None) -> Session:
        session = Session(self.number, self.kind, connection, gap_ms, self._common)
        self.session, self._had_session = session, True
        try:
            await session.hold()
        finally:
            self.session = None
        self.without_session = "cut" if session.cut else "closed"
        return session

    def _note_reconnecting(self, attempt: int, delay: float) -> None:
        self.without_session = "reconnecting"
        self._note(Reconnecting(call=self.number, attempt=attempt, delay_ms=ms(delay)))

    def _note_refused(self, refusal: Refusal) -> None:
        self.without_session = "refused"
        self._note(
            Refused(
                call=self.number,
                status=refusal.status,
                code=refusal.code,
                message=refusal.message,
                retry_after_s=refusal.retry_after_s,
            )
        )

    def _note(self, observation: Observation) -> None:
        match observation:
            case Turn():
                self.turns += 1
                self.first_audio_ms = observation.first_audio_ms
            case Pong():
                self.rtt_ms = observation.rtt_ms
        self._note_to_hold(observation)
