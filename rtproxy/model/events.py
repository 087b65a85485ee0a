"""Finds the events of a call in the frames that pass, for taps such as `turns`, and reads as little as possible.

The model's messages are not masked. The type is searched for in the head of each message, and only the few messages
that change a turn are parsed. A client's messages are masked, and nearly all are audio, in frames of one length: a
frame about as long as the last audio frame that was read takes the fast path (`flow`), is not looked at, and costs
nothing. Of every other frame the head is unmasked; of all frames in a drain, to find a moment between two turns.
"""

import contextlib
from collections.abc import Callable
from typing import Any, Protocol

import orjson

from rtproxy.model.turns import APPEND, REQUESTS, TABLE
from rtproxy.wire.frames import mask

HEAD_BYTES = 128
"""The key of the type is the first one, or right behind ``event_id``, in every event of the service."""
KIND_BYTES = 96
"""The type itself is behind its key: no type that matters is longer than this."""
COLLECT_LIMIT = 256 * 1024
"""The most bytes of one message that are kept for parsing. A longer message still changes the turn by its type."""
INNER_LIMIT = 8 * 1024
"""The most arrays and objects of a message that is parsed. They take most of the time: 17 ms for 256 KiB of them."""
READ_LIMIT = 16 * 1024
"""The most bytes of a client's message that are parsed when its type is not in its head."""
_SEARCHED = HEAD_BYTES + KIND_BYTES


def kind_of(data: bytes, start: int, end: int) -> bytes | None:
    """The value of the first ``"type"`` whose key begins within HEAD_BYTES; None when it is missing or incomplete."""
    key = data.find(b'"type"', start, end)
    if 0 <= key - start < HEAD_BYTES:
        opening = data.find(b'"', key + 6, end)
        closing = data.find(b'"', opening + 1, end)
        if opening >= 0 and closing >= 0:
            return data[opening + 1 : closing]
    return None


class Tap(Protocol):
    """Receives the events of a call while they pass."""

    def model_event(self, kind: bytes, event: dict[str, Any]) -> None:
        """An event of the model whose type is in `turns.TABLE`; ``event`` is empty when it could not be parsed."""

    def client_event(self, kind: bytes) -> None:
        """The type of an event of the client. Most events of a client are not looked at."""


class ModelEvents:
    """Finds the model's events and gives them to ``taps`` (a `frames.Finder`)."""

    __slots__ = ("_kind", "_taps", "_text", "parsed")

    ignores: tuple[bytes, ...] = (b'{"type":"response.output_audio', b'{"type":"response.audio')
    """Nearly all messages begin like this, and none of them changes a turn."""

    def __init__(self, taps: tuple[Tap, ...]) -> None:
        self._taps = taps
        self._kind: bytes | None = None
        self._text: bytearray | None = None
        self.parsed = 0

    def begin(self, data: bytes, start: int, stop: int, done: bool) -> bool:
        """Reads the type in the head. Returns true when the rest of the message is needed."""
        # Never further, even if more of the message has arrived: the result must not depend on where reads are cut.
        kind = kind_of(data, start, min(stop, start + _SEARCHED))
        if kind is not None:
            if kind not in TABLE:
                return False
            if done:
                self._model_event(kind, data[start:stop])
                return False
            self._kind = kind
        if done or (self._kind is None and stop - start >= _SEARCHED):
            return False
        self._text = bytearray(data[start:stop])
        return True

    def more(self, data: bytes, start: int, stop: int, done: bool) -> bool:
        """Collects a message that began in an earlier chunk. Returns true while it is still needed."""
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
        self._model_event(kind, bytes(text))
        return False

    def _model_event(self, kind: bytes, text: bytes) -> None:
        event: object = {}
        if len(text) <= READ_LIMIT or text.count(b"[") + text.count(b"{") <= INNER_LIMIT:
            self.parsed += len(text)
            with contextlib.suppress(orjson.JSONDecodeError):
                event = orjson.loads(text)
        for tap in self._taps:
            tap.model_event(kind, event if isinstance(event, dict) else {})


class ClientEvents:
    """Finds the types of a client's events and gives them to ``taps`` (a `frames.Finder`), except on the fast path.

    ``on_audio`` is called with the payload length of each whole frame that was audio.
    """

    __slots__ = ("_key", "_taps", "_text", "on_audio", "parsed")

    ignores: tuple[bytes, ...] = (b"",)
    """Frames on the fast path are not looked at."""

    def __init__(self, taps: tuple[Tap, ...]) -> None:
        self._taps = taps
        self._key = b""
        self._text: bytearray | None = None
        self.parsed = 0
        self.on_audio: Callable[[int], None] = no_audio

    def begin(self, data: bytes, start: int, stop: int, done: bool) -> bool:
        """Reads the type in the head. Returns true when more of the message is needed."""
        size = stop - start
        key = data[start - 4 : start]
        kind = self._known_type(mask(data[start : min(stop, start + _SEARCHED)], key))
        if kind is not None:
            if done and kind == APPEND:
                self.on_audio(size)
            return False
        if size > READ_LIMIT:
            return False
        text = mask(data[start:stop], key)
        if done:
            self._parse(text)
            return False
        self._text = bytearray(text)
        self._key = key[size & 3 :] + key[: size & 3]
        return True

    def more(self, data: bytes, start: int, stop: int, done: bool) -> bool:
        """Continues with a message in several chunks or frames. Returns true while it is still needed."""
        if start:  # the next frame of the message, with its own key
            self._key = data[start - 4 : start]
        key, text = self._key, self._text
        assert text is not None
        text += mask(data[start : min(stop, start + READ_LIMIT)], key)
        shift = (stop - start) & 3
        self._key = key[shift:] + key[:shift]
        known = self._known_type(bytes(text[:_SEARCHED])) is not None
        if done and not known:
            self._parse(bytes(text))
        if done or known or len(text) >= READ_LIMIT:
            self._text = None
            return False
        return True

    def _known_type(self, head: bytes) -> bytes | None:
        kind = kind_of(head, 0, len(head))
        if kind is None or not (kind == APPEND or kind in REQUESTS):
            return None
        self._show(kind)
        return kind

    def _show(self, kind: bytes) -> None:
        for tap in self._taps:
            tap.client_event(kind)

    def _parse(self, text: bytes) -> None:
        """Parses a message whose first ``"type"`` belongs to a part of it, or is far behind its head."""
        self.parsed += len(text)
        try:
            event = orjson.loads(text)
        except orjson.JSONDecodeError:
            return
        kind = event.get("type") if isinstance(event, dict) else None
        if isinstance(kind, str):
            self._show(kind.encode())


def no_audio(size: int) -> None:
    """Ignores the length of a client's audio."""
