"""HTTP heads and WebSocket frames as the man in the middle reads and writes them, over asyncio's streams."""

import secrets
import struct
from asyncio import StreamReader
from typing import NamedTuple

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Head:
    """The start line and the headers of a request or an answer, to be changed and written again."""

    def __init__(self, start: str, headers: list[tuple[str, str]]) -> None:
        self.start = start
        self.headers = headers

    @classmethod
    async def read(cls, reader: StreamReader) -> "Head":
        """Raises IncompleteReadError when the peer leaves before its end."""
        start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip("\r\n").split("\r\n")
        return cls(start, [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)])

    def __getitem__(self, name: str) -> str:
        """The first value of that name, empty where there is none."""
        return next((value for each, value in self.headers if each.lower() == name), "")

    def put(self, name: str, value: str | None) -> None:
        """Sets a header; None takes it away."""
        self.headers = [each for each in self.headers if each[0].lower() != name]
        if value is not None:
            self.headers.append((name, value))

    @property
    def upgrades(self) -> bool:
        """Whether it asks for a WebSocket."""
        return self["upgrade"].lower() == "websocket"

    @property
    def status(self) -> int:
        """Of an answer."""
        return int(self.start.split(" ")[1])

    def __bytes__(self) -> bytes:
        lines = [self.start, *(f"{name}: {value}" for name, value in self.headers)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


def refusal(status: str) -> bytes:
    """An answer with no body, after which the connection ends."""
    return f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode("latin-1")


class Frame(NamedTuple):
    """One frame, unmasked. `first` is its first byte: the end mark and the opcode."""

    first: int
    payload: bytes

    @property
    def opcode(self) -> int:
        return self.first & 0x0F

    @property
    def event(self) -> bool:
        """Whether it is a whole text message."""
        return self.first == 0x80 | TEXT

    def packed(self, *, masked: bool) -> bytes:
        """As it goes out: a client masks what it sends."""
        size, mark = len(self.payload), 0x80 if masked else 0
        if size < 126:
            head = struct.pack("!BB", self.first, mark | size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", self.first, mark | 126, size)
        else:
            head = struct.pack("!BBQ", self.first, mark | 127, size)
        if not masked:
            return head + self.payload
        mask = secrets.token_bytes(4)
        return head + mask + _masked(self.payload, mask)


def event_frame(payload: bytes) -> Frame:
    """A whole text message."""
    return Frame(0x80 | TEXT, payload)


def close_frame(code: int, reason: str = "") -> Frame:
    return Frame(0x80 | CLOSE, struct.pack("!H", code) + reason.encode())


async def read_frame(reader: StreamReader) -> Frame:
    """Raises IncompleteReadError at the end of the stream."""
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
    elif size == 127:
        (size,) = struct.unpack("!Q", await reader.readexactly(8))
    mask = await reader.readexactly(4) if second & 0x80 else b""
    payload = await reader.readexactly(size)
    return Frame(first, _masked(payload, mask) if mask else payload)


def _masked(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    pad = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")
