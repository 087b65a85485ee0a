"""Sockets of calls through a relay, both their ends here, and one that goes past it."""

import asyncio
import socket
from typing import Self

from bench.load import handshake
from bench.load.wire import DOWN, UP


class Model:
    """Takes every call; its sockets come out of ``taken`` in that order."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]
        self.taken: asyncio.Queue[socket.socket] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        self._accepting = asyncio.create_task(self._accept())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._accepting.cancel()
        self._listening.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(self._listening)
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_sendall(sock, handshake.answer(await _head(sock)))
            self.taken.put_nowait(sock)


async def dial(port: int) -> socket.socket:
    """A caller whose call stands. Raises ConnectionError when it does not."""
    sock = await connected(port)
    await asyncio.get_running_loop().sock_sendall(sock, handshake.REQUEST)
    handshake.check(await _head(sock))
    return sock


async def connected(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return sock


async def _head(sock: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = await asyncio.get_running_loop().sock_recv(sock, 4096)
        if not data:
            raise ConnectionError("hung up instead of a 101")
        head += data
    return head


class Echo:
    """A call of which each frame of the caller is answered by one of the model, one at a time."""

    def __init__(self, caller: socket.socket, model: socket.socket) -> None:
        self._caller, self._model = caller, model

    async def once(self) -> None:
        loop = asyncio.get_running_loop()
        for here, there, speech in ((self._caller, self._model, UP), (self._model, self._caller, DOWN)):
            await loop.sock_sendall(here, speech.said_now())
            left = speech.size
            while left:
                data = await loop.sock_recv(there, left)
                if not data:
                    raise ConnectionError("the call of another caller ended")
                left -= len(data)

    def close(self) -> None:
        self._caller.close()
        self._model.close()
