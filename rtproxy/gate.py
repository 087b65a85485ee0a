"""The gate: which of a client's events go on to the model, where RTPROXY_CLIENT_EVENTS lists those that may. No I/O.

A client's message is withheld until it is whole, unmasked, and read; then it goes on as it came, every frame of it,
or not at all. Control frames do not wait for it (RFC 6455 section 5.4).

Nobody is to talk around it. RFC 8259 (section 4) leaves open what a repeated name means, and parsers differ, in other
things too: so what one of them might read as another type than we do is refused, whatever its type.
"""

import json
import secrets
from collections.abc import Callable

import orjson

from rtproxy.frames import CLOSE, FRAME_LIMIT, HEAD_MAX, TEXT, Walker, head, mask, text_frame

MESSAGE_LIMIT = FRAME_LIMIT + HEAD_MAX
"""Bytes of one message with the heads of its frames: one frame of the greatest length, or what many come to."""
PARTS_FROM = PARTS_LIMIT = 64 * 1024
"""Values and escapes behind that byte of a message: more would take long to read, and memory. Audio has none; in text
each is about a token, and the model's context holds 32 thousand of those."""
_PARTS = (b",", b"[", b"{", b"\\")
_QUOTED_LIMIT = 64
_EVENT_ID_LIMIT = 512
"""Characters of a client's event_id; the service takes no longer one."""


class Gate:
    """Follows one client's frames. ``passed`` is called with the type of each event that goes on.

    ``refusal`` is an error event for the client, until it is taken; ``rest`` is what stands behind the refused event,
    and as a `Walker`'s what is too much for one go. ``frames``, ``halt``, ``code`` and ``keeps_close``
    are as a `Walker`'s; ``"too_big"`` is a message over MESSAGE_LIMIT, too.
    """

    __slots__ = (
        "_allowed",
        "_came",
        "_final",
        "_key",
        "_left",
        "_parts",
        "_passed",
        "_refused",
        "_said",
        "_text",
        "_walker",
        "halt",
        "keeps_close",
        "refusal",
    )

    def __init__(self, allowed: frozenset[str], passed: Callable[[bytes], None]) -> None:
        self._allowed = allowed
        self._passed = passed
        self._walker = Walker(masked=True)
        self._came = bytearray()
        self._said = bytearray()
        self._text = self._final = False
        self._parts = self._left = 0
        self._key = b""
        self.halt = ""
        self.keeps_close = False
        self._refused = b""
        self.refusal = b""

    @property
    def frames(self) -> int:
        return self._walker.frames

    @property
    def code(self) -> int:
        return self._walker.code

    @property
    def rest(self) -> bytes:
        return self._refused or self._walker.rest

    def feed(self, data: bytes) -> bytes:
        """Takes the client's next bytes and returns those that may go on: up to a refused event, if there is one."""
        data = self._refused + (self._walker.feed(data) if data or not self._refused else b"")
        passed: list[bytes] = []
        pos, end = 0, len(data)
        while pos < end and not (self.refusal or self.halt):
            at = pos
            if not self._left:
                first, at, length = head(data, pos)
                if first & 8:
                    if not (self.keeps_close and first & 0xF == CLOSE):
                        passed.append(data[pos : at + length])
                    pos = at + length
                    continue
                if len(self._came) + at - pos + length > MESSAGE_LIMIT:
                    self.halt = "too_big"
                    break
                self._begin(first, data[at - 4 : at], length)
            stop = min(at + self._left, end)
            self._withhold(data[pos:stop], data[at:stop])
            pos = stop
            if self._final and not self._left:
                passed.append(self._whole())
        self._refused = b"" if self.halt else data[pos:]
        if not self._refused and not self.halt:
            self.halt = self._walker.halt
        return b"".join(passed)

    def _begin(self, first: int, key: bytes, length: int) -> None:
        if first & 0xF:
            self._text = first & 0xF == TEXT
        self._final = first > 127
        self._key = key
        self._left = length

    def _withhold(self, came: bytes, payload: bytes) -> None:
        self._came += came
        said = mask(payload, self._key)
        if counted := said[max(0, PARTS_FROM - len(self._said)) :]:
            self._parts += sum(map(counted.count, _PARTS))
        self._said += said
        self._left -= len(said)
        turned = len(said) & 3
        self._key = self._key[turned:] + self._key[:turned]

    def _whole(self) -> bytes:
        came, self._came = bytes(self._came), bytearray()
        said, self._said = self._said, bytearray()
        parts, self._parts = self._parts, 0
        kind, event_id = "", None
        try:
            if not self._text:
                raise ValueError("is binary")
            if parts > PARTS_LIMIT:
                raise ValueError(f"has more than {PARTS_LIMIT:,} values and escapes")
            kind, event_id = _read(said)
        except ValueError as why:
            self.refusal = _error("invalid_event", f"This message {why}, so its type is not certain", event_id)
            return b""
        if kind in self._allowed:
            self._passed(kind.encode("utf-8", "surrogatepass"))
            return came
        quoted = ascii(kind[:_QUOTED_LIMIT])
        self.refusal = _error("event_not_allowed", f"Events of the type {quoted} are not allowed here", event_id)
        return b""


def _no_json(constant: str) -> None:
    raise ValueError(constant)


# An object becomes a tuple of pairs, none of them lost, and an array a list. Nobody asks for a number's value.
_parse = json.JSONDecoder(object_pairs_hook=tuple, parse_int=len, parse_float=len, parse_constant=_no_json).decode


def _read(said: bytearray) -> tuple[str, str | None]:
    """The type of an event and its event_id. Raises ValueError, saying what it does, when its type is not certain."""
    try:
        event = _parse(said.decode())
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError:
        raise ValueError("is not JSON in UTF-8") from None
    if not isinstance(event, tuple):
        raise ValueError("is not a JSON object")
    # A parser may ignore case, or what stands behind a NUL.
    names = [name for name, _ in event if name.partition("\0")[0].casefold() == "type"]
    if names != ["type"]:
        raise ValueError("does not have exactly one type")
    kind, event_id = dict(event)["type"], dict(event).get("event_id")
    if not isinstance(kind, str):
        raise ValueError("has a type that is not a string")
    sound = isinstance(event_id, str) and len(event_id) <= _EVENT_ID_LIMIT and event_id.isprintable()
    return kind, event_id if sound else None


def _error(code: str, message: str, event_id: str | None) -> bytes:
    """The frame of an ``error`` event, in the shape of the model's own."""
    error = {
        "type": "invalid_request_error",
        "code": code,
        "message": f"{message}: the relay passes on only the events that its RTPROXY_CLIENT_EVENTS lists.",
        "param": "type",
        "event_id": event_id,
    }
    own_id = f"event_{secrets.token_hex(10)}"
    return text_frame(orjson.dumps({"type": "error", "event_id": own_id, "error": error}))
