"""A server whose backlog is short and who does not always come to the door: `RawServer` with `leave` and `come`."""

import asyncio
import socket
from typing import Self

from stage.rawpeer import RawServer

BACKLOG = 1
"""Connections that the kernel makes meanwhile, one more than that; of others it drops the SYN, which comes again
after 1 s, 3 s, 7 s (tcp(7), tcp_syn_retries)."""


class LateServer(RawServer):
    """Accepts from the start on; after `leave` nobody, until `come`. No TLS."""

    async def __aenter__(self) -> Self:
        self._sock = socket.create_server(self._address, backlog=BACKLOG)
        self._sock.setblocking(False)
        self.port = self._sock.getsockname()[1]
        self._made: list[asyncio.Transport] = []
        self.come()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.leave()
        self._sock.close()
        for transport in self._made:
            transport.abort()
        await asyncio.sleep(0)

    def come(self) -> None:
        """Accepts whoever waits, and who comes."""
        self._accepting = asyncio.create_task(self._accept())

    def leave(self) -> None:
        """Accepts nobody."""
        self._accepting.cancel()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            accepted, _ = await loop.sock_accept(self._sock)
            reader = asyncio.StreamReader()
            transport, _ = await loop.connect_accepted_socket(
                lambda reader=reader: asyncio.StreamReaderProtocol(reader, self._came),  # type: ignore[misc]
                accepted,
            )
            self._made.append(transport)

    def _is_closing(self) -> bool:
        return False
