"""A WebSocket peer whose every byte the caller decides: for what a correct library would never do.

Either side of the protocol: `connect` is a client, `RawServer` a server. Frames are written and read as they are
on the wire (RFC 6455 section 5.2); nothing is answered automatically, not even a ping or a Close.
"""

import asyncio
import base64
import contextlib
import hashlib
import os
import socket
import ssl
import struct
from collections.abc import Mapping
from typing import NamedTuple, Self

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Frame(NamedTuple):
    """A frame as it was read, unmasked."""

    first: int
    payload: bytes

    @property
    def opcode(self) -> int:
        return self.first & 0xF

    @property
    def code(self) -> int | None:
        """Of a Close: its code, None when it is empty."""
        return int.from_bytes(self.payload[:2]) if self.payload else None

    @property
    def reason(self) -> str:
        return self.payload[2:].decode()


def frame(opcode: int, payload: bytes = b"", *, masked: bool, fin: bool = True, rsv: int = 0) -> bytes:
    """The bytes of one frame, sound or not. The mask is zero: a mask, and one that leaves the payload readable."""
    first = fin << 7 | rsv << 4 | opcode
    return bytes((first,)) + announced(opcode, len(payload), masked=masked)[1:] + payload


def announced(opcode: int, length: int, *, masked: bool) -> bytes:
    """Only the head of a final frame of ``length`` bytes."""
    head, bit = bytes((0x80 | opcode,)), masked << 7
    if length < 126:
        head += bytes((bit | length,))
    elif length < 1 << 16:
        head += bytes((bit | 126,)) + length.to_bytes(2)
    else:
        head += bytes((bit | 127,)) + length.to_bytes(8)
    return head + bytes(4 * masked)


def close_payload(code: int | None, reason: str = "") -> bytes:
    """What a Close carries; None: nothing."""
    return b"" if code is None else code.to_bytes(2) + reason.encode()


def measured(data: bytes | bytearray, at: int = 0) -> tuple[int, int]:
    """The length of the head that begins at ``at``, and of its payload; 0, 0 while the head is not whole."""
    if len(data) < at + 2:
        return 0, 0
    length = data[at + 1] & 0x7F
    extended = {126: 2, 127: 8}.get(length, 0)
    head = 2 + extended + (4 if data[at + 1] & 0x80 else 0)
    if len(data) < at + head:
        return 0, 0
    return head, int.from_bytes(data[at + 2 : at + 2 + extended]) if extended else length


def unmasked(whole: bytes, head: int) -> bytes:
    """The payload of a frame whose head is that long."""
    key, payload = whole[head - 4 : head] if whole[1] & 0x80 else b"", whole[head:]
    if not key.strip(b"\0"):
        return payload
    mask = (key * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload) ^ int.from_bytes(mask)).to_bytes(len(payload))


def accepted(key: bytes) -> str:
    """The Sec-WebSocket-Accept that answers a Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()


def reset(transport: asyncio.WriteTransport) -> None:
    """RST."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class RawPeer:
    """One socket after the request was read; ``headers`` are those of the other side's handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str, masked: bool) -> None:
        lines = head.split("\r\n")
        self.request_line = lines[0]
        self.status = int(lines[0].split()[1]) if lines[0].startswith("HTTP/") else 0
        self.headers = {k.strip().lower(): v.strip() for k, _, v in (x.partition(":") for x in lines[1:] if x)}
        self.masked = masked
        self.reader = reader
        self.writer = writer

    async def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> None:
        """Writes one frame, masked as this side must, and waits until the socket takes it."""
        await self.write(frame(opcode, payload, masked=self.masked, fin=fin, rsv=rsv))

    async def write(self, raw: bytes) -> None:
        """Writes bytes as they are."""
        self.writer.write(raw)
        await self.writer.drain()

    async def read(self) -> Frame:
        """The next frame. Raises asyncio.IncompleteReadError at the end, ConnectionResetError after a reset."""
        data = await self.reader.readexactly(2)
        while not (sizes := measured(data))[0]:
            data += await self.reader.readexactly({126: 2, 127: 8}.get(data[1] & 0x7F, 0) + (data[1] >> 7) * 4)
        head, length = sizes
        data += await self.reader.readexactly(length)
        return Frame(data[0], unmasked(data, head))

    async def read_until(self, opcode: int) -> Frame:
        """Skips frames until one of ``opcode``."""
        while (got := await self.read()).opcode != opcode:
            pass
        return got

    async def ended(self) -> str:
        """Reads to the end of the connection: ``fin`` or ``reset``."""
        try:
            while await self.reader.read(1 << 16):
                pass
        except ConnectionResetError:
            return "reset"
        return "fin"

    async def answer(
        self,
        status: str = "101 Switching Protocols",
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        then: bytes = b"",
    ) -> None:
        """A server's answer to the request; ``then`` goes out in the same segment. "\\udcfc" in a header is byte fc."""
        fields = dict(headers or {})
        if status.startswith("101"):
            accept = accepted(self.headers["sec-websocket-key"].encode())
            fields = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept} | fields
        else:
            fields["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await self.write(f"HTTP/1.1 {status}\r\n{head}\r\n".encode(errors="surrogateescape") + body + then)

    def half_close(self) -> None:
        """FIN, and goes on reading."""
        self.writer.write_eof()

    def hang_up(self) -> None:
        """FIN."""
        self.writer.close()

    async def closed(self) -> None:
        """Closes this side, however the other one ended."""
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def reset(self) -> None:
        """RST."""
        reset(self.writer.transport)


async def connect(
    port: int,
    path: str = "/v1/realtime",
    *,
    headers: Mapping[str, str] | None = None,
    then: bytes = b"",
    receive_buffer: int = 0,
) -> RawPeer:
    """A client's handshake with a server on loopback, answered in any way; a header set to "" is left out.

    ``then`` goes out in the same segment as the end of the request, ``receive_buffer`` bounds the kernel's (bytes).
    """
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock)
    fields = {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
    } | dict(headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    writer.write(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode() + then)
    try:
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()
    except BaseException:
        writer.close()
        raise
    return RawPeer(reader, writer, answer, masked=True)


class RawServer:
    """A server on loopback that hands over each request it gets, unanswered.

    At its end it closes every connection, also those without a request yet, and leaves no socket open.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        self._tls = tls
        self._address = host, port
        self._requests: asyncio.Queue[RawPeer] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []
        self.port = port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._came, *self._address, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        # Awaited now: for a server that is closed already, uvloop does not report the end of its last connection.
        self._deserted = asyncio.create_task(self._server.wait_closed())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._deserted

    async def _came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        if self._is_closing():  # it was accepted meanwhile
            writer.close()
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            return
        self._requests.put_nowait(RawPeer(reader, writer, head, masked=False))

    def _is_closing(self) -> bool:
        return not self._server.is_serving()

    async def request(self) -> RawPeer:
        """The next request, to be answered or not."""
        return await self._requests.get()
