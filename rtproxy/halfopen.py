"""Callers who never come to the end of a request: each would hold a socket and up to 1 MiB of headers for an hour."""

import asyncio
import time
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler

from rtproxy.answers import REFUSE, Answering
from rtproxy.refusal import Refused

HANDSHAKE_S = 15.0
"""Whoever takes longer for a whole request, the first one or a later one, is hung up on."""
ANSWERED: web.AppKey[set[object]] = web.AppKey("answered")
_END = b"\r\n\r\n"


@web.middleware
async def answering(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Remembers which connections wait for an answer: what they say meanwhile may take its time."""
    answered = request.app[ANSWERED]
    answered.add(request.protocol)
    try:
        return await handler(request)
    finally:
        answered.discard(request.protocol)


class Listener(Answering):
    """The end of a connection. ``since`` is when a request was begun, or awaited first; None between two."""

    __slots__ = ("_last", "since")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._last = b""
        self.since: float | None = time.monotonic()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        # A request that is answered here has no body: its headers are its end.
        said = self._last + data
        self._last = said[1 - len(_END) :]
        if said.endswith(_END):
            self.since = None
        elif self.since is None or _END in said:
            self.since = time.monotonic()
        super().data_received(data)


class _Server(web.Server):
    refuse: Callable[[Refused], web.Response]

    def __call__(self) -> Listener:
        listener = Listener(self, loop=self._loop, **self._kwargs)
        listener.refuse = self.refuse
        return listener


class Runner(web.AppRunner):
    """Serves an app that has the middleware `answering`, and hangs up on those who take longer than HANDSHAKE_S."""

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
        server.refuse = self.app[REFUSE]
        return server

    async def _show_out(self) -> None:
        assert self.server is not None
        answered = self.app[ANSWERED]
        while True:
            await asyncio.sleep(HANDSHAKE_S / 4)
            late = time.monotonic() - HANDSHAKE_S
            for each in self.server.connections:
                assert isinstance(each, Listener)
                if each.since is not None and each.since <= late and each not in answered:
                    each.force_close()
