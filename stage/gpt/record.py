"""What the model saw of one call, as `GET /_stage/sessions` tells it, and its own record of all calls, as a file.

Header names only, never a value; of audio its length and hash.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO


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
    # Of every append that could be decoded, one after the other, whatever became of it.
    audio_bytes_heard: int = 0
    audio_sha256_heard: str = hashlib.sha256().hexdigest()
    # What the model had begun and not finished.
    owed: list[str] = field(default_factory=list)

    def received(self, size: int) -> None:
        self.frames_received += 1
        self.bytes_received += size

    def sent(self, size: int) -> None:
        self.frames_sent += 1
        self.bytes_sent += size

    def used(self, usage: dict[str, Any] | None) -> None:
        self.responses += 1
        if usage:
            self.tokens_in += usage["input_tokens"]
            self.tokens_out += usage["output_tokens"]

    def end(self, by: str, *, received: int | None = None, sent: int | None = None) -> None:
        """The first end stands: what follows it is only the echo."""
        if self.ended_by is None:
            self.ended_by, self.close_code_received, self.close_code_sent = by, received, sent

    def as_json(self) -> dict[str, Any]:
        return vars(self) | {"events_received": dict(self.events_received)}


class Sent:
    """The audio deltas of one response: how many, how long, and a hash of their PCM."""

    def __init__(self) -> None:
        self.deltas = self.audio_bytes = 0
        self._digest = hashlib.sha256()

    def add(self, pcm: bytes) -> None:
        self.deltas += 1
        self.audio_bytes += len(pcm)
        self._digest.update(pcm)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


class RecordFile:
    """The model's own record, a JSON line for each response and each call that ends: what a verdict compares with.

    A response that its call's end cut off has the status `abandoned`; its client heard a beginning of it at most.
    """

    def __init__(self, path: Path | None) -> None:
        self._stream: TextIO | None = path.open("a", encoding="utf-8") if path else None

    def response(self, session: str, response: str, status: str, sent: Sent) -> None:
        audio = {"deltas": sent.deltas, "audio_bytes": sent.audio_bytes, "audio_sha256": sent.sha256}
        self._write("response", session=session, response=response, status=status, **audio)

    def session_ended(self, call: Record) -> None:
        code = call.close_code_sent if call.ended_by == "model" else call.close_code_received
        heard = {"audio_bytes_heard": call.audio_bytes_heard, "audio_sha256_heard": call.audio_sha256_heard}
        self._write("session.ended", session=call.id, **heard, closed_by=call.ended_by, code=code, owed=call.owed)

    def close(self) -> None:
        if self._stream:
            self._stream.close()
            self._stream = None

    def _write(self, what: str, **fields: Any) -> None:
        if self._stream:
            self._stream.write(json.dumps({"ts": now(), "model": what, **fields}) + "\n")
            self._stream.flush()


NoteResponse = Callable[[str, str, Sent], None]
