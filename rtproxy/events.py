"""The closed list of log events, one JSON object a line on stdout. Nothing per frame, no payloads, no secrets."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import BinaryIO, Literal

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


class Log:
    """Writes events of one replica. Lines are whole and flushed: a kill right after loses none."""

    def __init__(self, revision: str, replica: str, stream: BinaryIO | None = None) -> None:
        self._origin = {"revision": revision, "replica": replica}
        self._stream = stream or sys.stdout.buffer

    def __call__(self, event: Event, **fields: Field) -> None:
        """Writes one line: ts (UTC, ms), level, event, revision, replica, then ``fields``."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = {"ts": now, "level": _LEVELS.get(event, "info"), "event": event}
        self._stream.write(orjson.dumps(head | self._origin | fields, option=orjson.OPT_APPEND_NEWLINE))
        self._stream.flush()
