"""RFC 6455 framing without I/O: where frames begin and end, and the control frames that the relay adds.

A relay need not decode frames. A client's frame is already masked for the server, and a server's frame is already
unmasked for the client, so bytes are passed on unchanged, and only headers are read:

     0               1               2        (section 5.2)
    |FIN|RSV| opcode |MASK|  length  | extended length: 0, 2 or 8 bytes | mask: 0 or 4 | payload ...

Two rules hold for what `Walker.feed` returns. A header is passed on only when it is whole and valid, so a faulty or
oversized frame never reaches the other leg. A control frame (at most 131 bytes) is passed on only when it is whole, so
that between two returned chunks the other leg is either inside a data frame (``skip > 0``) or between two frames. A
Close is not passed on by itself: what happens to it depends on the state of the call's ending.
"""

import os
import struct
from typing import ClassVar, Final, Protocol

FRAME_LIMIT: Final = 16 * 1024 * 1024
"""The most bytes of payload in one frame. The model accepts 15 MiB of audio in one append, base64 and JSON included
(platform limit), so a limit of 16 MiB refuses no call that would have worked."""
HEAD_MAX: Final = 14
FRAMES_IN_ONE_GO: Final = 64
"""The most frames handled in one call, before other calls have their turn: as many as one read holds at 1 KiB each."""
PARSED_IN_ONE_GO: Final = 16 * 1024
"""The most bytes of messages parsed in one call: four events of this size that consist of empty arrays take 4 ms."""

NO_CODE: Final = 1005
"""A Close without a code; appears in logs only (section 7.4.1)."""
_NOT_SENT: Final = frozenset((1004, NO_CODE, 1006))
CONTINUATION: Final = 0x0
TEXT: Final = 0x1
CLOSE: Final = 0x8
PING: Final = 0x9
# First bytes without RSV bits: FIN or not for data, FIN only for control (section 5.4, 5.5).
_DATA_STARTS: Final = frozenset((0x81, 0x01, 0x82, 0x02))
_CONTINUATIONS: Final = frozenset((0x80, 0x00))
_CONTROLS: Final = frozenset((0x88, 0x89, 0x8A))
_LENGTH_IN_TWO: Final = 126
OPENING: Final = struct.Struct(">I").unpack_from
"""Reads the first two bytes of a frame, and a length in two bytes after them, as one number."""


class Finder(Protocol):
    """Reads the text messages of one direction while they pass, in the chunks in which they arrived.

    ``ignores`` are beginnings of messages that it does not need. ``parsed`` counts the bytes that it parsed; the caller
    resets it.
    """

    ignores: tuple[bytes, ...]
    parsed: int

    def begin(self, data: bytes, start: int, stop: int, done: bool) -> bool:
        """A text message begins at ``data[start:stop]``. Returns true when the rest of it is needed, through `more`."""

    def more(self, data: bytes, start: int, stop: int, done: bool) -> bool:
        """The message continues. Returns true when still more of it is needed. ``done`` marks its last byte."""


class Count:
    """The counters of one direction of a call. They outlive the leg and the walker that count in them.

    ``frames``: whole headers seen. ``aside``: those of them that begin no message (control frames, continuations).
    ``bytes``: all bytes received. ``refused``: messages that a gate did not let pass.
    """

    __slots__ = ("aside", "bytes", "frames", "refused")

    def __init__(self) -> None:
        self.frames = self.aside = self.bytes = self.refused = 0

    def messages(self) -> int:
        """How many messages have begun."""
        return self.frames - self.aside


