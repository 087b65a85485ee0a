"""The gate: lets only the client events pass that RTPROXY_CLIENT_EVENTS lists. It does no I/O.

A client's message is withheld until it is whole, unmasked and parsed. Then all its frames are passed on unchanged, or
none. Control frames do not wait for it (RFC 6455 section 5.4).

No client may bypass the gate. RFC 8259 (section 4) does not define what a repeated name means, and parsers differ in
other ways, too. So a message whose type another parser might read differently is refused, whatever its type.
"""

import json
import secrets
from collections import deque
from collections.abc import Callable

import orjson

from rtproxy.call.room import FREE, Share
from rtproxy.call.sketch import Sketch
from rtproxy.wire.frames import FRAME_LIMIT, HEAD_MAX, TEXT, ClientWalker, Count, head, mask, text_frame

MESSAGE_LIMIT = FRAME_LIMIT + HEAD_MAX
"""The most bytes of one message, frame headers included: one frame of the greatest length, or many frames of the same
sum."""
PARTS_FROM = PARTS_LIMIT = 64 * 1024
"""The most names, values and escapes behind byte PARTS_FROM of a message: more would take long to parse, and much
memory. Audio has none. In text each is about one token, and the model's context holds 32 thousand tokens."""
INNER_LIMIT = 16 * 1024
"""The most arrays and objects in a message: each takes as long to parse as ten other values."""
SKETCH_LIMIT = 1024 * 1024
"""The most bytes of a message besides its base64, for the same reason."""
PIECE = 64 * 1024
"""A long message is passed on in pieces of this size."""
_INNER = (b"[", b"{")
_PARTS = (b",", b":", b"\\", *_INNER)
IN_ONE_GO = 8 * 1024
"""The most values parsed in one call, before other calls have their turn. Members of objects are slowest, 0.1 us
each.
"""
TOO_MUCH = (
    f"has more than {PARTS_LIMIT:,} names, values and escapes behind its first {PARTS_FROM >> 10} KiB, "
    f"than {INNER_LIMIT:,} arrays and objects, or than {SKETCH_LIMIT >> 20} MiB beside its base64"
)
_QUOTED_LIMIT = 64
_EVENT_ID_LIMIT = 512
"""The most characters of a client's event_id; the service accepts no longer one."""


