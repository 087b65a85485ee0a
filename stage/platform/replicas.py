"""The replicas of one revision: how many there should be, from what the ingress counted, and their addresses.

A revision that was scaled to zero has an activator for its address: the next request starts a replica. `Scaler` does no
I/O: it gets the time and the counts.
"""

import asyncio
import math
import secrets
import ssl
import string
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

from stage.ingress import Counts
from stage.platform.host import Host
from stage.platform.replica import Replica
from stage.platform.template import Scale
from stage.platform.unverified import Timing, Unverified

_FIRST_STEP = 4
"""Scale-up goes 1, 4, 8, 16, 32, ..."""
_CHUNK = 1 << 16
Start = Callable[[str, Callable[[], None]], Replica]
"""Starts one of that name, which calls back when something changed."""
_ALPHANUMERIC = string.ascii_lowercase + string.digits


class Scaler:
    """Decides for one revision, from ``now`` on, when it has ``count`` replicas."""

    def __init__(self, scale: Scale, timing: Timing, unverified: Unverified, now: float, count: int) -> None:
        self._scale = scale
        self._timing = timing
        self._unverified = unverified
        self._seen: deque[tuple[float, int]] = deque()
        self._wanted: deque[tuple[float, int]] = deque([(now, count)])
        self._rule_due = now + timing.http_window_s
        self._poll_due = now + scale.polling_s
        self.last_activity = now
        self._sockets_were_open = False

    def observe(self, now: float, counts: Counts) -> None:
        """Takes note of what the ingress has counted by now."""
        started = counts.started - (self._seen[-1][1] if self._seen else counts.started)
        open_sockets = counts.active > 0 and self._unverified.open_sockets_are_activity
        # A socket that was open at the last look ended at some time since: the cooldown never begins too early.
        if started > 0 or open_sockets or self._sockets_were_open:
            self.last_activity = now
        self._sockets_were_open = open_sockets
        self._seen.append((now, counts.started))
        # One sample from before the window stays: the count at its beginning.
        while len(self._seen) > 1 and self._seen[1][0] <= now - self._timing.http_window_s:
            self._seen.popleft()

    def decide(self, now: float, count: int) -> tuple[int, str] | None:
        """The new count and the reason, if the count should change; only the activator wakes a revision at zero."""
        if count == 0:
            self._wanted.clear()
            return None
        if now >= self._poll_due:
            self._poll_due = now + self._scale.polling_s
            if self._sleeps(now, count):
                return 0, f"no activity for {self._scale.cooldown_s:g} s"
        if now >= self._rule_due and self._scale.concurrent_requests is not None:
            self._rule_due = now + self._timing.http_window_s
            return self._by_requests(now, count, self._scale.concurrent_requests)
        return None

    def _sleeps(self, now: float, count: int) -> bool:
        if self._scale.minimum or (count > 1 and not self._unverified.zero_from_any_count):
            return False
        return now - self.last_activity >= self._scale.cooldown_s

    def _by_requests(self, now: float, count: int, target: int) -> tuple[int, str] | None:
        window_s = self._timing.http_window_s
        requests = self._seen[-1][1] - self._seen[0][1]
        # To zero is the cooldown's step alone.
        wanted = max(1, self._scale.clamp(math.ceil(requests / window_s / target)))
        while self._wanted and self._wanted[0][0] < now - self._timing.stabilisation_s:
            self._wanted.popleft()
        self._wanted.append((now, wanted))
        if wanted > count:
            return min(wanted, max(_FIRST_STEP, 2 * count)), f"{requests} requests in {window_s:g} s"
        # All of the surplus at once, as soon as none of it was wanted for so long.
        if (needed := max(each for _, each in self._wanted)) < count:
            return needed, f"no more than {needed} needed for {self._timing.stabilisation_s:g} s"
        return None


