"""What the stage did, as JSON lines: ``{"ts", "act", ...}``, a closed list of acts."""

import asyncio
from datetime import UTC, datetime
from typing import Any, BinaryIO, Literal

import orjson

Act = Literal[
    "stage.started",
    "app.updated",
    "revision.created",
    "revision.ready",
    "revision.activated",
    "revision.deactivated",
    "revision.failed",
    "revision.scaled",
    "traffic.set",
    "replica.started",
    "replica.ready",
    "replica.unready",
    "probe.failed",
    "replica.sigterm",
    "replica.sigkill",
    "replica.exited",
    "stage.stopped",
]


class Timeline:
    """Writes each act as one whole, flushed line, and keeps it in ``acts``."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._news = asyncio.Event()
        self.acts: list[dict[str, Any]] = []

    def __call__(self, act: Act, **fields: Any) -> None:
        """Writes one line: ts (UTC, ms), act, then ``fields``."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.acts.append({"ts": now, "act": act} | fields)
        self._stream.write(orjson.dumps(self.acts[-1], option=orjson.OPT_APPEND_NEWLINE))
        self._stream.flush()
        # A new event for the next act, so that every waiter sees every act.
        news, self._news = self._news, asyncio.Event()
        news.set()

    def find(self, act: Act, **fields: Any) -> list[dict[str, Any]]:
        """The acts of that name so far whose fields match, oldest first."""
        return [a for a in self.acts if a["act"] == act and all(a.get(k) == v for k, v in fields.items())]

    async def until(self, act: Act, **fields: Any) -> dict[str, Any]:
        """The first act of that name whose fields match: one of those written, or else the next."""
        while not (found := self.find(act, **fields)):
            await self._news.wait()
        return found[0]
