"""What the model does about each thing a client can say.

Handlers are synchronous: a handler's events have left before the next client event is read. Only a
response being spoken and a transcription run beside them, as tasks that `end` stops.
"""

import asyncio
from collections.abc import Callable, Mapping

from stage.gpt.answers import choose_output, read_ask
from stage.gpt.ears import Ears, measure
from stage.gpt.history import Item, heard_tokens
from stage.gpt.items import Items
from stage.gpt.responses import Floor, Response
from stage.gpt.shapes import Event, Rejected, error, message, new_id, require, unsupported
from stage.gpt.speaking import Speaker, Tempo
from stage.gpt.terms import changed_terms
from stage.gpt.transcription import transcribe
from stage.gpt.voice import Voice

_SHORTEST_COMMIT_MS = 100


class Conversation:
    def __init__(self, session: Event, voice: Voice, floor: Floor, tempo: Tempo) -> None:
        self.session = session
        self._voice, self._floor, self._tempo = voice, floor, tempo
        self._emit, self._history = floor.emit, floor.history
        self._items = Items(floor)
        self._ears = Ears()
        self._buffer_from_ms = 0
        self._next_item_id = new_id("item")
        self._speaker: Speaker | None = None
        self._transcriptions: set[asyncio.Task[None]] = set()
        self.handlers: Mapping[str, Callable[[Event], None]] = {
            "session.update": self._update_session,
            "input_audio_buffer.append": self._append_audio,
            "input_audio_buffer.commit": self._commit_audio,
            "input_audio_buffer.clear": self._clear_audio,
            **self._items.handlers,
            "response.create": self._create_response,
            "response.cancel": self._cancel_response,
        }

    def hear(self, event: Event) -> None:
        """Act on one client event; raises Rejected, having changed nothing, when it cannot be."""
        kind = require(event, "type", str)
        if kind not in self.handlers:
            raise unsupported("type", kind, list(self.handlers))
        self.handlers[kind](event)

    def respond(self, params: Event, flood_bytes: int = 0) -> None:
        if self._active:
            raise Rejected(
                "conversation_already_has_active_response",
                f"Conversation already has an active response in progress: {self._active.response.id}. "
                "Wait until the response is finished before creating a new one.",
            )
        ask = read_ask(self.session, params)
        output = choose_output(ask, self._history, self._voice)
        response = Response(self._floor, ask, output)
        self._speaker = Speaker(response, output, ask.token_limit, self._tempo, flood_bytes)

    async def end(self) -> None:
        """Stop everything that could still speak; may be called again."""
        for task in self._transcriptions:
            task.cancel()
        if self._transcriptions:
            await asyncio.wait(self._transcriptions)
        if self._active:
            await self._active.abandon()

    def _update_session(self, event: Event) -> None:
        change = require(event, "session", dict)
        has_spoken = any(item.is_spoken_answer() for item in self._history)
        self.session = changed_terms(self.session, change, has_spoken=has_spoken)
        self._emit({"type": "session.updated", "session": self.session})

    def _append_audio(self, event: Event) -> None:
        try:
            windows = measure(require(event, "audio", str))
        except ValueError:
            raise Rejected("invalid_value", "Invalid 'audio'. Expected base64-encoded audio bytes.", "audio") from None
        for edge in self._ears.hear(windows, self._detection):
            if edge.speaking:
                self._start_speech(edge.at_ms)
            else:
                self._stop_speech(edge.at_ms)

    def _start_speech(self, at_ms: int) -> None:
        at_ms = max(at_ms, self._buffer_from_ms)
        self._buffer_from_ms = at_ms
        started = {"audio_start_ms": at_ms, "item_id": self._next_item_id}
        self._emit({"type": "input_audio_buffer.speech_started", **started})
        if self._active and self._detection and self._detection["interrupt_response"]:
            self._active.cut("turn_detected")

    def _stop_speech(self, at_ms: int) -> None:
        stopped = {"audio_end_ms": at_ms, "item_id": self._next_item_id}
        self._emit({"type": "input_audio_buffer.speech_stopped", **stopped})
        self._take_buffer()
        if self._detection and self._detection["create_response"]:
            try:
                self.respond({})
            except Rejected as busy:
                self._emit(error(busy.code, busy.message, busy.param))

    def _commit_audio(self, event: Event) -> None:
        buffered_ms = self._ears.heard_ms - self._buffer_from_ms
        if buffered_ms < _SHORTEST_COMMIT_MS:
            raise Rejected(
                "input_audio_buffer_commit_empty",
                "Error committing input audio buffer: buffer too small. Expected at least "
                f"{_SHORTEST_COMMIT_MS}ms of audio, but buffer only has {buffered_ms:.2f}ms of audio.",
            )
        self._ears.forget()
        self._take_buffer()

    def _take_buffer(self) -> None:
        """The buffered audio becomes the user's item."""
        ms = self._ears.heard_ms - self._buffer_from_ms
        item_id, self._next_item_id = self._next_item_id, new_id("item")
        self._buffer_from_ms = self._ears.heard_ms
        ids = {"previous_item_id": self._history.last_id, "item_id": item_id}
        self._emit({"type": "input_audio_buffer.committed", **ids})
        item = Item(message(item_id, "user", [{"type": "input_audio", "transcript": None}]))
        item.audio_ms, item.audio_tokens = ms, heard_tokens(ms)
        self._items.add(item)
        if self.session["audio"]["input"]["transcription"]:
            task = asyncio.create_task(transcribe(item, self._emit))
            self._transcriptions.add(task)
            task.add_done_callback(self._transcriptions.discard)

    def _clear_audio(self, event: Event) -> None:
        self._ears.forget()
        self._buffer_from_ms = self._ears.heard_ms
        self._emit({"type": "input_audio_buffer.cleared"})

    def _create_response(self, event: Event) -> None:
        self.respond(require(event, "response", dict) if event.get("response") is not None else {})

    def _cancel_response(self, event: Event) -> None:
        if not self._active:
            raise Rejected("response_cancel_not_active", "Cancellation failed: no active response found")
        self._active.cut("client_cancelled")

    @property
    def _active(self) -> Speaker | None:
        return self._speaker if self._speaker and self._speaker.response.active else None

    @property
    def _detection(self) -> Event | None:
        detection: Event | None = self.session["audio"]["input"]["turn_detection"]
        return detection
