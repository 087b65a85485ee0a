"""The gate: which of a client's events go on to the model, where RTPROXY_CLIENT_EVENTS lists those that may. No I/O.

A client's message is withheld until it is whole, unmasked, and read; then it goes on as it came, every frame of it,
or not at all. Control frames do not wait for it (RFC 6455 section 5.4).

Nobody is to talk around it. RFC 8259 (section 4) leaves open what a repeated name means, and parsers differ, in other
things too: so what one of them might read as another type than we do is refused, whatever its type.
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
"""Bytes of one message with the heads of its frames: one frame of the greatest length, or what many come to."""
PARTS_FROM = PARTS_LIMIT = 64 * 1024
"""Names, values and escapes behind that byte of a message: more would take long to read, and memory. Audio has none; in
text each is about a token, and the model's context holds 32 thousand of those."""
INNER_LIMIT = 16 * 1024
"""Arrays and objects of a message, each of which takes as long as ten other values."""
SKETCH_LIMIT = 1024 * 1024
"""Bytes of a message beside its base64, for the same reason."""
PIECE = 64 * 1024
"""Of a long message that may go on so much goes at once."""
_INNER = (b"[", b"{")
_PARTS = (b",", b":", b"\\", *_INNER)
IN_ONE_GO = 8 * 1024
"""Values that are read before it is the turn of other calls: members of objects take the most time, 0.1 us each."""
TOO_MUCH = (
    f"has more than {PARTS_LIMIT:,} names, values and escapes behind its first {PARTS_FROM >> 10} KiB, "
    f"than {INNER_LIMIT:,} arrays and objects, or than {SKETCH_LIMIT >> 20} MiB beside its base64"
)
_QUOTED_LIMIT = 64
_EVENT_ID_LIMIT = 512
"""Characters of a client's event_id; the service takes no longer one."""


