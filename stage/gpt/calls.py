"""One client's call, top to bottom: accept, greet, converse, end, one record.

A call ends when its client goes or when `end` is asked for, whichever is first; either way no task of it is left.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from stage.gpt.conversation import Conversation
from stage.gpt.dialects import Dialect
from stage.gpt.history import History
from stage.gpt.options import Options
from stage.gpt.record import Record, now
from stage.gpt.responses import Floor
from stage.gpt.shapes import Event, Rejected, error, new_id
from stage.gpt.speaking import Tempo
from stage.gpt.terms import first_terms
from stage.gpt.voice import Voice
from stage.gpt.wire import Wire

Ending = Callable[[], Awaitable[None]]

_GOING_AWAY = 1001
_CUT_SHORT = b'{"type":"response.output_audio.delta","event_id":"event_'


class Call:
    def __init__(
        self, request: web.Request, options: Options, voice: Voice, dialect: Dialect, authenticated_by: str
    ) -> None:
        session = first_terms(options.model, options.silence_ms, options.session_seconds)
        self.record = Record(
            id=session["id"],
            dialect=dialect.name,
            deployment=options.model,
            authenticated_by=authenticated_by,
            request_headers=sorted(name.lower() for name in request.headers),
        )
        self.wire = Wire(request, self.record)
        self.may_finish = asyncio.Event()
        self.may_finish.set()
        floor = Floor(new_id("conv"), History(), self._emit, options.rate_limits == "start")
        tempo = Tempo(options.pace, self.wire.drained, self.may_finish)
        self.conversation = Conversation(session, voice, floor, tempo)
        self._dialect, self._seconds = dialect, options.session_seconds
        self._drop_after_s = options.drop_after_seconds
        self._ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()

    async def run(self) -> web.StreamResponse:
        """Hold the call to its end. Raises ConnectionError when the client left before the 101."""
        await self.wire.accept()
        loop = asyncio.get_running_loop()
        timers = [loop.call_later(self._seconds, self.expire)]
        if self._drop_after_s is not None:
            timers.append(loop.call_later(self._drop_after_s, self.end, self.wire.drop))
        reading = asyncio.create_task(self._converse())
        try:
            self._emit({"type": "session.created", "session": self.conversation.session})
            either: set[asyncio.Future[Any]] = {reading, self._ending}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._ending.done():
                await _stop(reading)
                await self.conversation.end()
                await self._ending.result()()
            else:
                reading.result()
        finally:
            for timer in timers:
                timer.cancel()
            await _stop(reading)
            await self.conversation.end()
            await self.wire.release()
            self.record.end("network")
            self.record.ended = now()
        return self.wire.response

    def end(self, how: Ending) -> None:
        """Ask the call to end itself by `how`; only the first to ask is heard."""
        if not self._ending.done():
            self._ending.set_result(how)

    def close(self, code: int, reason: str) -> None:
        self.end(partial(self.wire.close, code, reason))

    def expire(self) -> None:
        self.end(self._expire)

    def garble(self) -> None:
        """One text frame that stops in the middle of its JSON."""
        self.wire.send(_CUT_SHORT)

    async def _expire(self) -> None:
        message = f"Your session hit the maximum duration of {self._seconds / 60:.3g} minutes."
        self._emit(error("session_expired", message))
        await self.wire.close(_GOING_AWAY, message)

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
