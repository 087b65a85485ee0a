"""How aiohttp, which did the client's handshake, lets go of a socket that a leg takes over.

Bytes that came in the same segment as the end of a handshake are kept by aiohttp for the WebSocket parser it
expects to be set. `set_parser` is the seam its own WebSocket classes use.
"""

import asyncio
import os
import socket
from typing import Any, NamedTuple

from aiohttp import web

from rtproxy.wire.socket import prepare
from rtproxy.wire.tls import Tls


class Taken(NamedTuple):
    """A socket after its 101, and ours alone. ``early`` is what arrived with or after the handshake."""

    sock: socket.socket
    tls: Tls | None
    early: bytes


class _Collector:
    """Poses as a parser and keeps what it is fed."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None: ...


async def take_over(request: web.Request, response: web.StreamResponse) -> Taken:
    """Sends the 101 and takes the client's socket away from aiohttp and uvloop.

    Raises ConnectionResetError when the client hung up, another OSError when there is no descriptor for the socket;
    then no 101 was sent.
    """
    protocol: Any = request.protocol
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("hung up during its handshake")
    # The transport cannot let go of its descriptor; another one of the same socket outlives it.
    sock = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
    sock.setblocking(False)
    prepare(sock)
    # What comes from here on stays in the socket. And nothing waits for the loop's next round: the 101 goes first.
    transport.pause_reading()
    transport.set_write_buffer_limits(high=0)
    try:
        await response.prepare(request)
        if transport.is_closing() or transport.get_write_buffer_size():
            raise ConnectionResetError("took no 101")
    except BaseException:
        sock.close()
        raise
    collector = _Collector()
    protocol.set_parser(collector, None)
    # aiohttp closes the transport it knows when it is done with the handshake: it is to know none.
    protocol.transport = None
    protocol.connection_lost(None)
    transport.set_protocol(asyncio.Protocol())
    transport.abort()
    return Taken(sock, None, collector.data)
