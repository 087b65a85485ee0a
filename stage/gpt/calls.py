"""One client's call, top to bottom: accept, greet, converse, end, one record.

A call ends when its client goes or when `end` is asked for, whichever is first; either way no task of it is left.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from stage.gpt.audio import Voice
from stage.gpt.conversation import Conversation, Throttle
from stage.gpt.handshake import Dialect, Welcome
from stage.gpt.options import Options, first_terms, first_transcription_terms
from stage.gpt.outputs import RunningCalls
from stage.gpt.responses import Floor, Sent, Tempo
from stage.gpt.shapes import Event, History, Rejected, error, new_id
from stage.gpt.wire import Record, RecordFile, Wire, now

Ending = Callable[[], Awaitable[None]]
_GOING_AWAY = 1001
_CUT_SHORT = b'{"type":"response.output_audio.delta","event_id":"event_'


@dataclass(frozen=True)
class Shared:
    """What every call of a deployment has in common."""

    options: Options
    voice: Voice
    throttle: Throttle
    file: RecordFile


class Call:
    def __init__(self, request: web.Request, shared: Shared, dialect: Dialect, welcome: Welcome) -> None:
        options = shared.options
        session = first_transcription_terms(options) if welcome.only_transcribes else first_terms(options)
        self.record = Record(
            id=session["id"],
            dialect=dialect.name,
            deployment=options.model,
            authenticated_by=welcome.authenticated_by,
            request_headers=sorted(name.lower() for name in request.headers),
        )
        self.wire = Wire(request, self.record)
        self.may_finish = asyncio.Event()
        self.may_finish.set()
        history = History()
        floor = Floor(
            conversation_id=new_id("conv"),
            history=history,
            emit=self._emit,
            rate_limits_first=options.rate_limits == "start",
            note=self._note,
            mcp_calls=RunningCalls(self._emit, history, options.mcp_seconds),
            transcription_s=options.transcription_seconds,
            unverified=options.unverified,
        )
        tempo = Tempo(options.thinking_seconds, options.noise_seconds, options.pace, self.wire.drained, self.may_finish)
        self.conversation = Conversation(session, shared.voice, floor, tempo, shared.throttle)
        self._dialect, self._seconds, self._file = dialect, options.session_seconds, shared.file
        self._is_silent = False
        self._refused_late = welcome.refused_late
        self._greets_first = options.unverified.greets_before_a_late_refusal
        self._drop_after_s = options.drop_after_seconds
        self._ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()

    async def run(self) -> web.StreamResponse:
        """Run the call to its end. Raises ConnectionError when the client left before the 101."""
        await self.wire.accept()
        loop = asyncio.get_running_loop()
        timers = [loop.call_later(self._seconds, self.expire)]
        if self._drop_after_s is not None:
            timers.append(loop.call_later(self._drop_after_s, self.end, self.wire.drop))
        reading = asyncio.create_task(self._converse())
        try:
            if self._refused_late is None or self._greets_first:
                self._emit({"type": "session.created", "session": self.conversation.session})
            if self._refused_late is not None:
                self.fail(self._refused_late.code, self._refused_late.error, self._refused_late.message)
            either: set[asyncio.Future[Any]] = {reading, self._ending}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._ending.done():
                await _stop(reading)
                await self._fall_silent()
                await self._ending.result()()
            else:
                reading.result()
        finally:
            for timer in timers:
                timer.cancel()
            await _stop(reading)
            await self._fall_silent()
            await self.wire.release()
            self.record.end("network")
            self.record.ended = now()
            self._file.session_ended(self.record)
        return self.wire.response

    def end(self, how: Ending) -> None:
        """Ask the call to end itself by `how`; only the first request counts."""
        if not self._ending.done():
            self._ending.set_result(how)

    def close(self, code: int, reason: str) -> None:
        self.end(partial(self.wire.close, code, reason))

    def fail(self, code: int, error_code: str, message: str, reason: str | None = None) -> None:
        """An `error` event, then Close, which mostly has the same reason."""
        self.end(partial(self._fail, code, error_code, message, reason or f"invalid_request_error.{error_code}"))

    def expire(self) -> None:
        message = f"Your session hit the maximum duration of {self._seconds / 60:.3g} minutes."
        self.fail(_GOING_AWAY, "session_expired", message, message)

    def witness(self) -> None:
        """Bring the record's audio heard and responses owed up to date."""
        ears = self.conversation.ears
        self.record.audio_bytes_heard, self.record.audio_sha256_heard = ears.bytes, ears.sha256
        if not self._is_silent:
            self.record.owed = self.conversation.owed

    def garble(self) -> None:
        """One text frame that stops in the middle of its JSON."""
        self.wire.send(_CUT_SHORT)

    async def _fall_silent(self) -> None:
        """Ends the conversation: what is unfinished now was cut off by the end of the call."""
        self.witness()
        self._is_silent = True
        await self.conversation.end()

    async def _fail(self, code: int, error_code: str, message: str, reason: str) -> None:
        self._emit(error(error_code, message))
        await self.wire.close(code, reason)

    def _note(self, response_id: str, status: str, sent: Sent) -> None:
        self._file.response(self.record.id, response_id, status, sent)

    async def _converse(self) -> None:
        async for frame in self.wire.frames():
            event: Event = {}
            try:
                event = _parse(frame.type, frame.data)
                self._count(event)
                self.conversation.hear(self._dialect.incoming(event))
            except Rejected as no:
                event_id = event.get("event_id")
                self._emit(error(no.code, no.message, no.param, event_id if isinstance(event_id, str) else None))
            await self.wire.bounded()

    def _emit(self, event: Event) -> None:
        if event["type"] == "response.done":
            self.record.used(event["response"]["usage"])
        if told := self._dialect.outgoing(event):
            self.wire.send(orjson.dumps({"type": told["type"], "event_id": new_id("event"), **told}))

    def _count(self, event: Event) -> None:
        kind = str(event.get("type"))
        self.record.events_received[kind if kind in self.conversation.handlers else "unknown"] += 1


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


def _parse(kind: WSMsgType, data: str | bytes) -> Event:
    if kind is WSMsgType.BINARY:
        raise Rejected("invalid_frame", "Binary frames are not supported: send each event as one JSON text frame.")
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError as fault:
        raise Rejected("invalid_json", f"Could not parse the event as JSON: {fault}.") from None
    if not isinstance(event, dict):
        raise Rejected("invalid_type", "Invalid event: expected a JSON object.")
    return event
