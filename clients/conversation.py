"""Turns over one open socket: speak in real time, pause, wait for the answer, measure it.

`talk` runs beside a reader that hands every text message to `hear`.
"""

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import aiohttp

from clients import speech
from clients.dial import Socket
from clients.events import AUDIO_DELTAS, failure_of, field_of, parse, part_of, type_of
from clients.observations import Turn, TurnState, ms
from clients.pace import between

FIRST_TURN_WITHIN_S = 3.0
SESSION_DEADLINE_S = 10.0


@dataclass(slots=True)
class Answer:
    """What is known of the answer to the current turn; `begun` keeps a late answer to the one before out of it."""

    spoken_at: float | None = None
    begun: bool = False
    first_audio_at: float | None = None
    detail: str | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Conversation:
    def __init__(
        self,
        call: int,
        socket: Socket,
        utterance: list[bytes],
        turn_deadline: float,
        note: Callable[[Turn], None],
    ) -> None:
        self.upstream_session: str | None = None
        self.turn: TurnState = "idle"
        self.turn_began = time.monotonic()
        self._call = call
        self._socket = socket
        self._utterance = utterance
        self._turn_deadline = turn_deadline
        self._note = note
        self._created = asyncio.Event()
        self._answer = Answer()

    async def greeted(self) -> None:
        """Until session.created, or until it is clear that none will come."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SESSION_DEADLINE_S):
                await self._created.wait()

    async def talk(self, every: float, until: float) -> None:
        """Returns between two turns, once `until` (monotonic) has come. Raises ConnectionResetError: no more socket."""
        await self._socket.send_frame(speech.SESSION_UPDATE, aiohttp.WSMsgType.TEXT)
        turn_at = time.monotonic() + between(0, min(every, FIRST_TURN_WITHIN_S)) if every else math.inf
        while turn_at < until:
            await asyncio.sleep(turn_at - time.monotonic())
            began = time.monotonic()
            await self._take_turn()
            turn_at = max(began + every * between(0.8, 1.2), time.monotonic())
        await asyncio.sleep(until - time.monotonic())

    def hear(self, message: bytes) -> None:
        kind = type_of(message)
        answer = self._answer
        if kind in AUDIO_DELTAS:
            if answer.begun and answer.first_audio_at is None:
                answer.first_audio_at = time.monotonic()
        elif kind == b"session.created":
            self.upstream_session = field_of(parse(message), "session", "id")
            self._created.set()
        elif kind == b"response.created":
            answer.begun = self.turn == "answering"
        elif kind == b"response.done" and answer.begun and self.turn == "answering":
            response = part_of(parse(message), "response")
            answer.detail = failure_of(response) or answer.detail
            # Here and now: a relay that drains closes right behind this event, between two turns.
            self._end_turn(str(response.get("status")))
        elif kind == b"error":
            answer.detail = field_of(parse(message), "error", "message")

    def cut(self) -> None:
        """The socket has ended: a turn it was in the middle of is a failed one."""
        if self.turn != "idle":
            self._note_turn("cut")

    async def _take_turn(self) -> None:
        answer = self._answer = Answer()
        self._enter("speaking")
        try:
            async with asyncio.timeout(len(self._utterance) * speech.CHUNK_S + self._turn_deadline):
                await self._say(self._utterance)
                self._enter("answering")
                answer.spoken_at = self.turn_began
                await self._say(speech.SILENCE)
                await answer.over.wait()
        except TimeoutError:
            if not answer.over.is_set():
                self._end_turn("timeout")

    def _end_turn(self, status: str) -> None:
        self._note_turn(status)
        self._enter("idle")
        self._answer.over.set()

    def _enter(self, turn: TurnState) -> None:
        self.turn, self.turn_began = turn, time.monotonic()

    async def _say(self, chunks: list[bytes]) -> None:
        """Each chunk leaves when a microphone would have filled it."""
        began = time.monotonic()
        for filled, chunk in enumerate(chunks, start=1):
            await asyncio.sleep(began + filled * speech.CHUNK_S - time.monotonic())
            await self._socket.send_frame(chunk, aiohttp.WSMsgType.TEXT)

    def _note_turn(self, status: str) -> None:
        answer, now = self._answer, time.monotonic()
        spoken, audio = answer.spoken_at, answer.first_audio_at
        self._note(
            Turn(
                call=self._call,
                status=status,
                first_audio_ms=ms(audio - spoken) if audio and spoken else None,
                duration_ms=ms(now - spoken) if spoken else None,
                detail=answer.detail,
            )
        )
