"""What the model saw of one call, as `GET /_stage/sessions` tells it. Header names only, never a value."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class Record:
    id: str
    dialect: str
    deployment: str
    authenticated_by: str
    request_headers: list[str]
    started: str = field(default_factory=now)
    ended: str | None = None
    # client: it sent Close. model: we ended it. network: the socket vanished.
    ended_by: str | None = None
    close_code_received: int | None = None
    close_code_sent: int | None = None
    events_received: Counter[str] = field(default_factory=Counter)
    frames_received: int = 0
    bytes_received: int = 0
    frames_sent: int = 0
    bytes_sent: int = 0
    responses: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    def received(self, size: int) -> None:
        self.frames_received += 1
        self.bytes_received += size

    def sent(self, size: int) -> None:
        self.frames_sent += 1
        self.bytes_sent += size

    def used(self, usage: dict[str, Any]) -> None:
        self.responses += 1
        self.tokens_in += usage["input_tokens"]
        self.tokens_out += usage["output_tokens"]

    def end(self, by: str, *, received: int | None = None, sent: int | None = None) -> None:
        """The first end stands: what follows it is only the echo."""
        if self.ended_by is None:
            self.ended_by, self.close_code_received, self.close_code_sent = by, received, sent

    def as_json(self) -> dict[str, Any]:
        return vars(self) | {"events_received": dict(self.events_received)}
