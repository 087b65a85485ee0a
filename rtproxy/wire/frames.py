"""RFC 6455 framing with no I/O: where frames begin and end, and the control frames we add.

A relay need not decode. A client's frame is masked for the server it is going to anyway, a server's frame
is bare for its client, so bytes pass as they came and only headers are read:

     0               1               2        (section 5.2)
    |FIN|RSV| opcode |MASK|  length  | extended length: 0, 2 or 8 bytes | mask: 0 or 4 | payload ...

Two rules hold for what `Walker.feed` returns. A header goes on only when it is whole and sound, so a faulty or
oversized frame never reaches the other leg. A control frame (at most 131 bytes) goes on only when it is whole,
so between two returned chunks the other leg is either inside a data frame (``skip > 0``) or at a boundary. A Close does
not go on by itself: what becomes of it depends on how far the call's ending is.
"""

import os
import struct
from typing import ClassVar, Protocol

FRAME_LIMIT = 16 * 1024 * 1024
"""Bytes of payload in one frame. The model takes 15 MiB of audio in one append, base64 and JSON around it
included (platform limit), so 16 MiB refuses no call that would have worked."""
HEAD_MAX = 14
FRAMES_IN_ONE_GO = 64
"""Frames walked over before it is the turn of other calls: as many as a read holds where each has a KiB."""
PARSED_IN_ONE_GO = 16 * 1024
"""And bytes of messages parsed: of arrays with nothing in them, four events of as many take 4 ms."""

NO_CODE = 1005
"""A Close that carried no code; in logs only (section 7.4.1)."""
_NOT_SENT = frozenset((1004, NO_CODE, 1006))
CONTINUATION, TEXT, CLOSE, PING = 0x0, 0x1, 0x8, 0x9
# First bytes without RSV bits: FIN or not for data, FIN only for control (section 5.4, 5.5).
_DATA_STARTS = frozenset((0x81, 0x01, 0x82, 0x02))
_CONTINUATIONS = frozenset((0x80, 0x00))
_CONTROLS = frozenset((0x88, 0x89, 0x8A))
_LENGTH_IN_TWO = 126
OPENING = struct.Struct(">I").unpack_from
"""The first two bytes of a frame and a length in two bytes, where that is what follows, as one number."""


class Finder(Protocol):
    """Reads the text messages of one direction, as they pass, in the chunks they came in.

    ``ignores`` are beginnings of messages that it need not be shown. ``parsed`` counts bytes that it parsed; whoever
    feeds it sets it back.
    """

    ignores: tuple[bytes, ...]
    parsed: int

    def begin(self, data: bytes, start: int, stop: int, done: bool) -> bool:
        """A text message begins at ``data[start:stop]``; true asks for the rest of it by `more`."""

    def more(self, data: bytes, start: int, stop: int, done: bool) -> bool:
        """The message goes on; true asks for still more. ``done`` marks its last byte."""


class Count:
    """What one direction of a call has moved. It outlives the leg and the walker that count in it.

    ``frames`` are whole headers seen, ``aside`` those among them that begin no message, ``bytes`` all that arrived,
    ``refused`` messages that a gate did not let pass.
    """

    __slots__ = ("aside", "bytes", "frames", "refused")

    def __init__(self) -> None:
        self.frames = self.aside = self.bytes = self.refused = 0

    def messages(self) -> int:
        """How many messages have begun."""
        return self.frames - self.aside


