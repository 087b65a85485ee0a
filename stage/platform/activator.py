"""The endpoint of a revision that sleeps: it wakes the revision and hands each connection to a replica."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress

_CHUNK = 1 << 16


class Activator:
    """Listens from ``start`` to ``close``, again and again. ``wake`` asks for a replica and returns a ready one's port.

    A connection stays with its replica for its life, closed or not, to ``stop`` at the latest; one that no replica is
    found for is ended. With ``tls`` callers speak TLS, which ends here.
    """

    def __init__(self, wake: Callable[[], Awaitable[int]], tls: ssl.SSLContext | None = None) -> None:
        self._wake, self._tls = wake, tls
        self._server: asyncio.Server | None = None
        self._waiting: set[asyncio.Task[int]] = set()
        # A stream knows its task only until its socket is lost, and the loop never does.
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0
        """0 while it does not listen."""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._came, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Takes no connection any more and ends those that still wait for a replica."""
        if self._server is not None:
            self._server.close()
        self.port = 0
        for each in self._waiting:
            each.cancel()

    async def stop(self) -> None:
        """Closes, and ends those too that talk with a replica."""
        self.close()
        connections = list(self._connections)
        for each in connections:
            each.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    def _came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.ensure_future(self._carry(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waking = asyncio.ensure_future(self._wake())
        self._waiting.add(waking)
        waking.add_done_callback(self._waiting.discard)
        onward = None
        try:
            # Cancelled is the waking, by ``close``; a timeout of it is an OSError.
            with suppress(OSError, asyncio.CancelledError):
                replica, onward = await asyncio.open_connection("127.0.0.1", await waking)
                await asyncio.gather(_pump(reader, onward), _pump(replica, writer))
        finally:
            writer.close()
            if onward is not None:
                onward.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while chunk := await source.read(_CHUNK):
        sink.write(chunk)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()
    else:  # TLS has no half of an end
        sink.close()
