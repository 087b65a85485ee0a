"""The closed list of log events, one JSON object a line on stdout. Nothing per frame, no payloads, no secrets."""

import asyncio
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
"""So many refusals of one client, or of all strangers, are logged one by one in a second."""
Field = str | int | float | bool | None


class Stream(Protocol):
    """Where lines go; ``write`` does not wait, and returns 0 for a line that is lost."""

    def write(self, line: bytes, /) -> int: ...


class Log:
    """Writes events of one replica: whole lines, and at once, so that a kill right after loses none.

    ``lost`` counts those that nobody read in time; the next line says how many are missing before it.
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
    """Writes `client.refused`, so that nobody who is refused fills a log.

    Beyond REFUSALS in a second the rest are one line for each status and code, at the end of the second, with their
    ``count``.
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
        """Logs what has been added up so far."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        more, self._more = self._more, Counter()
        self._seen.clear()
        for (status, code, client), count in more.items():
            self._log("client.refused", status=status, code=code, client=client, path=None, count=count)