class Walker:
    """Follows the frames that arrive on one leg, and counts them in ``count``. Not to be shared between legs.

    It is a `ClientWalker` or a `ModelWalker`: a call pays for no constant.

    ``halt`` says why nothing further is to pass on: ``"close"`` (the leg sent a Close: ``close`` is the frame, which is
    not passed on by `feed`, and ``code`` its code, 1005 when it had none), ``"fault"`` (a framing fault, to be answered
    1002) or ``"too_big"`` (a frame over 16 MiB was announced, 1009); others are set from outside.

    ``skip`` is how much of the current frame is still to come. ``rest`` is what is too much for one go, behind whole
    frames: feed nothing, to go on with it.

    ``calm`` says that a whole text frame that is alone in its chunk may pass without `feed`, as nearly all do: where
    the chunk's OPENING less its size is ``usual``, and what follows the ``head_size`` bytes of the header starts with
    one of ``ignored``. Whoever lets it pass counts it.
    """

    __slots__ = (
        "_finder",
        "_fragmented",
        "_held",
        "_last",
        "_wanted",
        "calm",
        "close",
        "count",
        "halt",
        "ignored",
        "rest",
        "skip",
    )
    mask_bit: ClassVar[int]
    head_size: ClassVar[int]
    usual: ClassVar[int]

    def __init__(self, count: Count, finder: Finder | None = None) -> None:
        self.count = count
        self.ignored = (b"",) if finder is None else finder.ignores
        self.calm = True
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
        """Whether a message is under way whose last frame has not begun (section 5.4)."""
        return self._fragmented

    def waits(self) -> bool:
        """Whether there is something to pass on without more bytes."""
        return bool(self.rest)

    def forget(self) -> None:
        """What has not been passed on will not be."""
        self.rest = b""

    def show_all(self) -> None:
        """From now on no frame passes without `feed`."""
        self.ignored = ()

    def feed(self, data: bytes) -> bytes:
        """Takes the next bytes of the leg and returns those that may go on; never raises for what they hold."""
        if self._held or self.rest:
            data = self._held + self.rest + data
            self._held = self.rest = b""
        pos = self.skip
        end = len(data)
        if self._wanted and pos:
            self._more(data, 0, min(pos, end), pos <= end)
        self.calm = False
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
            # The header, inline: this loop turns once a frame and a call would cost as much as its body.
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
        self.calm = pos == end and not self._fragmented
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
    """Walks a client's frames, which are masked."""

    __slots__ = ()
    mask_bit = 0x80
    head_size = 8
    usual = ((0x80 | TEXT) << 24 | (0x80 | _LENGTH_IN_TWO) << 16) - 8


class ModelWalker(Walker):
    """Walks the model's frames, which are not."""

    __slots__ = ()
    mask_bit = 0
    head_size = 4
    usual = ((0x80 | TEXT) << 24 | _LENGTH_IN_TWO << 16) - 4


def may_be_sent(code: int) -> bool:
    """Whether a Close on the wire may carry ``code`` (RFC 6455 section 7.4.2)."""
    return 3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in _NOT_SENT)


def _is_text(reason: bytes) -> bool:
    """A reason is UTF-8 (section 5.5.1); of messages it is the other end that judges it."""
    try:
        reason.decode()
    except UnicodeDecodeError:
        return False
    return True


def mask(payload: bytes, key: bytes) -> bytes:
    """Masks ``payload`` or takes its mask off (section 5.3). As numbers: by bytes it would take ten times as long."""
    size = len(payload)
    return (int.from_bytes(payload) ^ int.from_bytes((key * (size // 4 + 1))[:size])).to_bytes(size)


def head(data: bytes, pos: int) -> tuple[int, int, int]:
    """The first byte of the frame at ``pos``, where its payload begins, and its length.

    It must be one that a `Walker` has passed on: its header is whole.
    """
    second = data[pos + 1]
    at, length = pos + 2, second & 0x7F
    if length >= _LENGTH_IN_TWO:
        at += 2 if length == _LENGTH_IN_TWO else 8
        length = int.from_bytes(data[pos + 2 : at])
    return data[pos], at + 4 * (second >> 7), length


def text_frame(text: bytes) -> bytes:
    """A whole message of ours for a client; its length must be one that takes two bytes."""
    assert _LENGTH_IN_TWO <= len(text) < 1 << 16
    return bytes((0x80 | TEXT, _LENGTH_IN_TWO)) + len(text).to_bytes(2) + text


def control(opcode: int, payload: bytes, *, masked: bool) -> bytes:
    """One whole control frame, masked with a fresh key when we are the client of the leg (section 5.3)."""
    assert len(payload) <= 125, "control frames carry at most 125 bytes (RFC 6455 section 5.5)"
    head = bytes((0x80 | opcode,))
    if not masked:
        return head + bytes((len(payload),)) + payload
    key = os.urandom(4)
    return head + bytes((0x80 | len(payload),)) + key + mask(payload, key)


def close_frame(code: int, reason: str, *, masked: bool) -> bytes:
    """A Close with ``code`` and ``reason``; an empty one for NO_CODE. Codes for logs only are refused."""
    if code == NO_CODE:
        return control(CLOSE, b"", masked=masked)
    assert may_be_sent(code), f"{code} never goes on the wire"
    return control(CLOSE, code.to_bytes(2) + reason.encode(), masked=masked)
