"""One connection to the model up to its answer: TCP, TLS, an HTTP request. aiohttp's parser reads the answer.

aiohttp's client would do it too, and keep the socket inside a transport; a leg needs the socket itself.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Mapping
from typing import NamedTuple, Self

import aiohappyeyeballs
from aiohttp import hdrs
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpResponseParser
from multidict import CIMultiDictProxy
from yarl import URL

from rtproxy.handover import Taken
from rtproxy.kernel import prepare
from rtproxy.tls import READ_BYTES, Tls

NEXT_ADDRESS_S = 0.25
"""How long one of a name's addresses has to answer before the next one is tried beside it (RFC 8305 section 5)."""

ANSWER_LIMIT = 64 * 1024
"""Bytes that a model may say, 1xx answers included, before the end of its answer's headers."""


class Answer(NamedTuple):
    """What the other side said to the request; ``early`` is what came behind its headers."""

    status: int
    headers: CIMultiDictProxy[str]
    early: bytes


class Connection:
    """A socket to ``url``'s host, TLS included where the URL says so; to be taken over or closed."""

    def __init__(self, sock: socket.socket, tls: Tls | None) -> None:
        self.sock = sock
        self.tls = tls

    @classmethod
    async def open(cls, url: URL, context: ssl.SSLContext, resume: ssl.SSLSession | None) -> Self:
        """Raises OSError when nobody answers and ssl.SSLError when it is not who it should be."""
        loop = asyncio.get_running_loop()
        assert url.raw_host is not None
        addresses = await loop.getaddrinfo(url.raw_host, url.port, type=socket.SOCK_STREAM)
        sock = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_S, loop=loop)
        try:
            prepare(sock)
            tls = Tls(sock, context, url.raw_host, resume) if url.scheme == "https" else None
            if tls is not None:
                await tls.handshake()
        except BaseException:
            sock.close()
            raise
        return cls(sock, tls)

    async def ask(self, url: URL, headers: Mapping[str, str]) -> Answer:
        """Sends a GET and reads the head of the answer. Raises OSError, or aiohttp's HttpProcessingError."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self.sock, self._out(_request(url, headers)))
        parser = HttpResponseParser(BaseProtocol(loop), loop, READ_BYTES)
        heard = 0
        while heard < ANSWER_LIMIT:
            data = await loop.sock_recv(self.sock, READ_BYTES)
            if not data:
                raise ConnectionResetError("hung up instead of answering")
            heard += len(data)
            messages, _, early = parser.feed_data(self._in(data))
            for message, _ in messages:
                if message.code == 101 or message.code >= 200:  # others only say that the answer is to come
                    return Answer(message.code, message.headers, bytes(early))
            if self.tls is not None and self.tls.ended:
                raise ConnectionResetError("said goodbye instead of answering")
        raise ConnectionError("talks and does not answer")

    def taken(self, early: bytes) -> Taken:
        """The socket for a leg."""
        return Taken(self.sock, self.tls, early)

    def leave(self, last: bytes = b"") -> None:
        """Says ``last`` and goodbye, as far as that goes without waiting, and closes."""
        with contextlib.suppress(OSError):
            self.sock.send(self._out(last) + (self.tls.goodbye() if self.tls else b""))
        self.sock.close()

    def _out(self, data: bytes) -> bytes:
        return self.tls.encrypt(data) if self.tls and data else data

    def _in(self, data: bytes) -> bytes:
        return self.tls.decrypt(data) if self.tls else data


def _request(url: URL, headers: Mapping[str, str]) -> bytes:
    lines = [f"GET {url.raw_path_qs} HTTP/1.1", f"{hdrs.HOST}: {url.host_port_subcomponent}"]
    lines += (f"{name}: {value}" for name, value in headers.items())
    if any("\r" in line or "\n" in line or "\0" in line for line in lines):
        raise ValueError("a header of the dial holds a line break")
    return "\r\n".join((*lines, "", "")).encode("utf-8", "surrogateescape")
