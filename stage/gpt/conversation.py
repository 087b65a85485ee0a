"""What the model does about each event of a client.

Handlers are synchronous: a handler's events have left before the next client event is read. Only a response being
spoken and a transcription run beside them, as tasks that `end` stops.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

from stage.gpt.audio import BYTES_PER_MS, Ears, IdleTimer, Voice, measure, transcribe
from stage.gpt.options import changed_terms
from stage.gpt.outputs import Servers
from stage.gpt.responses import Ask, Floor, Mishap, Plan, Response, Speaker, Tempo, choose_outputs, read_ask
from stage.gpt.shapes import (
    Event,
    Item,
    Rejected,
    error,
    heard_tokens,
    message,
    new_id,
    require,
    text_tokens,
    unsupported,
)

_PARTS_BY_ROLE: Mapping[str, tuple[str, ...]] = {
    "user": ("input_text", "input_audio", "input_image"),
    "assistant": ("output_text", "output_audio"),
    "system": ("input_text",),
}
_LONGEST_ID = 32
_SHORTEST_COMMIT_MS = 100
_OUT_OF_TOKENS = "Too many tokens are asked of this deployment. Please retry later."


class Throttle:
    """Lets a share of the responses of all calls fail, evenly: 0.25 is every fourth."""

    def __init__(self, share: float) -> None:
        self._share, self._due = share, 0.0

    def strikes(self) -> bool:
        self._due += self._share
        if self._due < 1 - 1e-9:
            return False
        self._due -= 1
        return True


class Items:
    def __init__(self, floor: Floor) -> None:
        self._history, self._emit, self._mcp_calls = floor.history, floor.emit, floor.mcp_calls
        self._approved_run_at_once = floor.unverified.approved_call_runs_at_once
        self.handlers: Mapping[str, Callable[[Event], None]] = {
            "conversation.item.create": self._create,
            "conversation.item.retrieve": self._retrieve,
            "conversation.item.delete": self._delete,
            "conversation.item.truncate": self._truncate,
        }

    def add(self, item: Item, after: str | None = None) -> None:
        """Put a finished item into the conversation and tell the client."""
        placed = {"previous_item_id": self._history.add(item, after), "item": item.shape}
        self._emit({"type": "conversation.item.added", **placed})
        self._emit({"type": "conversation.item.done", **placed})

    def _create(self, event: Event) -> None:
        item = self._read(require(event, "item", dict))
        self.add(item, event.get("previous_item_id"))
        if self._approved_run_at_once and (request := self._history.just_approved()):
            self._mcp_calls.run_approved(request)

    def _retrieve(self, event: Event) -> None:
        item = self._history.find(require(event, "item_id", str), "retrieve")
        self._emit({"type": "conversation.item.retrieved", "item": item.shape})

    def _delete(self, event: Event) -> None:
        item_id = require(event, "item_id", str)
        self._history.remove(item_id)
        self._emit({"type": "conversation.item.deleted", "item_id": item_id})

    def _truncate(self, event: Event) -> None:
        item_id, index = require(event, "item_id", str), require(event, "content_index", int)
        end_ms = require(event, "audio_end_ms", int)
        self._history.find(item_id, "truncate").truncate(end_ms)
        place = {"item_id": item_id, "content_index": index, "audio_end_ms": end_ms}
        self._emit({"type": "conversation.item.truncated", **place})

    def _read(self, given: Event) -> Item:
        readers = {
            "message": _read_message,
            "function_call": _read_function_call,
            "function_call_output": self._read_function_output,
            "mcp_approval_response": self._read_approval,
        }
        kind = require(given, "type", str, "item.")
        if kind not in readers:
            raise unsupported("item.type", kind, list(readers))
        item_id = given.get("id") or new_id("item")
        if not isinstance(item_id, str) or len(item_id) > _LONGEST_ID:
            raise Rejected(
                "string_above_max_length",
                f"Invalid 'item.id': expected a string with maximum length {_LONGEST_ID}.",
                "item.id",
            )
        return readers[kind](item_id, given)

    def _read_function_output(self, item_id: str, given: Event) -> Item:
        call_id, output = require(given, "call_id", str, "item."), require(given, "output", str, "item.")
        calls = (item.shape for item in self._history if item.shape["type"] == "function_call")
        if not any(call["call_id"] == call_id for call in calls):
            raise Rejected(
                "invalid_value",
                f"No tool call found for function call output with call_id '{call_id}'.",
                "item.call_id",
            )
        shape = {"call_id": call_id, "output": output}
        return Item(_function_shape(item_id, "function_call_output", shape), text_tokens(output))

    def _read_approval(self, item_id: str, given: Event) -> Item:
        request_id, approve = (
            require(given, "approval_request_id", str, "item."),
            require(given, "approve", bool, "item."),
        )
        kinds = {item.id: item.shape["type"] for item in self._history}
        answered = {item.shape.get("approval_request_id") for item in self._history}
        if kinds.get(request_id) != "mcp_approval_request" or request_id in answered:
            raise Rejected(
                "invalid_value", f"No approval request is open with id '{request_id}'.", "item.approval_request_id"
            )
        answer = {"id": item_id, "type": "mcp_approval_response", "approval_request_id": request_id, "approve": approve}
        return Item(answer)


def _read_message(item_id: str, given: Event) -> Item:
    role = require(given, "role", str, "item.")
    if role not in _PARTS_BY_ROLE:
        raise unsupported("item.role", role, list(_PARTS_BY_ROLE))
    item = Item(message(item_id, role, []))
    for index, part in enumerate(require(given, "content", list, "item.")):
        path = f"item.content[{index}]"
        if not isinstance(part, dict) or part.get("type") not in _PARTS_BY_ROLE[role]:
            kind = part.get("type") if isinstance(part, dict) else part
            raise unsupported(f"{path}.type", kind, _PARTS_BY_ROLE[role])
        needed = {"text"} if part["type"].endswith("_text") else set()
        for field in needed | {name for name in ("audio", "transcript") if part.get(name) is not None}:
            require(part, field, str, f"{path}.")
        _weigh(item, part)
        item.shape["content"].append({name: value for name, value in part.items() if name != "audio"})
    return item


def _weigh(item: Item, part: Event) -> None:
    item.text_tokens += text_tokens(part.get("text"), part.get("transcript"))
    ms = len(part.get("audio") or "") * 3 // 4 // BYTES_PER_MS
    item.audio_ms, item.audio_tokens = item.audio_ms + ms, item.audio_tokens + heard_tokens(ms)


def _read_function_call(item_id: str, given: Event) -> Item:
    name, arguments = require(given, "name", str, "item."), require(given, "arguments", str, "item.")
    call_id = require({"call_id": new_id("call"), **given}, "call_id", str, "item.")
    shape = {"call_id": call_id, "name": name, "arguments": arguments}
    return Item(_function_shape(item_id, "function_call", shape), text_tokens(name, arguments))


def _function_shape(item_id: str, kind: str, fields: Event) -> Event:
    return {"id": item_id, "object": "realtime.item", "type": kind, "status": "completed", **fields}


class Conversation:
    """`answers` False: the model begins no response. `mishaps`: of the next responses; then `throttle` decides."""

    def __init__(self, session: Event, voice: Voice, floor: Floor, tempo: Tempo, throttle: Throttle) -> None:
        self.session = session
        self.answers = True
        self.mishaps: deque[Mishap] = deque()
        self._voice, self._floor, self._tempo, self._throttle = voice, floor, tempo, throttle
        self._emit, self._history = floor.emit, floor.history
        self._servers = Servers(floor.emit, floor.history)
        self._items = Items(floor)
        self.ears = Ears(floor.unverified.semantic_silence_ms)
        self._idle = IdleTimer(lambda: self.ears.heard_ms, self._speak_unasked)
        self._buffer_from_ms = 0
        self._next_item_id = new_id("item")
        self._speaker: Speaker | None = None  # of the conversation; out-of-band responses run beside it
        self._unasked: Speaker | None = None  # the answer to the last idle timeout
        self._beside: dict[str, Speaker] = {}
        self._transcriptions: set[asyncio.Task[None]] = set()
        self.handlers: Mapping[str, Callable[[Event], None]] = {
            "session.update": self._update_session,
            "input_audio_buffer.append": self._append_audio,
            "input_audio_buffer.commit": self._commit_audio,
            "input_audio_buffer.clear": self._clear_audio,
            **self._items.handlers,
            **({} if self._only_transcribes else self._response_handlers),
        }

    def hear(self, event: Event) -> None:
        """Act on one client event; raises Rejected, having changed nothing, when it cannot be."""
        kind = require(event, "type", str)
        if kind not in self.handlers:
            raise unsupported("type", kind, list(self.handlers))
        self.handlers[kind](event)

    def respond(self, params: Event, flood_bytes: int = 0) -> None:
        """Begin a response. Only one at a time may belong to the conversation; others run beside it."""
        ask = read_ask(self.session, params)
        if self._active and not ask.out_of_band:
            raise Rejected(
                "conversation_already_has_active_response",
                f"Conversation already has an active response in progress: {self._active.response.id}. "
                "Wait until the response is finished before creating a new one.",
            )
        self._servers.check(ask.tools, "response.")
        self._servers.add(ask.tools, at_once=True)
        plan = self._plan(ask, flood_bytes)
        if not self.answers:
            return
        speaker = Speaker(Response(self._floor, ask), plan, self._tempo, self._ended)
        if ask.out_of_band:
            self._beside[speaker.response.id] = speaker
        else:
            self._idle.stop()
            self._speaker = speaker

    @property
    def owed(self) -> list[str]:
        """What the model has begun and not finished, a name for each kind."""
        begun = {
            "response": bool(self._active or self._beside),
            "mcp_call": bool(self._floor.mcp_calls),
            "speech": self.ears.speaking,
            "transcription": bool(self._transcriptions),
        }
        return [what for what, is_open in begun.items() if is_open]

    async def end(self) -> None:
        """Stop everything that could still speak; may be called again."""
        self._idle.stop()
        await self._servers.end()
        await self._floor.mcp_calls.end()
        for task in self._transcriptions:
            task.cancel()
        if self._transcriptions:
            await asyncio.wait(self._transcriptions)
        for speaker in [*self._beside.values(), *([self._active] if self._active else [])]:
            await speaker.abandon()

    def _plan(self, ask: Ask, flood_bytes: int) -> Plan:
        callable_there = self._servers.tools(ask.tools)
        outputs = choose_outputs(ask, self._history, self._voice, callable_there, self._floor.unverified)
        mishap = Mishap.NONE
        if self.mishaps:
            mishap = self.mishaps.popleft()
        elif self._throttle.strikes():
            mishap = Mishap.THROTTLED
        kind = self._floor.unverified.throttled_error_type
        throttled = {"type": kind, "code": "inference_rate_limit_exceeded", "message": _OUT_OF_TOKENS}
        return Plan(outputs, ask.token_limit, flood_bytes, mishap, throttled)

    def _ended(self, speaker: Speaker) -> None:
        """A response has emitted its `response.done`."""
        if self._beside.pop(speaker.response.id, None):
            return
        repeats = self._floor.unverified.idle_timeout_repeats or speaker is not self._unasked
        detection = self._detection
        if repeats and detection and detection.get("idle_timeout_ms") and not self.ears.speaking:
            playback_s = speaker.response.sent.audio_bytes / BYTES_PER_MS / 1000
            self._idle.start(playback_s, detection["idle_timeout_ms"] / 1000)

    def _speak_unasked(self, played_at_ms: int) -> None:
        """The user was silent for as long as the idle timeout: the silence becomes an item, and is answered."""
        start_ms = max(played_at_ms, self._buffer_from_ms)
        silence = {"audio_start_ms": start_ms, "audio_end_ms": self.ears.heard_ms, "item_id": self._next_item_id}
        self._emit({"type": "input_audio_buffer.timeout_triggered", **silence})
        self._buffer_from_ms = start_ms
        self._take_buffer()
        self._respond_unasked()
        self._unasked = self._speaker

    def _respond_unasked(self) -> None:
        try:
            self.respond({})
        except Rejected as busy:
            self._emit(error(busy.code, busy.message, busy.param))

    def _update_session(self, event: Event) -> None:
        change = require(event, "session", dict)
        has_spoken = any(item.is_spoken_answer() for item in self._history)
        unverified = self._floor.unverified
        session = changed_terms(self.session, change, has_spoken=has_spoken, unverified=unverified)
        self._servers.check(change.get("tools") or [], "session.")
        self.session = session
        if not (self._detection and self._detection.get("idle_timeout_ms")):
            self._idle.stop()
        self._emit({"type": "session.updated", "session": self.session})
        self._servers.add(self.session.get("tools") or [])

    def _append_audio(self, event: Event) -> None:
        try:
            sound = measure(require(event, "audio", str))
        except ValueError:
            raise Rejected("invalid_value", "Invalid 'audio'. Expected base64-encoded audio bytes.", "audio") from None
        for edge in self.ears.hear(sound, self._detection):
            if edge.speaking:
                self._start_speech(edge.at_ms)
            else:
                self._stop_speech(edge.at_ms)

    def _start_speech(self, at_ms: int) -> None:
        self._idle.stop()
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
        if self._detection and self._detection["create_response"] and not self._only_transcribes:
            self._respond_unasked()

    def _commit_audio(self, event: Event) -> None:
        buffered_ms = self.ears.heard_ms - self._buffer_from_ms
        if buffered_ms < _SHORTEST_COMMIT_MS:
            raise Rejected(
                "input_audio_buffer_commit_empty",
                "Error committing input audio buffer: buffer too small. Expected at least "
                f"{_SHORTEST_COMMIT_MS}ms of audio, but buffer only has {buffered_ms:.2f}ms of audio.",
            )
        self._idle.stop()
        self.ears.forget()
        self._take_buffer()

    def _take_buffer(self) -> None:
        """The buffered audio becomes the user's item."""
        ms = self.ears.heard_ms - self._buffer_from_ms
        item_id, self._next_item_id = self._next_item_id, new_id("item")
        self._buffer_from_ms = self.ears.heard_ms
        ids = {"previous_item_id": self._history.last_id, "item_id": item_id}
        self._emit({"type": "input_audio_buffer.committed", **ids})
        item = Item(message(item_id, "user", [{"type": "input_audio", "transcript": None}]))
        item.audio_ms, item.audio_tokens = ms, heard_tokens(ms)
        self._items.add(item)
        if transcription := self.session["audio"]["input"]["transcription"]:
            model = str(transcription.get("model"))
            by_duration = any(word in model for word in self._floor.unverified.duration_billed)
            task = asyncio.create_task(
                transcribe(item, self._emit, self._floor.transcription_s, by_duration=by_duration)
            )
            self._transcriptions.add(task)
            task.add_done_callback(self._transcriptions.discard)

    def _clear_audio(self, event: Event) -> None:
        self._idle.stop()
        self.ears.forget()
        self._buffer_from_ms = self.ears.heard_ms
        self._emit({"type": "input_audio_buffer.cleared"})

    def _create_response(self, event: Event) -> None:
        self.respond(require(event, "response", dict) if event.get("response") is not None else {})

    def _cancel_response(self, event: Event) -> None:
        """The one that `response_id` names, or that of the conversation."""
        named = event.get("response_id")
        running = self._active
        if named is not None and not (running and running.response.id == named):
            running = self._beside.get(str(named))
        if not running:
            raise Rejected("response_cancel_not_active", "Cancellation failed: no active response found")
        running.cut("client_cancelled")

    @property
    def _only_transcribes(self) -> bool:
        return bool(self.session["type"] == "transcription")

    @property
    def _response_handlers(self) -> Mapping[str, Callable[[Event], None]]:
        return {"response.create": self._create_response, "response.cancel": self._cancel_response}

    @property
    def _active(self) -> Speaker | None:
        return self._speaker if self._speaker and self._speaker.response.active else None

    @property
    def _detection(self) -> Event | None:
        detection: Event | None = self.session["audio"]["input"]["turn_detection"]
        return detection
