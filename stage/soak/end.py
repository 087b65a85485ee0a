"""One end of a call on a raw socket, and the line that it writes about the call.

An end counts as the relay does: a data frame once its header is whole, a control frame when all of it is there. The
relay's own frames are a ping whose payload is ``rtproxy``, and a Close whose reason is not one of ours: all of ours
begin with ``soak``, except the empty Close that a client may send; a model never sends one.
"""

import asyncio
import sys
import zlib
from dataclasses import dataclass, field
from typing import cast

import orjson

from stage.rawpeer import CLOSE, PING, PONG, TEXT, announced, close_payload, frame, measured, reset, unmasked

Close = tuple[int | None, str]
RELAY_PING = b"rtproxy"
OURS = b"soak"
FLOOD_PING = b"soak flood"
"""The ping by which a client that has stopped reading asks its model for more than any buffer holds."""
ROOM = 256 * 1024
"""Bytes that may wait in this process for the kernel; no more speech is sent meanwhile."""
_TAIL = b'"n":"%08d"}'
_TAIL_BYTES = len(_TAIL % 0)


@dataclass(slots=True)
class Count:
    """Whole frames count in all three, a cut one in ``frames`` and ``size``, in bytes. ``crc`` is over all bytes."""

    frames: int = 0
    size: int = 0
    crc: int = 0

    def add(self, data: bytes, frames: int = 1) -> None:
        self.frames += frames
        self.size += len(data)
        self.crc = zlib.crc32(data, self.crc)


@dataclass(slots=True)
class Heard:
    """What an end wrote down of its call. ``disorder`` counts frames that were not the next of the other end's."""

    sent: Count = field(default_factory=Count)
    got: Count = field(default_factory=Count)
    said_close: Close | None = None
    got_close: Close | None = None
    relay_close: Close | None = None
    relay_pings: int = 0
    disorder: int = 0
    ended: str = ""


@dataclass(slots=True)
class ClientSide:
    """A client's own account. ``stopped``: ended before its time; ``overdue``: its call never ended by itself."""

    number: int
    kind: str
    code: int | None
    session: str | None = None
    status: int = 0
    stopped: bool = False
    overdue: bool = False
    heard: Heard = field(default_factory=Heard)


@dataclass(slots=True)
class ModelSide:
    """The model's own account. ``status`` is what it answered: 0 where nothing."""

    number: int
    status: int = 0
    responses: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    heard: Heard = field(default_factory=Heard)


def write(line: object) -> None:
    """One line, whole."""
    sys.stdout.buffer.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


class End(asyncio.Protocol):
    """``head`` resolves with what came before the first frame, ``over`` when the socket is closed."""

    def __init__(self, *, masked: bool) -> None:
        loop = asyncio.get_running_loop()
        self.masked = masked
        self.told = Heard()
        self.answers = True
        self.head: asyncio.Future[bytes] = loop.create_future()
        self.over = asyncio.Event()
        self.asked_for_flood = False
        self._may_go_on = asyncio.Event()
        self._may_go_on.set()
        self._held = bytearray()
        self._framed = False
        self._said = self._next = 0

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=ROOM)

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.ended = "reset" if exc is not None else "fin"
        self._count_cut_frame()
        if not self.head.done():
            self.head.set_result(b"")
        self.over.set()
        self._may_go_on.set()

    def pause_writing(self) -> None:
        self._may_go_on.clear()

    def resume_writing(self) -> None:
        self._may_go_on.set()

    def data_received(self, data: bytes) -> None:
        self._held += data
        if not self.head.done():
            head, found, rest = self._held.partition(b"\r\n\r\n")
            if not found:
                return
            self._held = rest
            self._framed = not head.startswith(b"HTTP/") or head.split()[1] == b"101"
            self.head.set_result(bytes(head))
        if self._framed:
            self._walk()

    # What a script of a call does.

    @property
    def room(self) -> bool:
        """Whether what is sent now goes out soon."""
        return self._may_go_on.is_set() and not self.over.is_set()

    async def has_room(self) -> None:
        """Returns too when the call is over."""
        await self._may_go_on.wait()

    def tell(self, body: bytes, opcode: int = TEXT, *, fin: bool = True) -> None:
        """Sends a data frame; its number is the end of its payload."""
        self.say(opcode, body + _TAIL % self._said, fin=fin)
        self._said += 1

    def say(self, opcode: int, payload: bytes, *, fin: bool = True) -> None:
        """Sends one valid frame, unless a Close was sent before."""
        if self.told.said_close is None and not self.over.is_set():
            self._write(frame(opcode, payload, masked=self.masked, fin=fin), frames=1)

    def close(self, code: int | None, reason: str = "soak") -> None:
        """Sends the Close; once."""
        if self.told.said_close is None and not self.over.is_set():
            reason = "" if code is None else reason
            self._write(frame(CLOSE, close_payload(code, reason), masked=self.masked), frames=1)
            self.told.said_close = (code, reason)

    def begin(self, length: int, some: bytes) -> None:
        """Sends the beginning of a frame that will never be whole, and nothing after it."""
        self.answers = False
        self._write(announced(TEXT, length, masked=self.masked) + some, frames=1)

    def raw(self, data: bytes) -> None:
        """Sends bytes that are no valid frame."""
        self._write(data, frames=0)

    def leave(self) -> None:
        """FIN, without a Close."""
        self.transport.close()

    def reset(self) -> None:
        """RST."""
        if self.transport.is_closing():
            self.transport.abort()
        else:
            reset(self.transport)

    def _write(self, data: bytes, frames: int) -> None:
        if not self.transport.is_closing():
            self.told.sent.add(data, frames)
            self.transport.write(data)

    # Frames of the other end.

    def _walk(self) -> None:
        held, at = self._held, 0
        while True:
            head, length = measured(held, at)
            if not head or at + head + length > len(held):
                break
            self._hear(bytes(held[at : at + head + length]), head)
            at += head + length
        if at:
            del held[:at]

    def _hear(self, whole: bytes, head: int) -> None:
        opcode = whole[0] & 0xF
        if opcode & 0x8 and self._control(opcode, unmasked(whole, head)):
            return
        self.told.got.add(whole)
        if opcode & 0x8 == 0:
            self.told.disorder += whole[-_TAIL_BYTES:] != _TAIL % self._next
            self._next += 1

    def _control(self, opcode: int, payload: bytes) -> bool:
        """Answers, and returns whether the frame is the relay's own."""
        own = False
        if opcode == PING:
            own = payload == RELAY_PING
            self.told.relay_pings += own
            self.asked_for_flood |= payload == FLOOD_PING
            if self.answers:
                self.say(PONG, payload)
        elif opcode == CLOSE:
            code = int.from_bytes(payload[:2]) if payload else None
            close = code, payload[2:].decode()
            own = not (payload[2:].startswith(OURS) or (code is None and not self.masked))
            if own:
                self.told.relay_close = close
            else:
                self.told.got_close = close
            if self.answers:
                self.close(1000 if code is None else code, "soak answer")
                self.transport.close()
        return own

    def _count_cut_frame(self) -> None:
        head, _ = measured(self._held) if self._framed else (0, 0)
        # A control frame of which only some arrived may be the relay's.
        if head and not self._held[0] & 0x8:
            self.told.got.frames += 1
            self.told.got.size += len(self._held)
