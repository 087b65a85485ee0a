"""One call's life: dial, hold the session, and after a cut come back if the plan says so."""

import asyncio
import time
from collections.abc import Callable

import aiohttp

from clients.arguments import Plan
from clients.dial import Connection, Line
from clients.observations import Observation, Pong, Reconnecting, Refused, Turn, ms
from clients.pace import LONGEST_BACKOFF_S, backoff
from clients.refusal import Refusal
from clients.session import Session


class Call:
    """Beside `run`, only facts for whoever watches; the measurements are the latest ones."""

    def __init__(
        self,
        number: int,
        plan: Plan,
        utterance: list[bytes],
        note: Callable[[Observation], None],
        end: asyncio.Event,
    ) -> None:
        self.number = number
        self.session: Session | None = None
        self.without_session = "waiting"
        self.turns = 0
        self.rtt_ms: float | None = None
        self.first_audio_ms: float | None = None
        self._plan = plan
        self._utterance = utterance
        self._note_elsewhere = note
        self._end = end

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
        if self.without_session == "connecting" and not interrupted:
            self._note_refused(Refusal(None, "timeout", "no answer before the end of the hold"))

    async def _keep_a_session(self, line: Line) -> None:
        delays = backoff()
        attempt = 0
        cut_at: float | None = None
        while True:
            self.without_session = "connecting"
            retry_after = 0.0
            try:
                connection = await line.dial()
            except Refusal as refusal:
                retry_after = refusal.retry_after_s or 0.0
                self._note_refused(refusal)
            else:
                gap = None if cut_at is None else ms(time.monotonic() - cut_at)
                cut_at, age = await self._hold(connection, gap)
                if age > LONGEST_BACKOFF_S:
                    delays, attempt = backoff(), 0
            # A call that never was in has nothing to come back to: it is lost, not cut.
            if self._end.is_set() or cut_at is None or not self._plan.reconnect:
                return
            attempt += 1
            await self._wait(attempt, max(next(delays), retry_after))

    async def _hold(self, connection: Connection, gap_ms: float | None) -> tuple[float, float]:
        """When the session ended, on the monotonic clock, and its age then."""
        self.session = Session(self.number, connection, gap_ms, self._plan, self._utterance, self._note, self._end)
        session = self.session
        try:
            await session.hold()
        finally:
            self.session = None
        self.without_session = "closed" if self._end.is_set() else "cut"
        return session.ended_at, session.ended_at - session.opened_at

    async def _wait(self, attempt: int, delay: float) -> None:
        self.without_session = "reconnecting"
        self._note(Reconnecting(call=self.number, attempt=attempt, delay_ms=ms(delay)))
        await asyncio.sleep(delay)

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
        self._note_elsewhere(observation)
