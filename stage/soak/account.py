"""What an end writes down of its call, and how it gets to whoever judges: a line of JSON each, on stdout."""

import sys
import zlib
from dataclasses import dataclass, field

import orjson

Close = tuple[int | None, str]


@dataclass(slots=True)
class Count:
    """Whole frames count in all three, a cut one in ``frames`` and ``size``, in bytes. ``crc`` is over all bytes."""

    frames: int = 0
    size: int = 0
    crc: int = 0

    def add(self, data: bytes, frames: int = 1) -> None:
        self.frames += frames
        self.size += len(data)
        self.crc = zlib.crc32(data, self.crc)


@dataclass(slots=True)
class Heard:
    """What an end wrote down of its call. ``disorder`` counts frames that were not the next of the other end's."""

    sent: Count = field(default_factory=Count)
    got: Count = field(default_factory=Count)
    said_close: Close | None = None
    got_close: Close | None = None
    relay_close: Close | None = None
    relay_pings: int = 0
    disorder: int = 0
    ended: str = ""


@dataclass(slots=True)
class ClientSide:
    """A client's own account. ``stopped``: called home before its time; ``overdue``: its call was left behind."""

    number: int
    kind: str
    code: int | None
    session: str | None = None
    status: int = 0
    stopped: bool = False
    overdue: bool = False
    heard: Heard = field(default_factory=Heard)


@dataclass(slots=True)
class ModelSide:
    """The model's own account. ``status`` is what it answered: 0 where nothing."""

    number: int
    status: int = 0
    responses: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    heard: Heard = field(default_factory=Heard)


def write(line: object) -> None:
    """One line, whole."""
    sys.stdout.buffer.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()
