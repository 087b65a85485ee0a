"""Finds the events of a call in the frames that pass, for taps such as `turns`: as little of them as they need.

The model's messages are bare. The head of each is searched for its type, and only the few that move a turn are read.
A client's are masked, and nearly all are audio, in frames of one length: a frame about as long as the last one that
was read and was audio passes the usual way (`flow`) and is not looked at, so that it costs nothing. Of every other
frame the head is unmasked, and in a drain, when a moment between turns is sought, of all.
"""

import contextlib
from collections.abc import Callable
from typing import Any, Protocol

import orjson

from rtproxy.model.turns import APPEND, REQUESTS, TABLE
from rtproxy.wire.frames import mask

HEAD_BYTES = 128
"""The type's key stands first, or right after ``event_id``, in every event of the service."""
KIND_BYTES = 96
"""And its value behind it: no type that matters is as long."""
COLLECT_LIMIT = 256 * 1024
"""Bytes of one message kept for parsing; a longer one still moves the turn, its details are not read."""
INNER_LIMIT = 8 * 1024
"""Arrays and objects of one message that is parsed: they take the time, of 256 KiB of them 17 ms."""
READ_LIMIT = 16 * 1024
"""Bytes of a client's message whose type does not stand in its head, parsed to find it."""
_SEARCHED = HEAD_BYTES + KIND_BYTES


def kind_of(data: bytes, start: int, end: int) -> bytes | None:
    """The value of the first ``"type"`` whose key begins in HEAD_BYTES; None where it is not there, or not whole."""
    key = data.find(b'"type"', start, end)
    if 0 <= key - start < HEAD_BYTES:
        opening = data.find(b'"', key + 6, end)
        closing = data.find(b'"', opening + 1, end)
        if opening >= 0 and closing >= 0:
            return data[opening + 1 : closing]
    return None


class Tap(Protocol):
    """Who is shown the events of a call, while they pass."""

    def hear(self, kind: bytes, event: dict[str, Any]) -> None:
        """An event of the model whose type is in `turns.TABLE`; ``event`` is empty where it could not be read."""

    def ask(self, kind: bytes) -> None:
        """The type of an event of the client; most are not looked at."""


class ModelEvents:
    """Shows the model's events to ``taps`` (a `frames.Finder`)."""

    __slots__ = ("_kind", "_taps", "_text", "parsed")

    ignores: tuple[bytes, ...] = (b'{"type":"response.output_audio', b'{"type":"response.audio')
    """Nearly every message, and none that moves a turn."""

    def __init__(self, taps: tuple[Tap, ...]) -> None:
        self._taps = taps
        self._kind: bytes | None = None
        self._text: bytearray | None = None
        self.parsed = 0

    def begin(self, data: bytes, start: int, stop: int, done: bool) -> bool:
        """Reads the type off the head; true when the rest of the message is needed."""
        # Never further, however much of the message is there already: a cut must not decide what is heard.
        kind = kind_of(data, start, min(stop, start + _SEARCHED))
        if kind is not None:
            if kind not in TABLE:
                return False
            if done:
                self._hear(kind, data[start:stop])
                return False
            self._kind = kind
        if done or (self._kind is None and stop - start >= _SEARCHED):
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
        self._hear(kind, bytes(text))
        return False

    def _hear(self, kind: bytes, text: bytes) -> None:
        event: object = {}
        if len(text) <= READ_LIMIT or text.count(b"[") + text.count(b"{") <= INNER_LIMIT:
            self.parsed += len(text)
            with contextlib.suppress(orjson.JSONDecodeError):
                event = orjson.loads(text)
        for tap in self._taps:
            tap.hear(kind, event if isinstance(event, dict) else {})


class ClientEvents:
    """Shows the types of a client's events to ``taps`` (a `frames.Finder`), of those that do not pass the usual way.

    ``on_audio`` is told of the payload's length of each whole frame that was audio.
    """

    __slots__ = ("_key", "_said", "_taps", "on_audio", "parsed")

    ignores: tuple[bytes, ...] = (b"",)
    """What passes the usual way is not looked at."""

    def __init__(self, taps: tuple[Tap, ...]) -> None:
        self._taps = taps
        self._key = b""
        self._said: bytearray | None = None
        self.parsed = 0
        self.on_audio: Callable[[int], None] = no_audio

    def begin(self, data: bytes, start: int, stop: int, done: bool) -> bool:
        """Reads the type off the head; true when more of the message is needed."""
        size = stop - start
        key = data[start - 4 : start]
        kind = self._knows(mask(data[start : min(stop, start + _SEARCHED)], key))
        if kind is not None:
            if done and kind == APPEND:
                self.on_audio(size)
            return False
        if size > READ_LIMIT:
            return False
        said = mask(data[start:stop], key)
        if done:
            self._parse(said)
            return False
        self._said = bytearray(said)
        self._key = key[size & 3 :] + key[: size & 3]
        return True

    def more(self, data: bytes, start: int, stop: int, done: bool) -> bool:
        """Goes on with a message that came in several chunks or frames; true while it is still needed."""
        if start:  # the next frame of the message, with a key of its own
            self._key = data[start - 4 : start]
        key, said = self._key, self._said
        assert said is not None
        said += mask(data[start : min(stop, start + READ_LIMIT)], key)
        turned = (stop - start) & 3
        self._key = key[turned:] + key[:turned]
        known = self._knows(bytes(said[:_SEARCHED])) is not None
        if done and not known:
            self._parse(bytes(said))
        if done or known or len(said) >= READ_LIMIT:
            self._said = None
            return False
        return True

    def _knows(self, head: bytes) -> bytes | None:
        kind = kind_of(head, 0, len(head))
        if kind is None or not (kind == APPEND or kind in REQUESTS):
            return None
        self._show(kind)
        return kind

    def _show(self, kind: bytes) -> None:
        for tap in self._taps:
            tap.ask(kind)

    def _parse(self, text: bytes) -> None:
        """A message whose first ``"type"`` is that of a part of it, or stands far behind."""
        self.parsed += len(text)
        try:
            event = orjson.loads(text)
        except orjson.JSONDecodeError:
            return
        kind = event.get("type") if isinstance(event, dict) else None
        if isinstance(kind, str):
            self._show(kind.encode())


def no_audio(size: int) -> None:
    """Nobody asks how long a client's audio is."""
