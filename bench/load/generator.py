"""The load as a whole: the model's listener and certificate, callers, their pace, and one window of measuring."""

import asyncio
import gc
import ssl
import time
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import NamedTuple

import trustme

from bench.load.end import Caller, End, Model, Received
from bench.process import Running
from bench.result import Figures

SLOT_S = 0.001
"""The event loop's timers are no finer."""
AT_ONCE = 20
"""Handshakes under way while calls are set up."""
OPEN_S = 60.0
LAG_LIMIT_US = 5000.0
"""A window in which one moment in a hundred came later, a quarter of the time between two frames, does not count."""
BUSY_LIMIT = 0.85
"""Nor one in which the load used more of its core: then it is the load that is measured."""
_WARM_S = 0.3


class Pace:
    """Lets each of ``ends`` send ``per_s`` times a second; ``lags_us`` is how late each millisecond was."""

    def __init__(self, ends: Sequence[End], per_s: float) -> None:
        slots = round(1 / (per_s * SLOT_S))
        self._slots = [ends[i::slots] for i in range(slots)]
        self.lags_us: list[float] = []

    async def run(self) -> None:
        """For ever; to be cancelled."""
        due = time.monotonic()
        while True:
            for slot in self._slots:
                due += SLOT_S
                wait = due - time.monotonic()
                # Late, it gives way all the same: else a machine that is too slow would never get to the window's end.
                await asyncio.sleep(max(wait, 0))
                self.lags_us.append((time.monotonic() - due) * 1e6)
                for end in slot:
                    end.send()


def authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Writes the authority's certificate into ``folder``; returns that file and what the model listens with."""
    signer, file = trustme.CA(), folder / "ca.pem"
    signer.cert_pem.write_to_path(str(file))
    identity = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    signer.issue_cert("localhost", "127.0.0.1").configure_cert(identity)
    return file, identity


class Calls(NamedTuple):
    """Established calls, both their ends in this process."""

    callers: list[End]
    models: list[End]

    @property
    def ends(self) -> list[End]:
        """A caller and a model by turns."""
        return [end for call in zip(self.callers, self.models, strict=True) for end in call]

    async def hang_up(self) -> None:
        for end in (*self.callers, *self.models):
            end.transport.abort()
        await asyncio.gather(*(end.closed for end in (*self.callers, *self.models)))


class Load:
    """Calls through any peer to the one model of this process. One window is open at a time."""

    def __init__(self) -> None:
        self._received = [Received()]
        self._models: list[End] = []
        self._arrived = asyncio.Event()

    async def listen(self, tls: ssl.SSLContext | None) -> None:
        """Listens as the model on `port`, under ``tls`` where there is one, and in plaintext on `direct_port`."""
        self._servers = [await self._listener(context) for context in (tls, None)]
        self.port, self.direct_port = (server.sockets[0].getsockname()[1] for server in self._servers)

    async def _listener(self, tls: ssl.SSLContext | None) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(
            lambda: Model(self._received, self._opened), "127.0.0.1", 0, ssl=tls, backlog=4096
        )

    def stop(self) -> None:
        for server in self._servers:
            server.close()

    async def call(self, port: int, count: int) -> Calls:
        """Opens ``count`` calls through ``port``. Raises OSError (a timeout, too) when they are not all established."""
        self._models.clear()
        callers: list[End] = []
        try:
            async with asyncio.timeout(OPEN_S):
                while len(callers) < count:
                    some = range(min(AT_ONCE, count - len(callers)))
                    callers += await asyncio.gather(*(self.dial(port) for _ in some))
                while len(self._models) < count:
                    self._arrived.clear()
                    await self._arrived.wait()
        except OSError:
            await Calls(callers, self._models[:]).hang_up()
            raise
        return Calls(callers, self._models[:])

    async def dial(self, port: int) -> End:
        """One caller whose call is established, as far as it can tell. Raises ConnectionError otherwise."""
        opened: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()
        _, end = await loop.create_connection(lambda: Caller(self._received, opened.set_result), "127.0.0.1", port)
        await asyncio.wait((opened, end.closed), return_when=asyncio.FIRST_COMPLETED)
        if not opened.done():
            raise ConnectionError("hung up instead of a 101")
        return end

    def _opened(self, model: End) -> None:
        self._models.append(model)
        self._arrived.set()

    async def window(self, ends: Sequence[End], per_s: float, over: Awaitable[object], peer: Running | None) -> Figures:
        """``ends`` send until it is ``over``: what that cost ``peer``, how long frames took. No other end may send."""
        pace = Pace(ends, per_s)
        sending = asyncio.create_task(pace.run())
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            await asyncio.sleep(_WARM_S)
            received = self._received[0] = Received()
            pace.lags_us.clear()
            own_s, began, cost_ns = time.process_time(), time.monotonic(), peer.cpu_ns() if peer else 0
            await over
            cost_ns = (peer.cpu_ns() if peer else 0) - cost_ns
            busy = (time.process_time() - own_s) / (time.monotonic() - began)
            self._received[0] = Received()
        finally:
            sending.cancel()
            gc.enable()
            gc.unfreeze()
        lag_us = percentile(pace.lags_us, 99)
        ages_us = [age / 1000 for age in received.ages_ns]
        return Figures(
            cpu_us_per_frame=cost_ns / 1000 / received.frames if peer and received.frames else None,
            p50_us=percentile(ages_us, 50),
            p99_us=percentile(ages_us, 99),
            frames=received.frames,
            lag_p99_us=lag_us,
            void=_why_void(lag_us, busy, received.frames),
        )


def percentile(values: Sequence[float], percent: int) -> float | None:
    """The nearest-rank percentile, None of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else None


def _why_void(lag_us: float | None, busy: float, frames: int) -> str | None:
    if not frames:
        return "no frame arrived"
    if lag_us is None or lag_us > LAG_LIMIT_US:
        return f"the load lagged {(lag_us or 0) / 1000:.1f} ms"
    if busy > BUSY_LIMIT:
        return f"the load used {busy:.0%} of its core".replace("%", " %")
    return None
