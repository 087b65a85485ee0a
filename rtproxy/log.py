"""The closed list of log events, one JSON object a line, and their way to stdout. No payloads, no secrets.

A pipe that nobody reads is full after 64 KiB, and a process that writes to it blocks: here that would stop every call.
So `Outlet` writes only when the pipe accepts more. Lines that it does not accept wait in memory; above a limit, lines
are lost, and counted.
"""

import asyncio
import contextlib
import os
import select
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, Protocol

import orjson

Event = Literal[
    "proxy.started",
    "signal.received",
    "client.refused",
    "client.connected",
    "upstream.connected",
    "upstream.failed",
    "bridge.completed",
    "connection.closed",
    "drain.started",
    "drain.progress",
    "drain.completed",
    "proxy.stopped",
]
_LEVELS: Mapping[str, str] = {"client.refused": "warning", "upstream.failed": "error"}
REFUSALS = 20
"""The most refusals of one client, or of all unknown clients together, that get a line of their own in one second."""
Field = str | int | float | bool | None
WAITING_BYTES = 4 * 1024 * 1024
"""The lines of about three thousand calls."""
LAST_S = 0.5
"""How long the end of the process waits for a reader of the lines that are left."""


class Stream(Protocol):
    """Where lines are written. ``write`` does not wait, and returns 0 when the line is lost."""

    def write(self, line: bytes, /) -> int: ...


class Log:
    """Writes the events of one replica: whole lines, each at once, so that a kill right after an event loses none.

    ``lost`` counts the lines that nobody read in time. The next line has the number of lines that are missing before
    it.
    """

    def __init__(self, revision: str, replica: str, stream: Stream) -> None:
        self._origin = {"revision": revision, "replica": replica}
        self._stream = stream
        self.lost = 0
        self._missing = 0
        self.refused = Refusals(self)

    def __call__(self, event: Event, **fields: Field) -> None:
        """Writes one line: ts (UTC, ms), level, event, revision, replica, then ``fields``."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, Field] = {"ts": now, "level": _LEVELS.get(event, "info"), "event": event}
        line |= self._origin | fields
        if self._missing:
            line["lost"] = self._missing
        if self._stream.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)):
            self._missing = 0
        else:
            self._missing += 1
            self.lost += 1


class Refusals:
    """Writes `client.refused` events, and limits them, so that refused clients cannot fill the log.

    Beyond REFUSALS in a second the rest are summed up: one line for each status and code, at the end of the second,
    with their ``count``.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._seen: Counter[str | None] = Counter()
        self._more: Counter[tuple[int, str, str | None]] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, status: int, code: str, client: str | None, path: str | None) -> None:
        """Logs a refusal now, or with others within a second."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(1.0, self.flush)
        self._seen[client] += 1
        if self._seen[client] <= REFUSALS:
            self._log("client.refused", status=status, code=code, client=client, path=path)
        else:
            self._more[status, code, client] += 1

    def flush(self) -> None:
        """Logs the sums so far."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        more, self._more = self._more, Counter()
        self._seen.clear()
        for (status, code, client), count in more.items():
            self._log("client.refused", status=status, code=code, client=client, path=None, count=count)


class Outlet:
    """Writes to a descriptor without waiting, from the loop's thread. Nothing else may write to the descriptor.

    The descriptor's blocking mode is not changed, because that would change it for every process that shares it
    (fcntl(2)).
    """

    def __init__(self, fileno: int) -> None:
        self._fileno = fileno
        self._waiting = bytearray()
        self._writable = select.poll()
        self._writable.register(fileno, select.POLLOUT)
        # The loop watches this epoll, because it makes a descriptor that it watches itself non-blocking.
        self._epoll = select.epoll()
        with contextlib.suppress(PermissionError):  # a file, which accepts everything
            self._epoll.register(fileno, select.EPOLLOUT)
        self._watched = False

    def write(self, line: bytes) -> int:
        """Writes ``line``, now or later. Returns its length, or 0 when it is lost."""
        if len(self._waiting) + len(line) > WAITING_BYTES:
            if not self._watched:  # a disk that was full may have room again, and no event would report it
                self._flush_waiting()
            return 0
        self._waiting += line
        if not self._watched:
            self._flush_waiting()
        return len(line)

    def finish(self) -> None:
        """Waits until the rest is read, for LAST_S at most. For the end of the process."""
        until = time.monotonic() + LAST_S
        with contextlib.suppress(OSError):
            while self._waiting and self._writable.poll(max(0.0, until - time.monotonic()) * 1000):
                self._write_some()

    def _flush_waiting(self) -> None:
        try:
            while self._waiting and self._writable.poll(0):
                self._write_some()
            self._watch(bool(self._waiting))
        except OSError:
            # The reader is gone, or a disk is full: try again with the next line.
            self._watch(False)

    def _write_some(self) -> None:
        # A pipe accepts this much as a whole and without blocking, if it accepts anything (pipe(7)).
        end = self._waiting.rfind(b"\n", 0, select.PIPE_BUF) + 1 or select.PIPE_BUF
        del self._waiting[: os.write(self._fileno, self._waiting[:end])]

    def _watch(self, on: bool) -> None:
        if on == self._watched:
            return
        self._watched = on
        loop = asyncio.get_running_loop()
        if on:
            loop.add_reader(self._epoll.fileno(), self._flush_waiting)
        else:
            loop.remove_reader(self._epoll.fileno())
