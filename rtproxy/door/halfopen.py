"""A connection up to its 101: one request at a time, each within a limit of time and of bytes, and each answer read.

aiohttp keeps a connection for an hour whatever it says, takes 1 MiB of headers, and reads requests ahead.
"""

import asyncio
import time
from collections.abc import Callable
from socket import IPPROTO_TCP, TCP_NOTSENT_LOWAT
from typing import cast

from aiohttp import web
from aiohttp.http import HttpVersion10, HttpVersion11
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import _ErrInfo

from rtproxy.door.answers import REFUSE, TOO_LARGE, Answering
from rtproxy.door.strangers import STRANGERS, Strangers
from rtproxy.refusal import Refused

HANDSHAKE_S = 15.0
"""Whoever takes longer for a whole request, the first one or a later one, or for reading its answer, is hung up on."""
IDLE_S = 3630.0
"""Between two requests: longer than Envoy keeps a connection (1 h), which would send an upgrade on it just then."""
HEAD_BYTES = 32 * 1024
"""A request line and its headers in all, as much as Application Gateway takes."""
UNREAD_BYTES = 16 * 1024
"""What the kernel holds of answers beyond what the caller's own has room for."""
_VERSIONS = (HttpVersion10, HttpVersion11)
"""aiohttp would answer any other with its own number."""
_END = b"\r\n\r\n"


class Listener(Answering):
    """The end of a connection. ``since``: when a request was begun or awaited first, or an answer was not yet read.

    None while a request is dealt with, and between two.
    """

    __slots__ = ("_answered", "_body", "_descriptor", "_fed", "_head", "_held", "since", "strangers")

    strangers: Strangers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        way = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._held, self._fed = b"", 0
        self._head = self._answered = 0
        self._body: StreamReader = EMPTY_PAYLOAD
        sock = way.get_extra_info("socket")
        self._descriptor = sock.fileno()
        self.since: float | None = time.monotonic()
        # An answer counts as read when the kernel has all of it, and it has little that the caller's has not.
        way.set_write_buffer_limits(high=0)
        sock.setsockopt(IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNREAD_BYTES)
        super().connection_made(transport)
        self.strangers.comes(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.strangers.leaves(self)
        super().connection_lost(exc)

    @property
    def fileno(self) -> int:
        return -1 if self.transport is None else self._descriptor

    @property
    def idle(self) -> bool:
        return self.since is None and not self._owes()

    def hang_up(self) -> None:
        transport = self.transport
        self.force_close()
        if transport is not None:  # a close would wait for who reads nothing
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._upgraded or not data:
            super().data_received(data)
        else:
            self._held = self._held[self._fed :] + data
            self._fed = 0
            self._feed()
        self.strangers.says(self, self._head + len(self._held) - self._fed + len(self._message_tail))

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if self.transport is not None:
            self.since = time.monotonic()
            self.strangers.comes(self)
            if self._payload_parser is None:  # a refused upgrade: behind it come requests, not frames
                self._held, self._message_tail = self._message_tail + self._held[self._fed :], b""
                self._fed = 0
            if request.body_exists:  # nothing here takes one
                resp.force_close()
        told = await super().finish_response(request, resp, start_time)
        if self.transport is not None:
            self._answered += 1
            self._go_on(kept=bool(told[0].keep_alive))
        return told

    def _go_on(self, *, kept: bool) -> None:
        """An answer was read. What is not kept ends with its body, and HANDSHAKE_S from the answer at the latest."""
        if kept:
            self.since = None
        elif self._body.is_eof():
            self._held, self._fed = b"", 0
        self._feed()
        self.strangers.comes(self)
        self.strangers.says(self, self._head + len(self._held) - self._fed)

    def _owes(self) -> bool:
        return self._request_count > self._answered

    def _feed(self) -> None:
        """Gives aiohttp what came up to the end of the next request, and the rest when that is answered."""
        while self._fed < len(self._held) and not self._owes() and not self._upgraded:
            begins, end = self._fed, self._held.find(_END, self._fed)
            self._fed = len(self._held) if end < 0 else end + len(_END)
            self._parse(self._held[begins : self._fed])
        if self._fed == len(self._held):
            self._held, self._fed = b"", 0
            if self._buffer_paused and not self._upgraded:
                self._resume_reading_for_buffer()
        elif self._upgraded:
            rest, self._held, self._fed = self._held[self._fed :], b"", 0
            super().data_received(rest)
        elif not self._buffer_paused:
            self._pause_reading_for_buffer()

    def _parse(self, said: bytes) -> None:
        parsed = self._request_count
        # Of a body, of which there is none in a call, is not asked how long it is.
        size = self._head + len(said) if self._body.is_eof() else 0
        super().data_received(said)
        if self._request_count > parsed:
            self._head, self.since = 0, None
            message, self._body = self._messages[-1]
            if not isinstance(message, _ErrInfo) and (size > HEAD_BYTES or message.version not in _VERSIONS):
                self._messages.pop()
                self._give_up(TOO_LARGE if size > HEAD_BYTES else 400)
        elif size > HEAD_BYTES:
            self._request_count += 1
            self._give_up(TOO_LARGE)
        elif size and (self._head or said.strip(b"\r\n")):  # empty lines begin nothing
            if not self._head and self._answered:
                self.since = time.monotonic()
                self.strangers.comes(self)
            self._head = size

    def _give_up(self, status: int) -> None:
        """Answers a request that aiohttp would take, and takes no further one."""
        problem = BadHttpMessage("too large, or of another version")
        self._messages.append((_ErrInfo(status, problem, problem.message), EMPTY_PAYLOAD))
        self._head, self._body, self._message_tail = 0, EMPTY_PAYLOAD, b""
        self._upgraded, self.since = False, None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _resume_reading_if_drained(self) -> None:
        if not self._held:
            super()._resume_reading_if_drained()


class _Server(web.Server):
    refuse: Callable[[Refused], web.Response]
    strangers: Strangers

    def __call__(self) -> Listener:
        listener = Listener(self, loop=self._loop, keepalive_timeout=IDLE_S, **self._kwargs)
        listener.refuse = self.refuse
        listener.strangers = self.strangers
        return listener


class Runner(web.AppRunner):
    """Serves the relay's app, and hangs up on those who take longer than HANDSHAKE_S."""

    async def setup(self) -> None:
        await super().setup()
        self._showing_out = asyncio.create_task(self._show_out())

    async def cleanup(self) -> None:
        self._showing_out.cancel()
        await super().cleanup()

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = _Server  # an application makes no other than aiohttp's own
        assert isinstance(server, _Server)
        server.refuse, server.strangers = self.app[REFUSE], self.app[STRANGERS]
        return server

    async def _show_out(self) -> None:
        assert self.server is not None
        while True:
            await asyncio.sleep(HANDSHAKE_S / 4)
            late = time.monotonic() - HANDSHAKE_S
            for each in self.server.connections:
                assert isinstance(each, Listener)
                if each.since is not None and each.since <= late:
                    each.hang_up()
