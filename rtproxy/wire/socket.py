"""One socket, in plaintext or under TLS, as it is written to: what the kernel does not take waits here."""

import socket
import struct
import termios
from collections.abc import Callable
from fcntl import ioctl
from typing import Protocol

from rtproxy.wire.poller import Owner as Polled
from rtproxy.wire.poller import Watcher
from rtproxy.wire.tls import Tls

UNSENT_LIMIT = 128 * 1024


def prepare(sock: socket.socket) -> None:
    """Sends each frame at once, and lets the kernel hold UNSENT_LIMIT bytes: a Close is not stuck behind megabytes."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_LIMIT)


def unsent(sock: socket.socket) -> int:
    """Bytes that the other side's kernel has not taken yet. The socket must not be closed."""
    (count,) = struct.unpack("i", ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
    return int(count)


def drop(data: bytes) -> int:
    """The writer towards a socket that takes nothing more."""
    return len(data)


def nothing(size: int) -> bytes:
    """The reader of a socket that is closed."""
    return b""


class Owner(Protocol):
    """Who is told about a socket and the flow that reads it, in calls of theirs, but for `closed`."""

    def filled(self) -> None:
        """Bytes for the socket wait. It may come again before `drained`."""

    def drained(self) -> None:
        """They are out."""

    def leaves(self) -> None:
        """It closes as soon as what was written is out: it is not read any more. It may come again."""

    def closed(self) -> None:
        """It is closed; once, in one of the loop's next rounds."""

    def halted(self) -> None:
        """The flow's reader has a ``halt``: why nothing further goes on. It may come again."""

    def ended(self) -> None:
        """Nothing more arrives. It may come again."""

    def failed(self, defect: Exception) -> None:
        """Something in the flow raised ``defect``."""


class Socket:
    """A socket that does not block. ``recv`` and ``send`` are as a socket's (`Tls`); bound once, for every frame.

    ``full``: bytes wait here; ``closing``: it closes as soon as they are out; ``shut``: it is closed. ``owner`` is set
    before the first call.
    """

    __slots__ = ("_poller", "_sock", "_unsent", "closing", "full", "owner", "recv", "send", "shut", "tls")
    owner: Owner

    def __init__(self, poller: Watcher, sock: socket.socket, tls: Tls | None) -> None:
        self._poller = poller
        self._sock, self.tls = sock, tls
        self.recv: Callable[[int], bytes] = sock.recv if tls is None else tls.recv
        self.send: Callable[[bytes], int] = sock.send if tls is None else tls.send
        self._unsent = b""
        self.full = self.closing = self.shut = False

    def watch(self, owner: Polled) -> None:
        """From now on the poller reports news of the socket."""
        self._poller.add(self._sock.fileno(), owner)

    def again(self) -> None:
        """What the poller reported and nobody dealt with, it is to report again."""
        self._poller.again(self._sock.fileno())

    def write(self, data: bytes) -> None:
        """Sends ``data``, or keeps it until the kernel takes it."""
        try:
            if (sent := self.keep(data) if self.full else self.send(data)) != len(data):
                self.left(data, sent)
        except OSError as problem:
            self.refused(data, problem)

    def refused(self, data: bytes, problem: OSError) -> None:
        """The kernel did not take ``data``, for now or for good."""
        if isinstance(problem, (BlockingIOError, InterruptedError)):
            self.left(data, 0)
        else:
            # What its side said before that has arrived, and is read first.
            self._poller.soon(self.abort)

    def left(self, data: bytes, sent: int) -> None:
        """The kernel took only the first ``sent`` bytes."""
        self._unsent = data[sent:] if self.tls is None else self.tls.unsent
        self.full = True
        self.owner.filled()

    def keep(self, data: bytes) -> int:
        """Takes ``data`` behind what the kernel has not taken yet."""
        self._unsent += data if self.tls is None else self.tls.encrypt(data)
        return len(data)

    def answer_tls(self, tls: Tls) -> None:
        """Sends what TLS itself has to say, else it would wait for the next frame, and pile up."""
        try:
            if not tls.answer():
                self.left(b"", 0)
        except OSError as problem:
            self.refused(b"", problem)

    def flush(self) -> None:
        """The kernel takes bytes again."""
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
        """Closes the socket once what was written is out. May be called again."""
        if self.closing:
            return
        self.closing = True
        if self.tls is not None:
            self._unsent += self.tls.goodbye()
        self.owner.leaves()
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
        # The legs of a call hold each other until the collector comes, which knows nothing of OpenSSL's buffers.
        self.tls, self.recv, self.send = None, nothing, drop
        self.owner.leaves()
        self._poller.soon(self._closed)

    def _closed(self) -> None:
        self.owner.closed()

    def untaken(self) -> tuple[int, ...]:
        """Bytes that its side has not taken yet, here and in the kernel: they change whenever it reads."""
        return () if self.shut else (len(self._unsent), unsent(self._sock))