class Gate:
    """Follows one client's frames. ``passed`` is called with the type of each event that goes on.

    ``refusal`` is an error event for the client, until it is taken; ``rest`` is what stands behind the refused event,
    and as a `Walker`'s what is too much for one go. ``leaving`` counts bytes of a long message that may go on and have
    not: they come in pieces, feed nothing. ``halt``, ``close`` and ``code`` are as a `Walker`'s;
    ``"too_big"`` is a message over MESSAGE_LIMIT, too, and ``"no_room"`` one that `room` has no place for. ``began``
    counts messages: while ``withheld``, in bytes, is over `room.FREE`, the last one is to be whole soon.
    """

    __slots__ = (
        "_allowed",
        "_behind",
        "_came",
        "_final",
        "_inner",
        "_judged",
        "_key",
        "_leaves",
        "_left",
        "_limit",
        "_parts",
        "_passed",
        "_read",
        "_share",
        "_size",
        "_sketch",
        "_text",
        "_walker",
        "began",
        "halt",
        "leaving",
        "refusal",
        "withheld",
    )

    def __init__(
        self,
        allowed: frozenset[str],
        passed: Callable[[bytes], None],
        share: Share,
        count: Count,
        limit: int = MESSAGE_LIMIT,
    ) -> None:
        self._allowed = allowed
        self._passed = passed
        self._share = share
        self._limit = limit
        self._walker = ClientWalker(count)
        self._came: deque[bytearray] = deque()
        self._sketch = Sketch()
        self._text = self._final = False
        self._parts = self._inner = self._read = self._left = self._size = 0
        self._judged = 0
        self._key = b""
        self._leaves: deque[bytearray] = deque()
        self._behind = b""
        self.began = self.leaving = self.withheld = 0
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
        return self._behind or self._walker.rest or (b"" if self.halt else self._walker.close)

    def feed(self, data: bytes) -> bytes:
        """Takes the client's next bytes and returns those that may go on: up to a refused event, if there is one."""
        if self.leaving:
            assert not data
            return self._piece()
        if self._halted():
            self.drop()
            return b""
        data = self._behind + (self._walker.feed(data) if data or not self._behind else b"")
        passed: list[bytes] = []
        pos, end = 0, len(data)
        self._judged = 0
        while pos < end and self._judged <= IN_ONE_GO and not (self.refusal or self.halt or self.leaving):
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
                # Nearly all are of one frame that came at once: nothing of it needs to be kept.
                self._left = 0
                if self._allows(mask(data[at:stop], self._key), readable=True):
                    passed.append(data[pos:stop])
                pos = stop
                continue
            if self._readable() and not self._share.hold(self.withheld + stop - pos):
                self.halt = "no_room"
                break
            self._withhold(data[pos:stop], data[at:stop])
            pos = stop
            if self._final and not self._left:
                passed.append(self._whole())
        self._behind = data[pos:]
        if self.halt:
            self.drop()
        elif not (self._behind or self.leaving > 0 or self._close_waits()):
            self.halt = self._walker.halt
        return b"".join(passed)

    def _close_waits(self) -> bool:
        """A Close is heard when the client was told what was refused before it."""
        return bool(self.refusal and self._walker.close)

    def _halted(self) -> bool:
        return bool(self.halt)

    def drop(self) -> None:
        """Nothing of what is kept will go on."""
        self._forget()
        self._leaves.clear()
        self._behind = b""
        self._walker.discard_backlog()
        self.leaving = 0

    def _forget(self) -> None:
        self._came.clear()
        self._sketch = Sketch()
        self.withheld = 0
        self._share.release()

    def _piece(self) -> bytes:
        piece = self._leaves.popleft()
        self.leaving -= len(piece)
        if not self.leaving:
            self._share.release()
            if not self._behind:
                self.halt = self.halt or self._walker.halt
        return bytes(piece)

    def _begin(self, first: int, key: bytes, length: int) -> None:
        if first & 0xF:
            self._text = first & 0xF == TEXT
            self.began += 1
        self._final = first > 127
        self._key = key
        self._left = length

    def _withhold(self, came: bytes, payload: bytes) -> None:
        self._size += len(came)
        if self._readable():
            self._keep(came)
            said = mask(payload, self._key)
            self._inner += sum(map(said.count, _INNER))
            if counted := said[max(0, PARTS_FROM - self._read) :]:
                self._parts += sum(map(counted.count, _PARTS))
            self._read += len(said)
            self._sketch.add(said)
        elif self.withheld:
            self._forget()
        self._left -= len(payload)
        turned = len(payload) & 3
        self._key = self._key[turned:] + self._key[:turned]

    def _keep(self, came: bytes) -> None:
        # One buffer would be copied whenever it grows, at 16 MiB for some milliseconds.
        if self._came and len(self._came[-1]) < PIECE:
            self._came[-1] += came
        else:
            self._came.append(bytearray(came))
        self.withheld += len(came)

    def _readable(self) -> bool:
        """Whether this message may still go on."""
        return (
            self._text
            and self._parts <= PARTS_LIMIT
            and self._inner <= INNER_LIMIT
            and self._sketch.size <= SKETCH_LIMIT
        )

    def _whole(self) -> bytes:
        allowed = self._allows(self._sketch.text(), readable=self._readable())
        self._parts = self._inner = self._read = self._size = 0
        if not allowed:
            self._forget()
            return b""
        if self.withheld <= FREE:
            came = b"".join(self._came)
            self._forget()
            return came
        self._leaves, self._came = self._came, deque()
        self.leaving, self.withheld, self._sketch = self.withheld, 0, Sketch()
        return self._piece()

    def _allows(self, said: bytes, *, readable: bool) -> bool:
        """Whether a message of which that is known may go on; `refusal` says why not."""
        kind, event_id = "", None
        try:
            if not self._text:
                raise ValueError("is binary")
            if not readable or sum(map(said.count, _INNER)) > INNER_LIMIT:
                raise ValueError(TOO_MUCH)
            self._judged += said.count(b",")
            kind, event_id = _read(said)
        except ValueError as why:
            self.refusal = _error("invalid_event", f"This message {why}, so its type is not certain", event_id)
            return False
        if kind not in self._allowed:
            quoted = ascii(kind[:_QUOTED_LIMIT])
            self.refusal = _error("event_not_allowed", f"Events of the type {quoted} are not allowed here", event_id)
            return False
        self._passed(kind.encode("utf-8", "surrogatepass"))
        return True


def _no_json(constant: str) -> None:
    raise ValueError(constant)


# An object becomes a tuple of pairs, none of them lost, and an array a list. Nobody asks for a number's value.
_parse = json.JSONDecoder(object_pairs_hook=tuple, parse_int=len, parse_float=len, parse_constant=_no_json).decode


def _read(said: bytes) -> tuple[str, str | None]:
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
