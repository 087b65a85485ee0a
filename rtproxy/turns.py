"""What the model says about the call: quiet, user speaking or responding; and the tokens it used.

The tap sees the head of each server text message, finds the event's type there and forgets the message, unless
it is one of the few that say where the call is in its turn: those are collected (bounded) and parsed.
"""

import time
from collections.abc import Callable
from typing import Any

import orjson

HEAD_BYTES = 128
"""The type's key stands first, or right after ``event_id``, in every event of the service."""
KIND_BYTES = 64
"""And its value behind it: no type that matters is half as long."""
COLLECT_LIMIT = 256 * 1024
"""Bytes of one message kept for parsing; a longer one still moves the turn, its details are not read."""
NAME_LIMIT = 128
"""Characters of a session's id and an error's code, which go into the log."""
SETTLE_S = 2.0
"""A turn goes on for this long after the user stopped speaking, and after a response that called a function:
the model's answer, or the next response, is on its way."""

QUIET, SPEAKING, RESPONDING = "quiet", "speaking", "responding"


class Turns:
    """The turn state of one call, moved by server events.

    ``on_change`` is called after each move, ``on_event`` with the type of the event that made it.
    """

    __slots__ = (
        "_kind",
        "_settle_until",
        "_text",
        "active",
        "error_code",
        "on_change",
        "on_event",
        "responses",
        "speaking",
        "tokens_in",
        "tokens_out",
        "upstream_session",
    )

    def __init__(self) -> None:
        self._kind: bytes | None = None
        self._text: bytearray | None = None
        self._settle_until = 0.0
        self.on_change: Callable[[], None] | None = None
        self.on_event: Callable[[str], None] | None = None
        self.active = 0
        self.speaking = False
        self.responses = 0
        self.tokens_in = 0
        self.tokens_out = 0
        self.upstream_session: str | None = None
        self.error_code: str | None = None

    @property
    def state(self) -> str:
        """``quiet``, ``speaking`` or ``responding``, as the model last said."""
        if self.active:
            return RESPONDING
        return SPEAKING if self.speaking or self.settling_s() > 0 else QUIET

    @property
    def quiet(self) -> bool:
        """Nobody speaks and no answer is due: a moment at which a call may be closed."""
        return self.state is QUIET

    def settling_s(self) -> float:
        """Seconds until a turn that paused counts as over; 0 or less when none is pending."""
        return self._settle_until - time.monotonic() if self._settle_until else 0.0

    # The tap (frames.Tap): called by the walker for each text message of the upstream leg.

    ignores: tuple[bytes, ...] = (b'{"type":"response.output_audio', b'{"type":"response.audio')
    """Nearly every message, and none that moves a turn."""

    def begin(self, data: bytes, start: int, stop: int, done: bool) -> bool:
        """Reads the type off the head; true when the rest of the message is needed."""
        # Never further, however much of the message is there already: a cut must not decide what is heard.
        end = min(stop, start + HEAD_BYTES + KIND_BYTES)
        key = data.find(b'"type"', start, end)
        if 0 <= key - start < HEAD_BYTES:
            opening = data.find(b'"', key + 6, end)
            closing = data.find(b'"', opening + 1, end)
            if opening >= 0 and closing >= 0:
                kind = data[opening + 1 : closing]
                if kind not in _MOVES:
                    return False
                if done:
                    self._move(kind, data[start:stop])
                    return False
                self._kind = kind
        if done or (self._kind is None and stop - start >= HEAD_BYTES + KIND_BYTES):
            return False
        self._text = bytearray(data[start:stop])
        return True

    def more(self, data: bytes, start: int, stop: int, done: bool) -> bool:
        """Collects a message that began in an earlier chunk; true while it is still needed."""
        text, kind = self._text, self._kind
        assert text is not None
        if len(text) <= COLLECT_LIMIT:
            text += data[start:stop]
        if kind is None:
            self._text = None
            return self.begin(bytes(text), 0, len(text), done)
        if not done:
            return True
        self._text = self._kind = None
        self._move(kind, bytes(text))
        return False

    def _move(self, kind: bytes, text: bytes) -> None:
        try:
            event = _dict(orjson.loads(text))
        except orjson.JSONDecodeError:
            event = {}
        _MOVES[kind](self, event)
        if self.on_event is not None:
            self.on_event(kind.decode())
        if self.on_change is not None:
            self.on_change()

    def _session_created(self, event: dict[str, Any]) -> None:
        session = _dict(event.get("session")).get("id")
        self.upstream_session = session[:NAME_LIMIT] if isinstance(session, str) else None

    def _speech_started(self, event: dict[str, Any]) -> None:
        self.speaking = True

    def _speech_stopped(self, event: dict[str, Any]) -> None:
        self.speaking = False
        self._settle_until = time.monotonic() + SETTLE_S

    def _response_created(self, event: dict[str, Any]) -> None:
        self.active += 1
        self._settle_until = 0.0

    def _response_done(self, event: dict[str, Any]) -> None:
        response = _dict(event.get("response"))
        usage = _dict(response.get("usage"))
        self.tokens_in += _count(usage.get("input_tokens"))
        self.tokens_out += _count(usage.get("output_tokens"))
        self.responses += 1
        self.active = max(0, self.active - 1)
        output = response.get("output")
        if isinstance(output, list) and any(_dict(item).get("type") == "function_call" for item in output):
            self._settle_until = time.monotonic() + SETTLE_S

    def _error(self, event: dict[str, Any]) -> None:
        code = _dict(event.get("error")).get("code")
        self.error_code = code[:NAME_LIMIT] if isinstance(code, str) else None


_MOVES: dict[bytes, Callable[[Turns, dict[str, Any]], None]] = {
    b"session.created": Turns._session_created,
    b"response.created": Turns._response_created,
    b"response.done": Turns._response_done,
    b"input_audio_buffer.speech_started": Turns._speech_started,
    b"input_audio_buffer.speech_stopped": Turns._speech_stopped,
    b"error": Turns._error,
}


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53 else 0
