"""Turns over one open socket: take them as the kind of call does, hear the answers, measure and note them.

`talk` runs beside a reader that hands every text message to `hear`.
"""

import asyncio
import hashlib
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import aiohttp
import orjson

from clients import speech
from clients.arguments import Plan
from clients.dial import Connection
from clients.events import (
    THROTTLED,
    Event,
    differences,
    failure_code_of,
    failure_of,
    field_of,
    in_dialect_of,
    list_of,
    part_of,
)
from clients.hearing import AUDIO_DELTAS, Hearing, Ids, Owner
from clients.kinds import Kind, between
from clients.observations import Fault, FaultName, Observation, Turn, TurnState, ms
from clients.responses import BYTES_PER_S, Response, loudness
from clients.speech import Piece

FIRST_TURN_WITHIN_S = 3.0
SESSION_DEADLINE_S = 10.0
UPDATE_DEADLINE_S = 8.0
# A call that hangs up sooner after its session.update does not report a missing answer.
UPDATE_DUE_S = 4.0
MOST_ASKED_AGAIN = 3
ASK_AGAIN_AFTER_S = (1.0, 1.5)
SOONEST_TOOL_S = 1.0
ASK: Event = {"type": "response.create"}
# A model that may call again could go on for ever.
ASK_WITHOUT_TOOLS: Event = {"type": "response.create", "response": {"tool_choice": "none"}}

Step = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Exchange:
    """One turn while it lasts. `awaited`: the responses of which one ends it; `steps`: what the caller has to do next.

    A step None means that the turn is over.
    """

    spoken_at: float | None = None
    asked_at: float | None = None
    first_audio_ms: float | None = None
    typed: bool = False
    responses: list[Response] = field(default_factory=list)
    awaited: set[str] = field(default_factory=set)
    interrupted: tuple[str | None, int] | None = None
    ask: Event = field(default_factory=lambda: ASK)
    asked_again: int = 0
    function_calls: int = 0
    detail: str | None = None
    code: str | None = None
    steps: asyncio.Queue[Step | None] = field(default_factory=asyncio.Queue)


class Common(NamedTuple):
    """What the calls of a hold have in common. `end` is set when the hold is over."""

    plan: Plan
    utterance: Sequence[Piece]
    ids: Ids
    note: Callable[[Observation], None]
    end: asyncio.Event


