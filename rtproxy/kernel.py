"""What the kernel knows about a socket that asyncio does not say (Linux, tcp(7))."""

import asyncio
import socket
import struct
import termios
from fcntl import ioctl

UNSENT_LIMIT = 128 * 1024
_CLOSED = 7
# The state is the first byte of struct tcp_info; 7 is TCP_CLOSE, where a reset leads.


def limit_unsent(transport: asyncio.Transport) -> None:
    """Lets the kernel hold UNSENT_LIMIT bytes that it has not sent: a Close is not stuck behind megabytes."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_LIMIT)


def unsent(transport: asyncio.Transport) -> int:
    """Bytes that the other side's kernel has not taken yet. The transport must not be closed."""
    fileno = transport.get_extra_info("socket").fileno()
    (count,) = struct.unpack("i", ioctl(fileno, termios.TIOCOUTQ, bytes(4)))
    return int(count)


def is_reset(transport: asyncio.Transport) -> bool:
    """Whether the connection was reset, although nobody reads it. The transport must not be closed."""
    info = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    return bool(info[0] == _CLOSED)
