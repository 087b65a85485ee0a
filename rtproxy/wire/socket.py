"""One non-blocking socket, in plaintext or under TLS. Bytes that the kernel does not accept wait here."""

import socket
import struct
import termios
from collections.abc import Callable
from fcntl import ioctl
from typing import Final, Protocol

from rtproxy.wire.poller import Owner as Polled
from rtproxy.wire.poller import Watcher
from rtproxy.wire.tls import Tls

KERNEL_BUFFER_LIMIT: Final = 128 * 1024


def prepare(sock: socket.socket) -> None:
    """Sends each frame at once, and limits the kernel's buffer, so that a Close does not wait behind megabytes."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, KERNEL_BUFFER_LIMIT)


def bytes_in_kernel(sock: socket.socket) -> int:
    """Bytes that the other side's kernel has not acknowledged yet. The socket must not be closed."""
    (count,) = struct.unpack("i", ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
    return int(count)


def drop(data: bytes) -> int:
    """Replaces ``send`` for a socket that takes nothing more."""
    return len(data)


def read_nothing(size: int) -> bytes:
    """Replaces ``recv`` for a socket that is closed."""
    return b""


class Owner(Protocol):
    """Receives the events of a socket and of the flow that reads it.

    All but `closed` may come while the owner calls one of the two.
    """

    def filled(self) -> None:
        """Bytes for the socket wait. This may come again before `drained`."""

    def drained(self) -> None:
        """The waiting bytes are sent."""

    def closing_begins(self) -> None:
        """The socket closes when the waiting bytes are sent, and is not read any more. This may come again."""

    def closed(self) -> None:
        """The socket is closed. This comes once, in one of the loop's next rounds."""

    def halted(self) -> None:
        """The flow's reader stopped; its ``halt`` says why. Nothing more is passed on. This may come again."""

    def ended(self) -> None:
        """The stream has ended: no more bytes arrive. This may come again."""

    def failed(self, defect: Exception) -> None:
        """An exception was raised in the flow."""


class Socket:
    """A non-blocking socket.

    ``recv`` and ``send`` work as a socket's (`Tls`); they are bound once, not for every frame.

    ``full``: bytes wait here. ``closing``: it closes when they are sent. ``shut``: it is closed. ``owner`` must be set
    before the first call.
    """

    __slots__ = ("_poller", "_sock", "_unsent", "closing", "full", "owner", "recv", "send", "shut", "tls")
    # What compiled code may delete.
    __deletable__ = ("owner",)
    owner: Owner

    def __init__(self, poller: Watcher, sock: socket.socket, tls: Tls | None) -> None:
        self._poller = poller
        self._sock, self.tls = sock, tls
        self.recv: Callable[[int], bytes] = sock.recv if tls is None else tls.recv
        self.send: Callable[[bytes], int] = sock.send if tls is None else tls.send
        self._unsent = b""
        self.full = self.closing = self.shut = False

    def watch(self, owner: Polled) -> None:
        """From now on the poller reports the events of this socket to ``owner``."""
        self._poller.add(self._sock.fileno(), owner)

    def rearm(self) -> None:
        """Makes the poller report again what nobody handled."""
        self._poller.rearm(self._sock.fileno())

    def write(self, data: bytes) -> None:
        """Sends ``data``, or keeps it until the kernel accepts it."""
        try:
            if (sent := self.keep(data) if self.full else self.send(data)) != len(data):
                self.partly_sent(data, sent)
        except OSError as problem:
            self.not_sent(data, problem)

    def not_sent(self, data: bytes, problem: OSError) -> None:
        """The kernel did not accept ``data``: for now, or because the connection is broken."""
        if isinstance(problem, (BlockingIOError, InterruptedError)):
            self.partly_sent(data, 0)
        else:
            # Bytes that arrived before the connection broke are still read first.
            self._poller.soon(self.abort)

    def partly_sent(self, data: bytes, sent: int) -> None:
        """The kernel accepted only the first ``sent`` bytes of ``data``."""
        self._unsent = data[sent:] if self.tls is None else self.tls.unsent
        self.full = True
        self.owner.filled()

    def keep(self, data: bytes) -> int:
        """Appends ``data`` to the waiting bytes."""
        self._unsent += data if self.tls is None else self.tls.encrypt(data)
        return len(data)

    def send_tls_records(self, tls: Tls) -> None:
        """Sends records of TLS itself, such as key updates, which would otherwise wait for the next frame."""
        try:
            if not tls.send_own_records():
                self.partly_sent(b"", 0)
        except OSError as problem:
            self.not_sent(b"", problem)

    def flush(self) -> None:
        """The kernel accepts bytes again."""
        try:
            self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.abort()
            return
        if self._unsent:
            return
        self.full = False
        self.owner.drained()
        if self.closing:
            self.abort()

    def hang_up(self) -> None:
        """Closes the socket when the waiting bytes are sent. May be called again."""
        if self.closing:
            return
        self.closing = True
        if self.tls is not None:
            self._unsent += self.tls.close_notify()
        self.owner.closing_begins()
        if self._unsent:
            self.full = True
            self.flush()
        else:
            self.abort()

    def abort(self) -> None:
        """Closes the socket now. May be called again."""
        if self.shut:
            return
        self.shut = self.closing = True
        self._poller.discard(self._sock.fileno())
        self._sock.close()
        self._unsent = b""
        # The legs of a call refer to each other until the garbage collector runs, and it does not count OpenSSL's
        # buffers.
        self.tls, self.recv, self.send = None, read_nothing, drop
        self.owner.closing_begins()
        self._poller.soon(self._closed)

    def _closed(self) -> None:
        self.owner.closed()

    def undelivered(self) -> tuple[int, ...]:
        """Bytes that the other side has not acknowledged: those that wait here, and those in the kernel.

        The numbers change whenever the other side reads.
        """
        return () if self.shut else (len(self._unsent), bytes_in_kernel(self._sock))
