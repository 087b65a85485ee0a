"""How aiohttp, which did a handshake, hands the socket over to a leg.

Bytes that came in the same segment as the end of a handshake are kept by aiohttp for the WebSocket parser it
expects to be set. `set_parser` is the seam its own WebSocket classes use, on the server and the client side alike.
"""

import asyncio
import base64
import hashlib
from typing import Any, Protocol

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_of(key: str) -> str:
    """The Sec-WebSocket-Accept that answers a Sec-WebSocket-Key (RFC 6455 section 4.2.2)."""
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


class _Handshaken(Protocol):
    """The protocol of either side of aiohttp, after its 101."""

    transport: asyncio.Transport | None

    def set_parser(self, parser: Any, payload: Any, /) -> None: ...


class _Collector:
    """Poses as a parser and keeps what it is fed."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None: ...


class Socket:
    """A socket that aiohttp let go of. It goes on collecting early bytes until a leg becomes the protocol.

    Raises ConnectionResetError when the connection is closed already.
    """

    def __init__(self, protocol: _Handshaken) -> None:
        if protocol.transport is None:
            raise ConnectionResetError("closed right after its handshake")
        self.transport = protocol.transport
        self._collector = _Collector()
        protocol.set_parser(self._collector, None)
        # aiohttp closes the transport it knows when it is done with the handshake: it is to know none.
        protocol.transport = None

    @property
    def early(self) -> bytes:
        """What arrived with or after the handshake."""
        return self._collector.data
