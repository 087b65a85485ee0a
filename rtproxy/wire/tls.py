"""TLS towards the model: a socket under it, which reads and writes as one without does.

uvloop's own TLS takes twice the time for a frame: it is made for any protocol above it. OpenSSL does the work in both.
"""

import asyncio
import contextlib
import socket
import ssl

READ_BYTES = 64 * 1024
_RECORD_BYTES = 16 * 1024
"""OpenSSL is handed no more at once: what its buffers have grown to they keep, as long as the call lasts."""


def client_context() -> ssl.SSLContext:
    """Verifies names and certificates against the system's authorities, or those of SSL_CERT_FILE."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION  # a second handshake would meet frames that are under way
    return context


class Tls:
    """One connection's TLS, as its client, on a socket that does not block. It reads and writes as a socket does.

    ``late`` is what was received and is too much work for one go: `recv` goes on with it before it asks the socket.
    ``ended`` says that the other side will say no more (close_notify); ``unsent`` are records that the kernel has not
    taken: `send` says so, and it is up to the caller to bring them out before it sends again. ``leaving.pending``:
    what was read is to be answered.
    """

    __slots__ = (
        "_arrived",
        "_decrypt",
        "_encrypt",
        "_feed",
        "_object",
        "_receive",
        "_send",
        "_take",
        "ended",
        "late",
        "leaving",
        "sock",
        "unsent",
    )

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, host: str, session: ssl.SSLSession | None = None
    ) -> None:
        self.sock = sock
        self._arrived, self.leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._arrived, self.leaving, server_hostname=host, session=session)
        # Bound once: each is called for every frame.
        self._receive, self._send = sock.recv, sock.send
        self._feed, self._decrypt = self._arrived.write, self._object.read
        self._encrypt, self._take = self._object.write, self.leaving.read
        self.ended = False
        self.unsent = self.late = b""

    async def handshake(self) -> None:
        """Raises ssl.SSLError when the other side is not who it should be, OSError when it hangs up."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                await loop.sock_sendall(self.sock, self._take())
                data = await loop.sock_recv(self.sock, READ_BYTES)
                if not data:
                    raise ConnectionResetError("hung up in its TLS handshake") from None
                self._feed(data)
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self.sock.send(self._take())  # the alert that says why
                raise
            else:
                break
        await loop.sock_sendall(self.sock, self._take())

    @property
    def resumed(self) -> bool:
        """Whether the handshake was a short one."""
        return bool(self._object.session_reused)

    @property
    def session(self) -> ssl.SSLSession | None:
        """What makes the next handshake with the same host shorter (RFC 8446 section 2.2); read it after an answer.

        It is a copy, which costs as much as a short handshake.
        """
        return self._object.session

    def recv(self, size: int) -> bytes:
        """What the other side said; ``size`` bytes or more where there may be more, and nothing at its end.

        Raises BlockingIOError when it has said nothing new, ssl.SSLError for what it could not have said.
        """
        data = self.late or self._receive(size)
        if not data:
            self.ended = True
            return b""
        said = self.decrypt(data)
        while len(data) == size and len(said) < size and not (self.ended or self.late):
            try:
                data = self._receive(size)
            except BlockingIOError:
                break
            except OSError:
                self.ended = True
                break
            said += self.decrypt(data)
        if not said and not self.ended:
            raise BlockingIOError
        return said

    def send(self, data: bytes) -> int:
        """Returns len(data), and 0 where records are left ``unsent``. Raises as a socket's send does otherwise."""
        records = self.encrypt(data)
        try:
            sent = self._send(records)
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent == len(records):
            return len(data)
        self.unsent = records[sent:]
        return 0

    def answer(self) -> bool:
        """Sends what TLS itself has to say, such as new keys for new keys; false where records are left ``unsent``."""
        records = self._take()
        try:
            sent = self._send(records)
        except (BlockingIOError, InterruptedError):
            sent = 0
        self.unsent = records[sent:]
        return not self.unsent

    def decrypt(self, data: bytes) -> bytes:
        """What the records in ``data``, and those begun before, say. Raises ssl.SSLError."""
        self.late = b""
        if len(data) > _RECORD_BYTES:
            return self._decrypt_in_slices(data)
        self._feed(data)
        said = b""
        try:
            while record := self._decrypt(_RECORD_BYTES):
                said += record
                if not self._arrived.pending:  # asking for more than there is costs an exception
                    return said
        except ssl.SSLWantReadError:
            return said
        except ssl.SSLZeroReturnError:
            pass  # as below, when we said goodbye before
        except ssl.SSLError:
            if not said:
                raise
            # What was sound before it arrives; what follows a broken record never could.
        # Nothing, and no exception: a close_notify. OpenSSL leaves what stands behind it where it is.
        self.ended = True
        return said

    def _decrypt_in_slices(self, data: bytes) -> bytes:
        said = b""
        try:
            for at in range(0, len(data), _RECORD_BYTES):
                said += self.decrypt(data[at : at + _RECORD_BYTES])
                if self.ended:
                    break
                if (said or at) and len(said) < (at + _RECORD_BYTES) // 4:
                    # Many records with little in each, or, in the first slice, the beginning of a long one.
                    self.late = data[at + _RECORD_BYTES :]
                    break
        except ssl.SSLError:
            if not said:
                raise
            self.ended = True
        return said

    def encrypt(self, data: bytes) -> bytes:
        """``data`` as records, and before them what TLS itself has to say."""
        if len(data) > _RECORD_BYTES:
            return b"".join(self.encrypt(data[at : at + _RECORD_BYTES]) for at in range(0, len(data), _RECORD_BYTES))
        self._encrypt(data)
        return self._take()

    def goodbye(self) -> bytes:
        """The close_notify; empty when there is nobody to say it to."""
        with contextlib.suppress(ssl.SSLError):
            self._object.unwrap()
        return self._take()