class Conversation:
    """`kinds.Talk` for the kinds; `talk`, `hear` and the two ends of it, `cut` and `hung_up`, for the session."""

    def __init__(self, call: int, kind: Kind, connection: Connection, common: Common) -> None:
        self.utterance = common.utterance
        self.turn: TurnState = "idle"
        self.turn_began = time.monotonic()
        self.audio_bytes_sent = 0
        self.audio_sent = hashlib.sha256()
        self._call = call
        self._kind = kind
        self._connection = connection
        self._turn_deadline = common.plan.turn_deadline
        self._tool_seconds = common.plan.tool_seconds
        self._note = common.note
        self._hearing = Hearing(Owner(call, connection.session), common.ids, self._note_fault)
        self._created: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._wanted_terms: Event | None = None
        self._terms_sent_at = math.inf
        self._updated = asyncio.Event()
        self._exchange = Exchange()
        self._deadline: asyncio.Timeout | None = None
        self._handlers: dict[str, Callable[[Event], None]] = {
            "session.created": self._session_created,
            "session.updated": self._session_updated,
            "response.created": self._response_created,
            "response.done": self._response_done,
            "conversation.item.added": self._item_added,
            "conversation.item.created": self._item_added,
            "error": self._error,
        }

    @property
    def upstream_session(self) -> str | None:
        return self._hearing.upstream_session

    async def greeted(self) -> None:
        """Until session.created, or until it is clear that none will come."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SESSION_DEADLINE_S):
                await asyncio.shield(self._created)

    async def talk(self, every: float, until: float) -> None:
        """Returns between two turns, once `until` (monotonic) has come. Raises ConnectionResetError: no more socket."""
        await self._send_terms()
        turn_at = math.inf
        if every and self._kind.talks:
            turn_at = time.monotonic() + between(0, min(every, FIRST_TURN_WITHIN_S))
        while turn_at < until:
            await asyncio.sleep(turn_at - time.monotonic())
            began = time.monotonic()
            await self._take_turn()
            turn_at = max(began + every * between(0.8, 1.2), time.monotonic())
        await asyncio.sleep(until - time.monotonic())

    def hear(self, message: bytes) -> None:
        event = self._hearing.hear(message)
        if event is None:
            return
        kind = event["type"]
        if kind in AUDIO_DELTAS:
            self._audio(event)
        elif handle := self._handlers.get(kind):
            handle(event)

    def hear_binary(self, message: bytes) -> None:
        self._hearing.fault("broken_json", f"a binary message of {len(message)} bytes")

    def cut(self) -> None:
        """The socket has ended: a turn it was in the middle of is a failed one."""
        if self.turn != "idle":
            self._note_turn("cut")

    def hung_up(self) -> None:
        """We have ended it: an open turn is left unanswered, which is no failure."""
        if self.turn != "idle":
            self._note_turn("unanswered")
        if not self._updated.is_set() and time.monotonic() - self._terms_sent_at >= UPDATE_DUE_S:
            self._not_updated()

    # What a kind does in a turn.

    async def say(self, pieces: Sequence[Piece]) -> None:
        began = time.monotonic()
        for filled, piece in enumerate(pieces, start=1):
            await asyncio.sleep(began + filled * speech.CHUNK_S - time.monotonic())
            self.audio_bytes_sent += len(piece.pcm)
            self.audio_sent.update(piece.pcm)
            await self._send(piece.message)

    async def send(self, event: Event) -> None:
        if event["type"] == "conversation.item.create":
            event = event | {"item": event["item"] | {"id": self._hearing.own_item()}}
        await self._send(orjson.dumps(event))

    async def pause(self, seconds: float) -> None:
        self._allow(seconds + self._speech_s + self._turn_deadline)
        await asyncio.sleep(seconds)

    def type(self) -> None:
        now = time.monotonic()
        self._exchange.typed, self._exchange.spoken_at, self._exchange.asked_at = True, now, now

    def spoken(self) -> None:
        self._await_answer()
        self._exchange.spoken_at = self.turn_began

    async def answer_begun(self) -> bool:
        exchange = self._exchange
        while exchange.first_audio_ms is None and (step := await exchange.steps.get()):
            await step()
        return self.turn != "idle"

    async def answered(self) -> None:
        while step := await self._exchange.steps.get():
            await step()

    async def interrupt(self) -> None:
        exchange = self._exchange
        if spoken := [response for response in exchange.responses if response.first_audio_at is not None]:
            last, now = spoken[-1], time.monotonic()
            received_s = last.audio_bytes / BYTES_PER_S
            played_s = min(received_s, now - (last.first_audio_at or now))
            exchange.interrupted = last.audio_item, int(played_s * 1000)
        exchange.awaited.clear()
        exchange.first_audio_ms = None
        self._begin()

    async def forget_unheard(self) -> None:
        if self._exchange.interrupted:
            item, played_ms = self._exchange.interrupted
            place = {"item_id": item, "content_index": 0, "audio_end_ms": played_ms}
            await self.send({"type": "conversation.item.truncate", **place})

    # Reactions to events. All of it at once: a relay that drains may close right behind an event.

    def _session_created(self, event: Event) -> None:
        if not self._created.done():
            self._created.set_result(part_of(event, "session"))

    def _session_updated(self, event: Event) -> None:
        if self._wanted_terms is None or self._updated.is_set():
            return
        self._updated.set()
        if paths := differences(self._wanted_terms, part_of(event, "session")):
            self._hearing.fault("session_differs", f"not as asked for: {', '.join(paths)}")

    def _item_added(self, event: Event) -> None:
        if self._exchange.typed and self.turn == "speaking":
            self._await_answer()

    def _response_created(self, event: Event) -> None:
        self._item_added(event)
        if self.turn == "answering":  # else it is a late answer to the turn before, or one that nobody asked for
            response = self._hearing.responses[event["response"]["id"]]
            self._exchange.responses.append(response)
            self._exchange.awaited.add(response.id)

    def _audio(self, event: Event) -> None:
        exchange = self._exchange
        if exchange.first_audio_ms is None and exchange.asked_at and event["response_id"] in exchange.awaited:
            exchange.first_audio_ms = ms(time.monotonic() - exchange.asked_at)
            exchange.steps.put_nowait(_nothing)

    def _response_done(self, event: Event) -> None:
        response, exchange = event["response"], self._exchange
        if response["id"] not in exchange.awaited or self.turn != "answering":
            return
        exchange.awaited.discard(response["id"])
        exchange.detail = failure_of(response) or exchange.detail
        code = failure_code_of(response)
        exchange.code = code or exchange.code
        calls = [item for item in list_of(response, "output") if item.get("type") == "function_call"]
        if code == THROTTLED and exchange.asked_again < MOST_ASKED_AGAIN:
            self._add_step(self._ask_again)
        elif calls and response.get("status") == "completed":
            self._add_step(partial(self._run_tools, [str(each.get("call_id")) for each in calls]))
        else:
            self._end_turn(str(response.get("status")))

    def _error(self, event: Event) -> None:
        self._exchange.detail = field_of(event, "error", "message")

    # The turn itself.

    async def _take_turn(self) -> None:
        self._exchange = Exchange()
        try:
            async with asyncio.timeout(None) as self._deadline:
                self._begin()
                await self._kind.take_turn(self)
        except TimeoutError:
            if self.turn != "idle":
                self._end_turn("timeout")
        finally:
            self._deadline = None

    def _begin(self) -> None:
        self._enter("speaking")
        self._allow(self._speech_s + self._turn_deadline)

    def _await_answer(self) -> None:
        self._enter("answering")
        self._exchange.asked_at = self.turn_began
        self._allow(self._turn_deadline)

    def _add_step(self, step: Step) -> None:
        """The caller's own time does not count against the model."""
        self._enter("waiting")
        self._allow(None)
        self._exchange.steps.put_nowait(step)

    async def _ask_again(self) -> None:
        self._exchange.asked_again += 1
        await asyncio.sleep(between(*ASK_AGAIN_AFTER_S))
        self._await_answer()
        await self.send(self._exchange.ask)

    async def _run_tools(self, calls: Sequence[str]) -> None:
        began, most = time.monotonic(), self._tool_seconds
        runs = sorted((between(min(SOONEST_TOOL_S, most), most), call) for call in calls)
        for takes, call in runs:
            await asyncio.sleep(began + takes - time.monotonic())
            output = {"type": "function_call_output", "call_id": call, "output": '{"found": true}'}
            await self.send({"type": "conversation.item.create", "item": output})
            self._exchange.function_calls += 1
        self._exchange.ask = ASK_WITHOUT_TOOLS
        self._await_answer()
        await self.send(self._exchange.ask)

    def _end_turn(self, status: str) -> None:
        if status == "completed":
            self._hearing.answered()
        self._note_turn(status)
        self._enter("idle")
        self._exchange.steps.put_nowait(None)

    def _enter(self, turn: TurnState) -> None:
        self.turn, self.turn_began = turn, time.monotonic()

    def _allow(self, seconds: float | None) -> None:
        if self._deadline and not self._deadline.expired():  # else the turn has only just timed out
            self._deadline.reschedule(None if seconds is None else asyncio.get_running_loop().time() + seconds)

    @property
    def _speech_s(self) -> float:
        return len(self.utterance) * speech.CHUNK_S

    async def _send_terms(self) -> None:
        created = self._created.result() if self._created.done() else {}
        self._wanted_terms = in_dialect_of(created, self._kind.terms)
        self._terms_sent_at = time.monotonic()
        await self.send({"type": "session.update", "session": self._wanted_terms})
        try:
            async with asyncio.timeout(UPDATE_DEADLINE_S):
                await self._updated.wait()
        except TimeoutError:
            self._not_updated()

    def _not_updated(self) -> None:
        if self._terms_sent_at < math.inf:
            waited_s = time.monotonic() - self._terms_sent_at
            self._terms_sent_at = math.inf
            self._hearing.fault("no_session_updated", f"none {waited_s:.1f} s after session.update")

    async def _send(self, message: bytes) -> None:
        await self._connection.socket.send_frame(message, aiohttp.WSMsgType.TEXT)

    def _note_turn(self, status: str) -> None:
        exchange, spoken = self._exchange, self._exchange.spoken_at
        heard = exchange.responses
        gaps = [response.worst_gap_s for response in heard if response.worst_gap_s is not None]
        samples = sum(response.samples for response in heard)
        level = loudness(sum(response.squares for response in heard), samples)
        self._note(
            Turn(
                call=self._call,
                kind=self._kind.name,
                session=self._connection.session,
                revision=self._connection.revision,
                replica=self._connection.replica,
                status=status,
                first_audio_ms=exchange.first_audio_ms,
                duration_ms=ms(time.monotonic() - spoken) if spoken else None,
                detail=exchange.detail,
                code=exchange.code,
                function_calls=exchange.function_calls,
                responses=[response.as_heard() for response in heard],
                worst_gap_ms=ms(max(gaps)) if gaps else None,
                loudness=round(level, 4) if samples else None,
            )
        )

    def _note_fault(self, fault: FaultName, detail: str) -> None:
        self._note(
            Fault(
                call=self._call,
                kind=self._kind.name,
                session=self._connection.session,
                revision=self._connection.revision,
                replica=self._connection.replica,
                fault=fault,
                detail=detail,
            )
        )


async def _nothing() -> None:
    """A step that only signals that the answer has begun."""
