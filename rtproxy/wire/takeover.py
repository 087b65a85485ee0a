"""Detaches the client's socket from aiohttp, which did its handshake.

aiohttp keeps bytes that arrive in the same segment as the end of a handshake for the WebSocket parser that it expects.
`set_parser` is the method with which its own WebSocket classes receive them.
"""

import asyncio
import os
import socket
from typing import Any, NamedTuple

from aiohttp import web

from rtproxy.wire.socket import prepare
from rtproxy.wire.tls import Tls


class DetachedSocket(NamedTuple):
    """A socket after its 101 that only the relay uses.

    ``early``: bytes that arrived with the handshake or right after.
    """

    sock: socket.socket
    tls: Tls | None
    early: bytes


class _Collector:
    """Takes the place of a parser, and keeps the bytes that it receives."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None: ...


async def take_over(request: web.Request, response: web.StreamResponse) -> DetachedSocket:
    """Sends the 101, and takes the client's socket over from aiohttp and uvloop.

    Raises ConnectionResetError when the client closed the connection, and another OSError when no file descriptor is
    left; in both cases no 101 was sent.
    """
    protocol: Any = request.protocol
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client closed the connection during its handshake")
    # The transport cannot give up its descriptor; a duplicate stays open when the transport closes its own.
    sock = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
    sock.setblocking(False)
    prepare(sock)
    # Bytes that arrive from now on stay in the socket. The 101 is written at once, not in the loop's next round.
    transport.pause_reading()
    transport.set_write_buffer_limits(high=0)
    try:
        await response.prepare(request)
        if transport.is_closing() or transport.get_write_buffer_size():
            raise ConnectionResetError("the client did not take the 101")
    except BaseException:
        sock.close()
        raise
    collector = _Collector()
    protocol.set_parser(collector, None)
    # aiohttp closes its transport when the handshake is done; without one it closes nothing.
    protocol.transport = None
    protocol.connection_lost(None)
    transport.set_protocol(asyncio.Protocol())
    transport.abort()
    return DetachedSocket(sock, None, collector.data)
