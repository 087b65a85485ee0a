"""The closed list of log events, one JSON object a line on stdout. Nothing per frame, no payloads, no secrets."""

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
