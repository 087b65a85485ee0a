"""One end of a call on a raw socket. It counts as the relay does, and knows the relay's own frames from the other's.

A data frame counts once its header is whole, a control frame when all of it is there. The relay's own frames are a
ping whose payload is ``rtproxy``, and a Close whose reason is not one of ours: all of ours begin with ``soak``, but for
the empty Close that a client may say; a model never says one.
"""

import asyncio
import socket
import struct
from typing import cast

from stage.rawpeer import CLOSE, PING, PONG, TEXT, announced, close_payload, frame
from stage.soak.account import Heard

RELAY_PING = b"rtproxy"
OURS = b"soak"
FLOOD_PING = b"soak flood"
"""The ping by which a client that has stopped reading asks its model for more than anybody keeps."""
ROOM = 256 * 1024
"""Bytes that may wait in this process for the kernel; more speech is left unsaid meanwhile."""
_TAIL = b'"n":"%08d"}'
_TAIL_BYTES = len(_TAIL % 0)


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

    # What asyncio tells.

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

    # What a script does.

    @property
    def room(self) -> bool:
        """Whether what is said now goes out soon."""
        return self._may_go_on.is_set() and not self.over.is_set()

    async def has_room(self) -> None:
        """Returns too when the call is over."""
        await self._may_go_on.wait()

    def tell(self, body: bytes, opcode: int = TEXT, *, fin: bool = True) -> None:
        """Says a data frame; its number is the end of its payload."""
        self.say(opcode, body + _TAIL % self._said, fin=fin)
        self._said += 1

    def say(self, opcode: int, payload: bytes, *, fin: bool = True) -> None:
        """Says one sound frame, unless a Close was said before."""
        if self.told.said_close is None and not self.over.is_set():
            self._write(frame(opcode, payload, masked=self.masked, fin=fin), frames=1)

    def close(self, code: int | None, reason: str = "soak") -> None:
        """Says the Close; once."""
        if self.told.said_close is None and not self.over.is_set():
            reason = "" if code is None else reason
            self._write(frame(CLOSE, close_payload(code, reason), masked=self.masked), frames=1)
            self.told.said_close = (code, reason)

    def begin(self, length: int, some: bytes) -> None:
        """Says the beginning of a frame that will never be whole, and nothing after it."""
        self.answers = False
        self._write(announced(TEXT, length, masked=self.masked) + some, frames=1)

    def raw(self, data: bytes) -> None:
        """Says what is no sound frame."""
        self._write(data, frames=0)

    def leave(self) -> None:
        """FIN, without a Close."""
        self.transport.close()

    def reset(self) -> None:
        """RST."""
        if not self.transport.is_closing():
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _write(self, data: bytes, frames: int) -> None:
        if not self.transport.is_closing():
            self.told.sent.add(data, frames)
            self.transport.write(data)

    # What the other end says.

    def _walk(self) -> None:
        held, at = self._held, 0
        while True:
            head, length = _header(held, at)
            if not head or at + head + length > len(held):
                break
            self._hear(bytes(held[at : at + head + length]), head)
            at += head + length
        if at:
            del held[:at]

    def _hear(self, whole: bytes, head: int) -> None:
        opcode = whole[0] & 0xF
        if opcode & 0x8 and self._control(opcode, _unmasked(whole, head)):
            return
        self.told.got.add(whole)
        if opcode & 0x8 == 0:
            self.told.disorder += whole[-_TAIL_BYTES:] != _TAIL % self._next
            self._next += 1

    def _control(self, opcode: int, payload: bytes) -> bool:
        """Answers, and says whether the frame is the relay's own."""
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
        head, _ = _header(self._held, 0) if self._framed else (0, 0)
        # A control frame of which only some arrived may be the relay's.
        if head and not self._held[0] & 0x8:
            self.told.got.frames += 1
            self.told.got.size += len(self._held)


def _header(held: bytearray, at: int) -> tuple[int, int]:
    """The length of the header that begins at ``at`` and of its payload; 0, 0 while it is not whole."""
    if len(held) < at + 2:
        return 0, 0
    length, head = held[at + 1] & 0x7F, 2
    if length > 125:
        size = 2 if length == 126 else 8
        length, head = int.from_bytes(held[at + 2 : at + 2 + size]), 2 + size
    head += 4 if held[at + 1] & 0x80 else 0
    return (head, length) if len(held) >= at + head else (0, 0)


def _unmasked(whole: bytes, head: int) -> bytes:
    if not whole[1] & 0x80:
        return whole[head:]
    key = whole[head - 4 : head]
    return bytes(byte ^ key[i & 3] for i, byte in enumerate(whole[head:]))
