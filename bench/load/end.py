"""One end of a call: the caller or the model. It sends a frame at each `send`, and answers pings and Closes."""

import asyncio
from collections.abc import Callable
from typing import cast

from bench.load.wire import CLOSE, DOWN, PING, PONG, REQUEST, UP, Speech, answer_to, check_answer, frame

_BUFFER = memoryview(bytearray(256 * 1024))


class Received:
    """What all ends together received since it was made."""

    def __init__(self) -> None:
        self.frames = 0
        self.ages_ns: list[int] = []


class End(asyncio.BufferedProtocol):
    """``received`` may be replaced at any time: the next frame counts there."""

    def __init__(
        self, received: list[Received], sends: Speech, receives: Speech, opened: Callable[["End"], None]
    ) -> None:
        self.received = received
        self.sends, self.receives = sends, receives
        self.code: int | None = None
        self.closed = asyncio.get_running_loop().create_future()
        self.full = False
        self._opened = opened
        self._open = False
        self._held = b""
        self._skip = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(self.code)

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False

    def get_buffer(self, sizehint: int) -> memoryview:
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(_BUFFER[:nbytes])
        if not self._open:
            self._handshake(data)
        elif nbytes == self.receives.size and not self._skip and not self._held and data[0] == 0x81:
            self._count(data)
        else:
            self._walk(data)

    def send(self) -> None:
        """Sends one frame, unless the other side does not keep up."""
        if not self.full and not self.transport.is_closing():
            self.transport.write(self.sends.frame_now())

    def close(self, code: int = 1000) -> None:
        """Sends a Close; the other side answers and hangs up."""
        self.transport.write(frame(CLOSE, code.to_bytes(2), masked=self.sends is UP))

    def _count(self, data: bytes) -> None:
        received = self.received[0]
        received.frames += 1
        received.ages_ns.append(self.receives.age_ns(data))

    def _handshake(self, data: bytes) -> None:
        self._held += data
        head, end_of_head, rest = self._held.partition(b"\r\n\r\n")
        if not end_of_head:
            return
        self._greet(head + b"\r\n")
        self._open = True
        self._held = b""
        self._opened(self)
        if rest:
            self._walk(rest)

    def _greet(self, head: bytes) -> None:
        raise NotImplementedError

    def _walk(self, data: bytes) -> None:
        data = self._held + data
        at = min(self._skip, len(data))
        self._skip -= at
        self._held = b""
        while at < len(data):
            size = _frame_size(data, at)
            whole = size and at + size <= len(data)
            if not whole and (size == 0 or size < 64 * 1024):
                self._held = data[at:]
                return
            if size == self.receives.size:
                self._count(data[at : at + size])
            elif size < 200:
                self._control(data[at : at + size])
            else:
                self.received[0].frames += 1
            at += size
        self._skip = at - len(data)

    def _control(self, whole: bytes) -> None:
        masked = self.sends is UP
        payload = whole[2:] if masked else _unmask(whole[6:], whole[2:6])
        if whole[0] == PING:
            self.transport.write(frame(PONG, payload, masked=masked))
        elif whole[0] == CLOSE:
            self.code = int.from_bytes(payload[:2])
            if not self.transport.is_closing():
                self.transport.write(frame(CLOSE, payload[:2], masked=masked))
                self.transport.close()


class Caller(End):
    """The client's side."""

    def __init__(self, received: list[Received], opened: Callable[[End], None]) -> None:
        super().__init__(received, UP, DOWN, opened)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(REQUEST)

    def _greet(self, head: bytes) -> None:
        check_answer(head)


class Model(End):
    """The service's side."""

    def __init__(self, received: list[Received], opened: Callable[[End], None]) -> None:
        super().__init__(received, DOWN, UP, opened)

    def _greet(self, head: bytes) -> None:
        self.transport.write(answer_to(head))


def _frame_size(data: bytes, at: int) -> int:
    """Of the frame that starts at ``at``, header included; 0: its header is not whole yet."""
    if len(data) < at + 2:
        return 0
    length, head = data[at + 1] & 0x7F, 2
    if length == 126:
        head = 4
    elif length == 127:
        head = 10
    if len(data) < at + head:
        return 0
    if head > 2:
        length = int.from_bytes(data[at + 2 : at + head])
    return head + (4 if data[at + 1] & 0x80 else 0) + length


def _unmask(payload: bytes, key: bytes) -> bytes:
    return bytes(byte ^ key[i & 3] for i, byte in enumerate(payload))
