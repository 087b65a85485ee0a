"""A connection before its 101: one request at a time, with limits for the time and the size of each.

aiohttp keeps an open connection for an hour, accepts 1 MiB of headers, and reads requests ahead.
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
"""The time limit for a whole request, the first one or a later one, and for the client to read its response. After it
the connection is closed."""
IDLE_S = 3630.0
"""The time limit between two requests. It is longer than Envoy keeps a connection (1 h), because Envoy could otherwise
send an upgrade on a connection that is just being closed."""
HEAD_BYTES = 32 * 1024
"""The most bytes of a request line and its headers together; Application Gateway accepts as much."""
UNREAD_BYTES = 16 * 1024
"""The most bytes of responses that the kernel holds beyond the receive buffer of the client."""
_VERSIONS = (HttpVersion10, HttpVersion11)
"""aiohttp would answer a request of any other version with that version."""
_END = b"\r\n\r\n"


class Listener(Answering):
    """The relay's end of a connection. ``since``: the time from which the current request or response has HANDSHAKE_S.

    None while a request is handled, and between two requests.
    """

    __slots__ = ("_answered", "_body", "_descriptor", "_fed_until", "_head", "_received", "since", "strangers")

    strangers: Strangers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it
        self._received, self._fed_until = b"", 0
        self._head = self._answered = 0
        self._body: StreamReader = EMPTY_PAYLOAD
        sock = stream.get_extra_info("socket")
        self._descriptor = sock.fileno()
        self.since: float | None = time.monotonic()
        # A response counts as read when the kernel has all of it, and little of it is beyond the client's receive
        # buffer.
        stream.set_write_buffer_limits(high=0)
        sock.setsockopt(IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNREAD_BYTES)
        super().connection_made(transport)
        self.strangers.now_last(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.strangers.remove(self)
        super().connection_lost(exc)

    @property
    def fileno(self) -> int:
        return -1 if self.transport is None else self._descriptor

    @property
    def idle(self) -> bool:
        return self.since is None and not self._is_answering()

    def hang_up(self) -> None:
        transport = self.transport
        self.force_close()
        if transport is not None:  # a close would wait for a client that reads nothing
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._upgraded or not data:
            super().data_received(data)
        else:
            self._received = self._received[self._fed_until :] + data
            self._fed_until = 0
            self._feed()
        self.strangers.set_unanswered_bytes(
            self, self._head + len(self._received) - self._fed_until + len(self._message_tail)
        )

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if self.transport is not None:
            self.since = time.monotonic()
            self.strangers.now_last(self)
            if self._payload_parser is None:  # a refused upgrade: requests follow, not frames
                self._received, self._message_tail = self._message_tail + self._received[self._fed_until :], b""
                self._fed_until = 0
            if request.body_exists:  # no route accepts a body
                resp.force_close()
        result = await super().finish_response(request, resp, start_time)
        if self.transport is not None:
            self._answered += 1
            self._answer_sent(kept=bool(result[0].keep_alive))
        return result

    def _answer_sent(self, *, kept: bool) -> None:
        """A response was read.

        A connection that is not kept ends with the request's body, at the latest HANDSHAKE_S after the response.
        """
        if kept:
            self.since = None
        elif self._body.is_eof():
            self._received, self._fed_until = b"", 0
        self._feed()
        self.strangers.now_last(self)
        self.strangers.set_unanswered_bytes(self, self._head + len(self._received) - self._fed_until)

    def _is_answering(self) -> bool:
        return self._request_count > self._answered

    def _feed(self) -> None:
        """Gives aiohttp the bytes up to the end of the next request, and the rest when that one is answered."""
        while self._fed_until < len(self._received) and not self._is_answering() and not self._upgraded:
            begins, end = self._fed_until, self._received.find(_END, self._fed_until)
            self._fed_until = len(self._received) if end < 0 else end + len(_END)
            self._parse(self._received[begins : self._fed_until])
        if self._fed_until == len(self._received):
            self._received, self._fed_until = b"", 0
            if self._buffer_paused and not self._upgraded:
                self._resume_reading_for_buffer()
        elif self._upgraded:
            rest, self._received, self._fed_until = self._received[self._fed_until :], b"", 0
            super().data_received(rest)
        elif not self._buffer_paused:
            self._pause_reading_for_buffer()

    def _parse(self, data: bytes) -> None:
        parsed = self._request_count
        # The size of a body is not limited here: calls have none.
        size = self._head + len(data) if self._body.is_eof() else 0
        super().data_received(data)
        if self._request_count > parsed:
            self._head, self.since = 0, None
            message, self._body = self._messages[-1]
            if not isinstance(message, _ErrInfo) and (size > HEAD_BYTES or message.version not in _VERSIONS):
                self._messages.pop()
                self._refuse_request(TOO_LARGE if size > HEAD_BYTES else 400)
        elif size > HEAD_BYTES:
            self._request_count += 1
            self._refuse_request(TOO_LARGE)
        elif size and (self._head or data.strip(b"\r\n")):  # empty lines do not begin a request
            if not self._head and self._answered:
                self.since = time.monotonic()
                self.strangers.now_last(self)
            self._head = size

    def _refuse_request(self, status: int) -> None:
        """Refuses a request that aiohttp would accept, and reads no further one."""
        problem = BadHttpMessage("too large, or of another version")
        self._messages.append((_ErrInfo(status, problem, problem.message), EMPTY_PAYLOAD))
        self._head, self._body, self._message_tail = 0, EMPTY_PAYLOAD, b""
        self._upgraded, self.since = False, None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _resume_reading_if_drained(self) -> None:
        if not self._received:
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
    """Serves the relay's app, and closes connections that exceed HANDSHAKE_S."""

    async def setup(self) -> None:
        await super().setup()
        self._closing_late = asyncio.create_task(self._close_late())

    async def cleanup(self) -> None:
        self._closing_late.cancel()
        await super().cleanup()

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = _Server  # an application creates only aiohttp's own
        assert isinstance(server, _Server)
        server.refuse, server.strangers = self.app[REFUSE], self.app[STRANGERS]
        return server

    async def _close_late(self) -> None:
        assert self.server is not None
        while True:
            await asyncio.sleep(HANDSHAKE_S / 4)
            late = time.monotonic() - HANDSHAKE_S
            for each in self.server.connections:
                assert isinstance(each, Listener)
                if each.since is not None and each.since <= late:
                    each.hang_up()