class Gate:
    """Follows the frames of one client. ``on_pass`` is called with the type of each event that passes.

    ``refusal`` is an error event for the client, which the caller takes. ``rest``: bytes behind the refused event, or,
    as in a `Walker`, bytes that are too many for one call. ``releasing``: bytes of a long message that may pass and
    have not been returned yet; feed ``b""`` to get the next piece. ``halt``, ``close`` and ``code`` are as in a
    `Walker`; ``"too_big"`` also means a message over MESSAGE_LIMIT, and ``"no_room"`` a message for which `room` has no
    memory left. ``began`` counts messages. While ``withheld``, in bytes, is over `room.FREE`, there is a time limit for
    the current message.
    """

    __slots__ = (
        "_after_refusal",
        "_allowed",
        "_bytes_read",
        "_final",
        "_inner",
        "_is_text",
        "_kept",
        "_key",
        "_left",
        "_limit",
        "_on_pass",
        "_parts",
        "_released",
        "_share",
        "_size",
        "_sketch",
        "_values_parsed",
        "_walker",
        "began",
        "halt",
        "refusal",
        "releasing",
        "withheld",
    )

    def __init__(
        self,
        allowed: frozenset[str],
        on_pass: Callable[[bytes], None],
        share: Share,
        count: Count,
        limit: int = MESSAGE_LIMIT,
    ) -> None:
        self._allowed = allowed
        self._on_pass = on_pass
        self._share = share
        self._limit = limit
        self._walker = ClientWalker(count)
        self._kept: deque[bytearray] = deque()
        self._sketch = Sketch()
        self._is_text = self._final = False
        self._parts = self._inner = self._bytes_read = self._left = self._size = 0
        self._values_parsed = 0
        self._key = b""
        self._released: deque[bytearray] = deque()
        self._after_refusal = b""
        self.began = self.releasing = self.withheld = 0
        self.halt = ""
        self.refusal = b""

    @property
    def count(self) -> Count:
        return self._walker.count

    @property
    def close(self) -> bytes:
        return self._walker.close

    @property
    def code(self) -> int:
        return self._walker.code

    @property
    def rest(self) -> bytes:
        return self._after_refusal or self._walker.rest or (b"" if self.halt else self._walker.close)

    def feed(self, data: bytes) -> bytes:
        """Takes the client's next bytes, and returns those that may pass: at most those before a refused event."""
        if self.releasing:
            assert not data
            return self._piece()
        if self._halted():
            self.discard()
            return b""
        data = self._after_refusal + (self._walker.feed(data) if data or not self._after_refusal else b"")
        passed: list[bytes] = []
        pos, end = 0, len(data)
        self._values_parsed = 0
        while pos < end and self._values_parsed <= IN_ONE_GO and not (self.refusal or self.halt or self.releasing):
            at = pos
            if not self._left:
                first, at, length = head(data, pos)
                if first & 8:
                    passed.append(data[pos : at + length])
                    pos = at + length
                    continue
                if self._size + at - pos + length > self._limit:
                    self.halt = "too_big"
                    break
                self._begin(first, data[at - 4 : at], length)
            stop = min(at + self._left, end)
            if self._final and not self._size and stop - at == self._left and stop - pos <= FREE:
                # Nearly every message is one frame that arrived whole: nothing of it is kept.
                self._left = 0
                if self._may_pass(mask(data[at:stop], self._key), readable=True):
                    passed.append(data[pos:stop])
                pos = stop
                continue
            if self._readable() and not self._share.hold(self.withheld + stop - pos):
                self.halt = "no_room"
                break
            self._withhold(data[pos:stop], data[at:stop])
            pos = stop
            if self._final and not self._left:
                passed.append(self._complete_message())
        self._after_refusal = data[pos:]
        if self.halt:
            self.discard()
        elif not (self._after_refusal or self.releasing > 0 or self._close_waits()):
            self.halt = self._walker.halt
        return b"".join(passed)

    def _close_waits(self) -> bool:
        """Whether a Close waits until the client was sent the refusal of an event before it."""
        return bool(self.refusal and self._walker.close)

    def _halted(self) -> bool:
        return bool(self.halt)

    def discard(self) -> None:
        """Discards everything that is withheld."""
        self._discard_message()
        self._released.clear()
        self._after_refusal = b""
        self._walker.discard_backlog()
        self.releasing = 0

    def _discard_message(self) -> None:
        self._kept.clear()
        self._sketch = Sketch()
        self.withheld = 0
        self._share.release()

    def _piece(self) -> bytes:
        piece = self._released.popleft()
        self.releasing -= len(piece)
        if not self.releasing:
            self._share.release()
            if not self._after_refusal:
                self.halt = self.halt or self._walker.halt
        return bytes(piece)

    def _begin(self, first: int, key: bytes, length: int) -> None:
        if first & 0xF:
            self._is_text = first & 0xF == TEXT
            self.began += 1
        self._final = first > 127
        self._key = key
        self._left = length

    def _withhold(self, frames: bytes, payload: bytes) -> None:
        self._size += len(frames)
        if self._readable():
            self._keep(frames)
            text = mask(payload, self._key)
            self._inner += sum(map(text.count, _INNER))
            if counted := text[max(0, PARTS_FROM - self._bytes_read) :]:
                self._parts += sum(map(counted.count, _PARTS))
            self._bytes_read += len(text)
            self._sketch.add(text)
        elif self.withheld:
            self._discard_message()
        self._left -= len(payload)
        shift = len(payload) & 3
        self._key = self._key[shift:] + self._key[:shift]

    def _keep(self, frames: bytes) -> None:
        # A single buffer would be copied each time it grows; at 16 MiB that takes some milliseconds.
        if self._kept and len(self._kept[-1]) < PIECE:
            self._kept[-1] += frames
        else:
            self._kept.append(bytearray(frames))
        self.withheld += len(frames)

    def _readable(self) -> bool:
        """Whether this message can still be passed on."""
        return (
            self._is_text
            and self._parts <= PARTS_LIMIT
            and self._inner <= INNER_LIMIT
            and self._sketch.size <= SKETCH_LIMIT
        )

    def _complete_message(self) -> bytes:
        allowed = self._may_pass(self._sketch.text(), readable=self._readable())
        self._parts = self._inner = self._bytes_read = self._size = 0
        if not allowed:
            self._discard_message()
            return b""
        if self.withheld <= FREE:
            frames = b"".join(self._kept)
            self._discard_message()
            return frames
        self._released, self._kept = self._kept, deque()
        self.releasing, self.withheld, self._sketch = self.withheld, 0, Sketch()
        return self._piece()

    def _may_pass(self, text: bytes, *, readable: bool) -> bool:
        """Whether a message with the sketch ``text`` may pass; if not, `refusal` has the reason."""
        kind, event_id = "", None
        try:
            if not self._is_text:
                raise ValueError("is binary")
            if not readable or sum(map(text.count, _INNER)) > INNER_LIMIT:
                raise ValueError(TOO_MUCH)
            self._values_parsed += text.count(b",")
            kind, event_id = _type_and_id(text)
        except ValueError as why:
            self.refusal = _error("invalid_event", f"This message {why}, so its type is not certain", event_id)
            return False
        if kind not in self._allowed:
            quoted = ascii(kind[:_QUOTED_LIMIT])
            self.refusal = _error("event_not_allowed", f"Events of the type {quoted} are not allowed here", event_id)
            return False
        self._on_pass(kind.encode("utf-8", "surrogatepass"))
        return True


def _no_json(constant: str) -> None:
    raise ValueError(constant)


# Objects become tuples of pairs, so that no pair is lost, and arrays lists. The value of a number is not needed.
_parse = json.JSONDecoder(object_pairs_hook=tuple, parse_int=len, parse_float=len, parse_constant=_no_json).decode


def _type_and_id(text: bytes) -> tuple[str, str | None]:
    """The type and the event_id of an event. Raises ValueError, with the reason, when the type is not certain."""
    try:
        event = _parse(text.decode())
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError:
        raise ValueError("is not JSON in UTF-8") from None
    if not isinstance(event, tuple):
        raise ValueError("is not a JSON object")
    # Some parsers ignore case, or what stands behind a NUL.
    names = [name for name, _ in event if name.partition("\0")[0].casefold() == "type"]
    if names != ["type"]:
        raise ValueError("does not have exactly one type")
    kind, event_id = dict(event)["type"], dict(event).get("event_id")
    if not isinstance(kind, str):
        raise ValueError("has a type that is not a string")
    sound = isinstance(event_id, str) and len(event_id) <= _EVENT_ID_LIMIT and event_id.isprintable()
    return kind, event_id if sound else None


def _error(code: str, message: str, event_id: str | None) -> bytes:
    """The frame of an ``error`` event, in the form of the model's own."""
    error = {
        "type": "invalid_request_error",
        "code": code,
        "message": f"{message}: the relay passes on only the events that its RTPROXY_CLIENT_EVENTS lists.",
        "param": "type",
        "event_id": event_id,
    }
    own_id = f"event_{secrets.token_hex(10)}"
    return text_frame(orjson.dumps({"type": "error", "event_id": own_id, "error": error}))
