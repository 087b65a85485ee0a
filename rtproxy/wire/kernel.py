"""What the kernel knows about a socket, and what it is told, beyond asyncio (Linux, tcp(7))."""

import socket
import struct
import termios
from fcntl import ioctl

UNSENT_LIMIT = 128 * 1024


def prepare(sock: socket.socket) -> None:
    """Sends each frame at once, and lets the kernel hold UNSENT_LIMIT bytes: a Close is not stuck behind megabytes."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_LIMIT)


def unsent(sock: socket.socket) -> int:
    """Bytes that the other side's kernel has not taken yet. The socket must not be closed."""
    (count,) = struct.unpack("i", ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
    return int(count)