class Activator:
    """Listens from ``start`` to ``close``, again and again. ``wake`` asks for a replica and returns a ready one's port.

    A connection stays with its replica for its life, closed or not, to ``stop`` at the latest; one that no replica is
    found for is ended. With ``tls`` callers speak TLS, which ends here.
    """

    def __init__(self, wake: Callable[[], Awaitable[int]], tls: ssl.SSLContext | None = None) -> None:
        self._wake, self._tls = wake, tls
        self._server: asyncio.Server | None = None
        self._waiting: set[asyncio.Task[int]] = set()
        # A stream keeps its task only until its socket is lost, and the loop keeps only weak references.
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0
        """0 while it does not listen."""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._came, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Accepts no connection any more and ends those that still wait for a replica."""
        if self._server is not None:
            self._server.close()
        self.port = 0
        for each in self._waiting:
            each.cancel()

    async def stop(self) -> None:
        """Closes, and ends the connections to replicas too."""
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


class Replicas:
    """``scale`` them; ``publish`` after every change, which sets ``news``.

    At a count of 0 the endpoint is an activator: the next request brings one replica back.
    """

    def __init__(self, host: Host, app: str, revision: str, start: Start) -> None:
        self._host = host
        self._app, self._revision = app, revision
        self._start = start
        self._hash = secrets.token_hex(5)
        self._activator = Activator(self._wake)
        self._replaced: list[Replica] = []
        self._published: list[int] | None = None
        self.running: list[Replica] = []
        self.count = 0
        self.asleep = False
        self.news = asyncio.Event()

    @property
    def staying(self) -> list[Replica]:
        """Those that are not ending."""
        return [each for each in self.running if not each.leaving and each not in self._replaced]

    @property
    def ready(self) -> int:
        """How many of them are ready."""
        return sum(each.ready for each in self.staying)

    def scale(self, count: int, reason: str, *, stop: str = "scaled in") -> None:
        """Starts or stops replicas up to ``count``; ``stop`` is the reason given to those that end."""
        if count != self.count:
            change = {"replicas_from": self.count, "replicas_to": count, "reason": reason}
            self._host.timeline("revision.scaled", app=self._app, revision=self._revision, **change)
        self.count = count
        for _ in range(count - len(self.staying)):
            self._add()
        # Which ones go is not documented, only that it is not the emptiest: here the newest, unready ones first.
        leaving = sorted(reversed(self.staying), key=lambda each: each.ready)
        for each in leaving[: len(leaving) - count]:
            each.stop(stop)
        self.tell()

    def replace(self) -> None:
        """Starts as many new ones; the old ones end when the new ones are ready."""
        self._replaced += self.staying
        for _ in range(self.count):
            self._add()

    async def sleep(self, reason: str) -> None:
        """Scales to zero; from now on a request wakes the revision."""
        if not self._activator.port:
            await self._activator.start()
        self.asleep = True
        self.scale(0, reason)

    def open(self) -> None:
        """Forgets what was published: the ingress has none of them."""
        self._published = None

    def close(self) -> None:
        """No request wakes it any more; one that waits is refused."""
        self.asleep = False
        self._activator.close()

    async def ended(self) -> None:
        """Returns when the last replica is gone and no caller is connected any more."""
        for each in list(self.running):
            await each.gone()
        await self._activator.stop()

    async def publish(self) -> None:
        """Returns when the ingress sends new requests to those that are ready now."""
        if self.ready:
            self.asleep = False
        if self._replaced and self.ready >= self.count:
            for each in self._replaced:
                each.stop("restart")
            self._replaced = []
        ports = [each.port for each in self.running if each.ready]
        if not ports and self.asleep:
            ports = [self._activator.port]
        if ports != self._published:
            await self._host.ingress.set_replicas(self._revision, ports)
            self._published = ports

    def tell(self) -> None:
        """Wakes all that wait for ``news``."""
        news, self.news = self.news, asyncio.Event()
        news.set()

    def _add(self) -> None:
        suffix = "".join(secrets.choice(_ALPHANUMERIC) for _ in range(5))
        replica = self._start(f"{self._revision}-{self._hash}-{suffix}", self.tell)
        self.running.append(replica)
        self._host.spawn(self._see_out(replica))

    async def _see_out(self, replica: Replica) -> None:
        await replica.gone()
        self.running.remove(replica)
        self.tell()

    async def _wake(self) -> int:
        if self.asleep and not self.count:
            self.scale(1, "a request came")
        async with asyncio.timeout(self._host.unverified.provisioning_deadline_s):
            while not (ready := [each.port for each in self.staying if each.ready]):
                await self.news.wait()
        return ready[0]
