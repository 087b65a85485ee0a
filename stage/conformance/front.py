"""The suite as a model: the relay dials one path only, and the suite reads from the path which case is to be run."""

import asyncio
from contextlib import closing, suppress
from typing import Any, Self

_CHUNK = 64 * 1024


class Front:
    """Stands before the suite and says ``path`` to it, in the place of the one that was asked for.

    All else passes byte for byte, and so do the ends of both directions.
    """

    def __init__(self, suite_port: int) -> None:
        self._suite_port = suite_port
        # A stream knows its task only until the socket is lost, and the loop never does.
        self._passing: set[asyncio.Task[Any] | None] = set()
        self.path = "/"
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._came, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()

    async def _came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._passing.add(task := asyncio.current_task())
        with closing(writer), suppress(asyncio.IncompleteReadError, OSError):
            await reader.readuntil(b"\r\n")
            onward, out = await asyncio.open_connection("127.0.0.1", self._suite_port)
            with closing(out):
                out.write(f"GET {self.path} HTTP/1.1\r\n".encode())
                await asyncio.gather(_pass(reader, out), _pass(onward, writer))
        self._passing.discard(task)


async def _pass(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Until ``source`` ends: a FIN goes on as one, and where there was none, both directions end."""
    try:
        while data := await source.read(_CHUNK):
            sink.write(data)
            await sink.drain()
        if not sink.is_closing():
            sink.write_eof()
    except OSError:
        sink.transport.abort()
