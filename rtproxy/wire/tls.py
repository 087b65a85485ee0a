"""TLS towards the model: wraps a socket, and is read and written like one.

uvloop's own TLS takes twice the time for a frame, because it supports any protocol above it. OpenSSL does the
cryptography in both.
"""

import asyncio
import contextlib
import socket
import ssl
from typing import Final

READ_BYTES: Final = 64 * 1024
_RECORD_BYTES: Final = 16 * 1024
"""OpenSSL receives at most this much at once: its buffers never shrink while the connection lasts."""


def client_context() -> ssl.SSLContext:
    """A context that verifies names and certificates against the system's authorities, or against SSL_CERT_FILE."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION  # a second handshake would arrive among frames
    return context


class Tls:
    """The TLS client of one connection, on a non-blocking socket. It is read and written as a socket is.

    ``backlog``: received bytes that were too many for one call; `recv` continues with them before it reads the socket.
    ``ended``: the other side sends nothing more (close_notify). ``unsent``: records that the kernel has not accepted;
    `send` reports them by returning 0, and the caller must send them before it calls `send` again.
    ``outgoing.pending``: TLS has records of its own to send.
    """

    __slots__ = (
        "_decrypt",
        "_encrypt",
        "_feed",
        "_incoming",
        "_object",
        "_receive",
        "_send",
        "_take",
        "backlog",
        "ended",
        "outgoing",
        "sock",
        "unsent",
    )

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, host: str, session: ssl.SSLSession | None = None
    ) -> None:
        self.sock = sock
        self._incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self.outgoing, server_hostname=host, session=session)
        # Bound once, because each of them is called for every frame.
        self._receive, self._send = sock.recv, sock.send
        self._feed, self._decrypt = self._incoming.write, self._object.read
        self._encrypt, self._take = self._object.write, self.outgoing.read
        self.ended = False
        self.unsent = self.backlog = b""

    async def handshake(self) -> None:
        """Does the TLS handshake.

        Raises ssl.SSLError when the other side's certificate is not valid for the host, OSError when it closes the
        connection.
        """
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                await loop.sock_sendall(self.sock, self._take())
                data = await loop.sock_recv(self.sock, READ_BYTES)
                if not data:
                    raise ConnectionResetError("closed during the TLS handshake") from None
                self._feed(data)
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self.sock.send(self._take())  # the alert with the reason
                raise
            else:
                break
        await loop.sock_sendall(self.sock, self._take())

    @property
    def resumed(self) -> bool:
        """Whether the handshake resumed a session, and was short."""
        return bool(self._object.session_reused)

    @property
    def session(self) -> ssl.SSLSession | None:
        """The session, which makes the next handshake with the same host shorter (RFC 8446 section 2.2).

        Read it after the first answer. It is a copy, which costs as much as a short handshake.
        """
        return self._object.session

    def recv(self, size: int) -> bytes:
        """Returns decrypted bytes: ``size`` or more where there may be more, and none at the end of the stream.

        Raises BlockingIOError when nothing new has arrived, ssl.SSLError when a record is not valid.
        """
        data = self.backlog or self._receive(size)
        if not data:
            self.ended = True
            return b""
        plaintext = self.decrypt(data)
        while len(data) == size and len(plaintext) < size and not (self.ended or self.backlog):
            try:
                data = self._receive(size)
            except BlockingIOError:
                break
            except OSError:
                self.ended = True
                break
            plaintext += self.decrypt(data)
        if not plaintext and not self.ended:
            raise BlockingIOError
        return plaintext

    def send(self, data: bytes) -> int:
        """Encrypts and sends ``data``.

        Returns len(data), or 0 where records are left ``unsent``. Else raises as a socket's send.
        """
        records = self.encrypt(data)
        try:
            sent = self._send(records)
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent == len(records):
            return len(data)
        self.unsent = records[sent:]
        return 0

    def send_own_records(self) -> bool:
        """Sends records of TLS itself, such as key updates. Returns false where records are left ``unsent``."""
        records = self._take()
        try:
            sent = self._send(records)
        except (BlockingIOError, InterruptedError):
            sent = 0
        self.unsent = records[sent:]
        return not self.unsent

    def decrypt(self, data: bytes) -> bytes:
        """Returns the plaintext of the records that ``data`` completes. Raises ssl.SSLError."""
        self.backlog = b""
        if len(data) > _RECORD_BYTES:
            return self._decrypt_in_slices(data)
        self._feed(data)
        plaintext = b""
        try:
            while record := self._decrypt(_RECORD_BYTES):
                plaintext += record
                if not self._incoming.pending:  # to read when nothing is left raises an exception, which is slow
                    return plaintext
        except ssl.SSLWantReadError:
            return plaintext
        except ssl.SSLZeroReturnError:
            pass  # as below; the relay sent its close_notify first
        except ssl.SSLError:
            if not plaintext:
                raise
            # Valid records before the broken one are passed on; those behind it cannot be decrypted.
        # An empty read without an exception is a close_notify. OpenSSL leaves the bytes behind it unread.
        self.ended = True
        return plaintext

    def _decrypt_in_slices(self, data: bytes) -> bytes:
        plaintext = b""
        try:
            for at in range(0, len(data), _RECORD_BYTES):
                plaintext += self.decrypt(data[at : at + _RECORD_BYTES])
                if self.ended:
                    break
                if (plaintext or at) and len(plaintext) < (at + _RECORD_BYTES) // 4:
                    # Many records with little plaintext in each, or, in the first slice, the beginning of a long
                    # record.
                    self.backlog = data[at + _RECORD_BYTES :]
                    break
        except ssl.SSLError:
            if not plaintext:
                raise
            self.ended = True
        return plaintext

    def encrypt(self, data: bytes) -> bytes:
        """Returns ``data`` as records, behind any records of TLS itself."""
        if len(data) > _RECORD_BYTES:
            return b"".join(self.encrypt(data[at : at + _RECORD_BYTES]) for at in range(0, len(data), _RECORD_BYTES))
        self._encrypt(data)
        return self._take()

    def close_notify(self) -> bytes:
        """Returns the close_notify record; empty when it cannot be made."""
        with contextlib.suppress(ssl.SSLError):
            self._object.unwrap()
        return self._take()