class Walker:
    """Follows the frames that arrive on one leg, and counts them in ``count``. Each leg needs its own.

    It is a `ClientWalker` or a `ModelWalker`: what is the same for all calls is an attribute of the class.

    ``halt`` is the reason why nothing more may pass: ``"close"`` (the side sent a Close: ``close`` is that frame, which
    `feed` does not return, and ``code`` its code, 1005 when it had none), ``"fault"`` (a framing fault, to be answered
    with 1002) or ``"too_big"`` (the header of a frame over 16 MiB arrived, 1009). Callers may set other reasons.

    ``skip``: bytes of the current frame that have not arrived yet. ``rest``: received bytes behind whole frames that
    were too many for one call; feed ``b""`` to continue with them.

    ``fast``: a whole text frame that is alone in its chunk may pass without `feed`, as nearly all do. For such a chunk,
    OPENING less the chunk's size is ``fast_opening``, and the bytes behind its header, of ``head_size`` bytes, begin
    with one of ``ignored``. The caller that lets the frame pass counts it.
    """

    __slots__ = (
        "_finder",
        "_fragmented",
        "_held",
        "_last",
        "_wanted",
        "close",
        "count",
        "fast",
        "halt",
        "ignored",
        "rest",
        "skip",
    )
    mask_bit: ClassVar[int]
    head_size: ClassVar[int]
    fast_opening: ClassVar[int]

    def __init__(self, count: Count, finder: Finder | None = None) -> None:
        self.count = count
        self.ignored = (b"",) if finder is None else finder.ignores
        self.fast = True
        self._finder = finder
        self._wanted = False
        self._last = False
        self._held = b""
        self._fragmented = False
        self.skip = 0
        self.halt = ""
        self.close = b""
        self.rest = b""

    @property
    def code(self) -> int:
        """The code of the Close that arrived; 0 before."""
        first, at, length = head(self.close, 0) if self.close else (0, 0, 0)
        if length < 2:
            return NO_CODE if first else 0
        code = self.close[at : at + 2]
        return int.from_bytes(mask(code, self.close[at - 4 : at]) if self.mask_bit else code)

    @property
    def fragmented(self) -> bool:
        """Whether a fragmented message is incomplete: its last frame has not begun (section 5.4)."""
        return self._fragmented

    def has_backlog(self) -> bool:
        """Whether there are bytes to pass on although no more bytes arrive."""
        return bool(self.rest)

    def discard_backlog(self) -> None:
        """Discards what has not been passed on."""
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """Takes the next bytes of the leg, and returns those that may be passed on.

        Never raises, whatever the bytes are.
        """
        if self._held or self.rest:
            data = self._held + self.rest + data
            self._held = self.rest = b""
        pos = self.skip
        end = len(data)
        if self._wanted and pos:
            self._more(data, 0, min(pos, end), pos <= end)
        self.fast = False
        if pos > end:
            self.skip = pos - end
            return data
        self.skip = 0
        if self.halt:
            return b""
        mask_bit = self.mask_bit
        finder, count = self._finder, self.count
        enough = count.frames + FRAMES_IN_ONE_GO
        while pos < end and count.frames < enough:
            # The header is read inline: this loop runs once for each frame, and a function call would cost as much as
            # its body.
            at = pos + 2
            if at > end:
                return self._hold(data, pos)
            first = data[pos]
            length = data[pos + 1] ^ mask_bit
            if length == 126:
                at = pos + 4
                length = int.from_bytes(data[pos + 2 : at])
            elif length == 127:
                at = pos + 10
                length = int.from_bytes(data[pos + 2 : at])
            elif length > 127:
                return self._stop(data, pos, "fault")
            if mask_bit:
                at += 4
            if at > end:
                return self._hold(data, pos)
            if first not in _DATA_STARTS or self._fragmented:
                if first in _CONTROLS:
                    if data[pos + 1] & 0x7F > 125:
                        return self._stop(data, pos, "fault")
                    if at + length > end:
                        return self._hold(data, pos)
                    if first == 0x88:
                        return self._close(data, pos, at, length)
                    count.frames += 1
                    count.aside += 1
                    pos = at + length
                    continue
                if first not in _CONTINUATIONS or not self._fragmented:
                    return self._stop(data, pos, "fault")
                count.aside += 1
            if length > FRAME_LIMIT:
                return self._stop(data, pos, "too_big")
            count.frames += 1
            pos = at + length
            last = first > 127
            self._fragmented = not last
            if finder is not None:
                self._last = last
                if first & 0xF == TEXT:
                    self._wanted = finder.begin(data, at, pos if pos < end else end, last and pos <= end)
                elif self._wanted:
                    self._more(data, at, min(pos, end), pos <= end)
                if finder.parsed > PARSED_IN_ONE_GO:
                    finder.parsed = enough = 0
        if pos < end:
            self.rest = data[pos:]
            return data[:pos]
        self.skip = pos - end
        self.fast = pos == end and not self._fragmented
        return data

    def _more(self, data: bytes, start: int, stop: int, whole: bool) -> None:
        assert self._finder is not None
        self._wanted = self._finder.more(data, start, stop, whole and self._last)

    def _hold(self, data: bytes, pos: int) -> bytes:
        self._held = data[pos:]
        return data[:pos]

    def _stop(self, data: bytes, pos: int, why: str) -> bytes:
        self.halt = why
        return data[:pos]

    def _close(self, data: bytes, pos: int, at: int, length: int) -> bytes:
        payload = data[at : at + length]
        if self.mask_bit:
            payload = mask(payload, data[at - 4 : at])
        code = int.from_bytes(payload[:2]) if length >= 2 else NO_CODE
        if length == 1 or (length and not (may_be_sent(code) and _is_text(payload[2:]))):
            return self._stop(data, pos, "fault")
        self.count.frames += 1
        self.count.aside += 1
        self.halt, self.close = "close", data[pos : at + length]
        return data[:pos]


