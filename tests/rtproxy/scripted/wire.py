"""One side's socket: events as JSON of any layout, in frames and segments cut anywhere."""

import asyncio
import contextlib
import random
import time
from typing import Any

import orjson

from stage.rawpeer import CLOSE, PING, PONG, TEXT, Frame, RawPeer, announced

Event = dict[str, Any]


class Line:
    """Writes and reads one side's events. ``cut_at`` is when the last event that was sent in pieces became whole."""

    def __init__(self, peer: RawPeer, noise: int) -> None:
        self.peer = peer
        self.cut_at = 0.0
        self._noise = random.Random(noise)
        self._spaced = self._noise.random() < 0.3
        self._id_first = self._noise.random() < 0.5
        self._restless = self._noise.random() < 0.5
        self._writing = asyncio.Lock()
        self._closed = False

    async def say(self, event: Event) -> None:
        """Sends one event; nothing once the line is closed."""
        pieces = self._pieces(self._written(event))
        async with self._writing:
            with contextlib.suppress(ConnectionError):
                for number, piece in enumerate(pieces):
                    if number:
                        await asyncio.sleep(self._noise.random() * 0.004)
                    if self._closed and not number:
                        return
                    await self.peer.write(piece)
                if len(pieces) > 1:
                    self.cut_at = time.monotonic()

    async def ping(self) -> None:
        """Sends a ping."""
        async with self._writing:
            await self.peer.write(self._frame(PING, b"still there?"))

    async def hear(self) -> Event | Frame:
        """The next event, or the Close. Pings are answered."""
        message = b""
        while True:
            got = await self.peer.read()
            if got.opcode == PING:
                async with self._writing:
                    await self.peer.write(self._frame(PONG, got.payload))
            elif got.opcode == CLOSE:
                return got
            elif got.opcode in (TEXT, 0):
                message += got.payload
                if got.first & 0x80:
                    event: Event = orjson.loads(message)
                    return event

    async def answer_close(self, close: Frame) -> None:
        """Sends the Close back, behind an event that is half sent, and nothing more."""
        self._closed = True
        async with self._writing:
            with contextlib.suppress(ConnectionError):
                await self.peer.write(self._frame(CLOSE, close.payload))

    def _written(self, event: Event) -> bytes:
        event = dict(event)
        if self._id_first and "event_id" in event:
            event = {"event_id": event.pop("event_id"), **event}
        text = orjson.dumps(event)
        if self._spaced and len(text) < 2000:
            text = orjson.dumps(event, option=orjson.OPT_INDENT_2)
        return text

    def _pieces(self, payload: bytes) -> list[bytes]:
        chance = self._noise.random() if self._restless else 1.0
        if chance < 0.08:  # in fragments
            cut = self._noise.randint(0, len(payload))
            raw = [self._frame(TEXT, payload[:cut], fin=False), self._frame(0, payload[cut:])]
            return raw if self._noise.random() < 0.5 else [b"".join(raw)]
        raw = [self._frame(TEXT, payload)]
        if chance < 0.2:  # in segments
            cut = self._noise.randint(1, min(200, len(raw[0]) - 1))
            return [raw[0][:cut], raw[0][cut:]]
        return raw

    def _frame(self, opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
        head = bytes((fin << 7 | opcode,)) + announced(opcode, len(payload), masked=self.peer.masked)[1:]
        if not self.peer.masked:
            return head + payload
        key = self._noise.randbytes(4)
        return head[:-4] + key + masked(payload, key)


def masked(payload: bytes, key: bytes) -> bytes:
    """RFC 6455 section 5.3."""
    size = len(payload)
    stream = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(stream)).to_bytes(size)
