"""One flood: what a probe and another caller wait for meanwhile, and whether the load itself was late."""

import asyncio
import contextlib
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple, Self

from bench.load.generator import LAG_LIMIT_US, percentile
from bench.load.wire import DOWN, REQUEST, UP, answer_to, check_answer
from bench.peers import RTPROXY
from bench.process import Cores, Running, running

PROBES = 200
PROBE_LIMIT_S = 3.0
"""The template's timeoutSeconds: a probe that takes longer has failed."""
_AT_ONCE = 20
_BETWEEN_S = 0.01
_HALF_S = 0.05
_TICK_S = 0.005


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
            await loop.sock_sendall(sock, answer_to(await _head(sock)))
            self.taken.put_nowait(sock)


async def dial(port: int) -> socket.socket:
    """A caller whose call is established. Raises ConnectionError when it is not."""
    sock = await connected(port)
    await asyncio.get_running_loop().sock_sendall(sock, REQUEST)
    check_answer(await _head(sock))
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
            await loop.sock_sendall(here, speech.frame_now())
            left = speech.size
            while left:
                data = await loop.sock_recv(there, left)
                if not data:
                    raise ConnectionError("the call of another caller ended")
                left -= len(data)

    def close(self) -> None:
        self._caller.close()
        self._model.close()


class Waits(NamedTuple):
    """Milliseconds. ``past`` is the same echo past the relay; ``lag`` is how late the load's own timers were."""

    healthz_p50: float
    healthz_p99: float
    healthz_max: float
    echo_p50: float
    echo_p99: float
    past_p50: float
    lag_p99: float

    @property
    def added_p50(self) -> float:
        """What the relay adds to an echo."""
        return self.echo_p50 - self.past_p50

    @property
    def void(self) -> bool:
        """The load was late: the figures of this window mean nothing."""
        return self.lag_p99 > LAG_LIMIT_US / 1000


class Place(NamedTuple):
    """A relay, the model behind it, and the Unix socket of the pump."""

    relay: Running
    model: Model
    pump: socket.socket

    async def echo(self, port: int) -> Echo:
        caller = await dial(port)
        return Echo(caller, await self.model.taken.get())

    async def flood(self, kind: str, side: str, connections: int) -> None:
        """Opens the calls first, then lets all of them pour at once."""
        opened: list[tuple[socket.socket, socket.socket]] = []
        while len(opened) < connections:
            some = range(min(_AT_ONCE, connections - len(opened)))
            callers = await asyncio.gather(*(dial(self.relay.port) for _ in some))
            opened += [(caller, await self.model.taken.get()) for caller in callers]
        for caller, model in opened:
            for sock, its in ((model, "model"), (caller, "client")):
                message = f"{kind if its == side else 'none'} {its}"
                socket.send_fds(self.pump, [message.encode().ljust(64)], [sock.fileno()])
                sock.close()


@contextlib.asynccontextmanager
async def place(on: Cores | None, connections: int) -> AsyncIterator[tuple[Place, Echo, Echo]]:
    """A relay, alone on one of the cores where they are given, and the two calls whose frames are timed."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with (
            Model() as model,
            running([RTPROXY], on, Path(folder), model.port, None, connections + 8) as (relays, problems),
            pump() as pouring,
        ):
            if problems:
                raise RuntimeError(problems[0])
            site = Place(relays[0], model, pouring)
            echo, past = await site.echo(relays[0].port), await site.echo(model.port)
            for _ in range(20):
                await echo.once()
            try:
                yield site, echo, past
            finally:
                echo.close()
                past.close()


@contextlib.asynccontextmanager
async def pump() -> AsyncIterator[socket.socket]:
    """A pump; its sockets are closed at the end."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = (sys.executable, "-m", "bench.floods.pump", str(its.fileno()))
    process = await asyncio.create_subprocess_exec(*command, pass_fds=(its.fileno(),))
    its.close()
    try:
        yield ours
    finally:
        ours.close()
        if process.returncode is None:
            process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def half_a_core(relay: Running) -> AsyncIterator[None]:
    """The relay is stopped and runs for 50 ms in turn, as under a CPU limit of half a core."""

    async def hold_back() -> None:
        while True:
            relay.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(_HALF_S)
            relay.process.send_signal(signal.SIGCONT)
            await asyncio.sleep(_HALF_S)

    holding = asyncio.create_task(hold_back())
    try:
        yield
    finally:
        holding.cancel()
        relay.process.send_signal(signal.SIGCONT)


async def window(place: Place, echo: Echo, past: Echo, probes: int = PROBES) -> Waits:
    """Asks /healthz ``probes`` times, as the echoes go there and back."""
    healthz_ms: list[float] = []
    echo_ms: list[float] = []
    past_ms: list[float] = []
    lag_ms: list[float] = []

    async def echoes() -> None:
        while True:
            for each, took_ms in ((echo, echo_ms), (past, past_ms)):
                began = time.monotonic()
                await each.once()
                took_ms.append((time.monotonic() - began) * 1000)
                await asyncio.sleep(_BETWEEN_S)

    async def ticks() -> None:
        while True:
            due = time.monotonic() + _TICK_S
            await asyncio.sleep(_TICK_S)
            lag_ms.append(max(0.0, time.monotonic() - due) * 1000)

    beside = [asyncio.create_task(echoes()), asyncio.create_task(ticks())]
    try:
        for _ in range(probes):
            healthz_ms.append(await _probe_ms(place.relay.port))
            await asyncio.sleep(_BETWEEN_S)
    finally:
        for each in beside:
            each.cancel()
        ended = await asyncio.gather(*beside, return_exceptions=True)
    for problem in ended:
        if isinstance(problem, Exception):
            raise problem
    return Waits(
        statistics.median(healthz_ms),
        percentile(healthz_ms, 99) or 0.0,
        max(healthz_ms),
        statistics.median(echo_ms) if echo_ms else float("inf"),
        percentile(echo_ms, 99) or float("inf"),
        statistics.median(past_ms) if past_ms else 0.0,
        percentile(lag_ms, 99) or 0.0,
    )


async def _probe_ms(port: int) -> float:
    began = time.monotonic()
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):  # a probe that is reset, or takes too long, has failed
        async with asyncio.timeout(PROBE_LIMIT_S):
            sock = await connected(port)
            with sock:
                await loop.sock_sendall(sock, b"GET /healthz HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n")
                if (await loop.sock_recv(sock, 4096)).startswith(b"HTTP/1.1 200"):
                    return (time.monotonic() - began) * 1000
    return PROBE_LIMIT_S * 1000