class ClientWalker(Walker):
    """Follows the frames of a client, which are masked."""

    __slots__ = ()
    mask_bit = 0x80
    head_size = 8
    fast_opening = ((0x80 | TEXT) << 24 | (0x80 | _LENGTH_IN_TWO) << 16) - 8


class ModelWalker(Walker):
    """Follows the frames of the model, which are not masked."""

    __slots__ = ()
    mask_bit = 0
    head_size = 4
    fast_opening = ((0x80 | TEXT) << 24 | _LENGTH_IN_TWO << 16) - 4


def may_be_sent(code: int) -> bool:
    """Whether a Close on the wire may carry ``code`` (RFC 6455 section 7.4.2)."""
    return 3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in _NOT_SENT)


def _is_text(reason: bytes) -> bool:
    """Whether a Close's reason is valid UTF-8 (section 5.5.1). For messages the other end checks this."""
    try:
        reason.decode()
    except UnicodeDecodeError:
        return False
    return True


def mask(payload: bytes, key: bytes) -> bytes:
    """Masks or unmasks ``payload`` (section 5.3), as one large integer: byte by byte would take ten times as long."""
    size = len(payload)
    return (int.from_bytes(payload) ^ int.from_bytes((key * (size // 4 + 1))[:size])).to_bytes(size)


def head(data: bytes, pos: int) -> tuple[int, int, int]:
    """Returns the first byte of the frame at ``pos``, the index where its payload begins, and the payload's length.

    A `Walker` must have passed the frame on, so that its header is whole.
    """
    second = data[pos + 1]
    at, length = pos + 2, second & 0x7F
    if length >= _LENGTH_IN_TWO:
        at += 2 if length == _LENGTH_IN_TWO else 8
        length = int.from_bytes(data[pos + 2 : at])
    return data[pos], at + 4 * (second >> 7), length


def text_frame(text: bytes) -> bytes:
    """A whole text message from the relay to a client. Its length must be one that is written in two bytes."""
    assert _LENGTH_IN_TWO <= len(text) < 1 << 16
    return bytes((0x80 | TEXT, _LENGTH_IN_TWO)) + len(text).to_bytes(2) + text


def control(opcode: int, payload: bytes, *, masked: bool) -> bytes:
    """One whole control frame, masked with a new key when the relay is the client of the leg (section 5.3)."""
    assert len(payload) <= 125, "control frames carry at most 125 bytes (RFC 6455 section 5.5)"
    head = bytes((0x80 | opcode,))
    if not masked:
        return head + bytes((len(payload),)) + payload
    key = os.urandom(4)
    return head + bytes((0x80 | len(payload),)) + key + mask(payload, key)


def close_frame(code: int, reason: str, *, masked: bool) -> bytes:
    """A Close with ``code`` and ``reason``; an empty Close for NO_CODE. Codes for logs only are not allowed."""
    if code == NO_CODE:
        return control(CLOSE, b"", masked=masked)
    assert may_be_sent(code), f"{code} never goes on the wire"
    return control(CLOSE, code.to_bytes(2) + reason.encode(), masked=masked)
