"""One connection to the model up to its answer: TCP, a proxy, TLS, an HTTP request. aiohttp's parser reads the answer.

aiohttp's client could do the same, but it keeps the socket inside a transport, and a leg needs the socket itself.
"""

import asyncio
import contextlib
import os
import re
import socket
import ssl
from collections.abc import Mapping
from typing import NamedTuple, Self

import aiohappyeyeballs
from aiohttp import hdrs
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpResponseParser
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from multidict import CIMultiDictProxy
from yarl import URL

from rtproxy.proxies import Proxy
from rtproxy.wire.socket import prepare
from rtproxy.wire.takeover import DetachedSocket
from rtproxy.wire.tls import READ_BYTES, Tls

NEXT_ADDRESS_S = 0.25
"""How long one address of a name may take to answer before the next one is tried beside it (RFC 8305 section 5)."""

ANSWER_LIMIT = 64 * 1024
"""The most bytes that a model may send before the end of its answer's headers, 1xx answers included."""


REASON_BYTES = 16 * 1024
"""The most bytes that are read of a refusal's body; the reason is shorter."""
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")


class Answer(NamedTuple):
    """The answer to the request. ``early``: bytes that came behind the headers of a 101."""

    status: int
    headers: CIMultiDictProxy[str]
    early: bytes
    parser: HttpResponseParser
    body: StreamReader


class ProxyFailed(OSError):
    """The proxy opened no tunnel. It answered with ``status``, or did not answer with HTTP (None)."""

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status


class Connection:
    """A socket to the host of ``url``, with TLS where the URL asks for it. It must be detached or closed."""

    def __init__(self, sock: socket.socket, tls: Tls | None) -> None:
        self.sock = sock
        self.tls = tls

    @classmethod
    async def open(
        cls, url: URL, context: ssl.SSLContext, resume: ssl.SSLSession | None, proxy: Proxy | None = None
    ) -> Self:
        """Connects to the host of ``url``.

        Raises OSError when nobody answers, ssl.SSLError when the certificate is not valid for the host, and
        ProxyFailed.
        """
        assert url.raw_host is not None
        if proxy is None:
            sock = await _connect(url.raw_host, url.port)
        else:
            try:
                sock = await _connect(proxy.host, proxy.port)
            except OSError as problem:
                raise ProxyFailed(f"could not be reached ({type(problem).__name__})") from problem
        try:
            prepare(sock)
            if proxy is not None:
                await _tunnel(sock, url, proxy)
            tls = Tls(sock, context, url.raw_host, resume) if url.scheme == "https" else None
            if tls is not None:
                await tls.handshake()
        except BaseException:
            sock.close()
            raise
        return cls(sock, tls)

    async def request(self, url: URL, headers: Mapping[str, str]) -> Answer:
        """Sends a GET and reads the head of the answer. Raises OSError, or aiohttp's HttpProcessingError."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self.sock, self._encrypted(_request(url, headers)))
        parser = HttpResponseParser(BaseProtocol(loop), loop, READ_BYTES, read_until_eof=True, auto_decompress=False)
        received = 0
        while received < ANSWER_LIMIT:
            data = await loop.sock_recv(self.sock, READ_BYTES)
            if not data:
                raise ConnectionResetError("closed before an answer")
            received += len(data)
            messages, _, early = parser.feed_data(self._decrypted(data))
            for message, body in messages:
                if message.code == 101 or message.code >= 200:  # the others precede the final answer
                    return Answer(message.code, message.headers, bytes(early), parser, body)
            if self.tls is not None and self.tls.ended:
                raise ConnectionResetError("closed before an answer")
        raise ConnectionError("the answer has no end")

    async def refusal_body(self, answer: Answer, within_s: float) -> bytes:
        """The body of a refusal: at most REASON_BYTES, and only what arrives in ``within_s``. Raises nothing."""
        loop = asyncio.get_running_loop()
        body = b""
        with contextlib.suppress(OSError, HttpProcessingError):  # TimeoutError is an OSError, ssl.SSLError too
            body = answer.body.read_nowait()
            async with asyncio.timeout(within_s):
                while len(body) < REASON_BYTES and not answer.body.is_eof():
                    if not (data := await loop.sock_recv(self.sock, REASON_BYTES)):
                        break
                    answer.parser.feed_data(self._decrypted(data))
                    body += answer.body.read_nowait()
                    if self.tls is not None and self.tls.ended:
                        break
        return body[:REASON_BYTES]

    def detach(self, early: bytes) -> DetachedSocket:
        """The socket, for a leg."""
        return DetachedSocket(self.sock, self.tls, early)

    def close(self, last: bytes = b"") -> None:
        """Sends ``last`` and a close_notify, as far as that works without waiting, and closes the socket."""
        with contextlib.suppress(OSError):
            self.sock.send(self._encrypted(last) + (self.tls.close_notify() if self.tls else b""))
        self.sock.close()

    def _encrypted(self, data: bytes) -> bytes:
        return self.tls.encrypt(data) if self.tls and data else data

    def _decrypted(self, data: bytes) -> bytes:
        return self.tls.decrypt(data) if self.tls else data


async def _connect(host: str, port: int | None) -> socket.socket:
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_S, loop=loop)


async def _tunnel(sock: socket.socket, url: URL, proxy: Proxy) -> None:
    """Asks ``proxy`` to connect ``sock`` to the host of ``url`` (RFC 9110 section 9.3.6). Raises ProxyFailed."""
    loop = asyncio.get_running_loop()
    host = f"[{url.raw_host}]" if ":" in (url.raw_host or "") else url.raw_host
    lines = [f"CONNECT {host}:{url.port} HTTP/1.1", f"Host: {host}:{url.port}"]
    lines += (f"{name}: {value}" for name, value in proxy.headers.items())
    head = b""
    try:
        await loop.sock_sendall(sock, "\r\n".join((*lines, "", "")).encode())
        while b"\r\n\r\n" not in head and len(head) < ANSWER_LIMIT:
            if not (data := await loop.sock_recv(sock, READ_BYTES)):
                break
            head += data
    except OSError as problem:
        raise ProxyFailed(f"closed the connection ({type(problem).__name__})") from problem
    status = _STATUS.match(head)
    if status is None or b"\r\n\r\n" not in head:
        raise ProxyFailed("did not answer with HTTP")
    if not status[1].startswith(b"2"):
        raise ProxyFailed(f"refused the tunnel, HTTP {status[1].decode()}", int(status[1]))
    if not head.endswith(b"\r\n\r\n"):  # in a new tunnel the client sends first
        raise ProxyFailed("sent bytes behind its answer")


def _request(url: URL, headers: Mapping[str, str]) -> bytes:
    lines = [f"GET {url.raw_path_qs} HTTP/1.1", f"{hdrs.HOST}: {url.host_port_subcomponent}"]
    lines += (f"{name}: {value}" for name, value in headers.items())
    if any("\r" in line or "\n" in line or "\0" in line for line in lines):
        raise ValueError("a header of the dial holds a line break")
    return "\r\n".join((*lines, "", "")).encode("utf-8", "surrogateescape")


def no_descriptor_is_left() -> bool:
    """Whether this process, or the machine, can open no further file now; a failed name lookup does not report it."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return True
    return False
