"""What relay, clients and model wrote down, call by call, in the folder of a run."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from stage.soak.plan import KINDS, Kind

CLIENTS, MODEL, RELAY, SAMPLES = "clients.jsonl", "model.jsonl", "relay.jsonl", "samples.jsonl"
Line = dict[str, Any]


@dataclass(slots=True)
class Call:
    """One call: a line of its client, of its model where one answered the dial, and the relay's summaries of it."""

    client: Line
    model: Line | None = None
    summaries: list[Line] = field(default_factory=list)

    @property
    def kind(self) -> Kind:
        return KINDS[self.client["kind"]]

    @property
    def accepted(self) -> bool:
        """Whether the client saw its 101."""
        return self.client["session"] is not None

    @property
    def proper(self) -> bool:
        """Whether both ends sent a Close and got the other's."""
        return self.model is not None and _said_goodbye(self.client) and _said_goodbye(self.model)

    @property
    def name(self) -> str:
        stopped = ", called home" if self.client["stopped"] else ""
        return f"call {self.client['number']} ({self.kind.name}{stopped})"


@dataclass(slots=True)
class Books:
    """``stray`` are summaries of sessions that no client had, ``series`` the last scrape of /metrics.

    ``events`` counts the relay's events by name; ``said`` is its output on stderr.
    """

    calls: list[Call]
    stray: list[Line]
    events: dict[str, int]
    series: dict[str, float]
    said: str = ""
    code: int | None = 0

    @property
    def summaries(self) -> Iterator[Line]:
        for call in self.calls:
            yield from call.summaries
        yield from self.stray


def assemble(
    clients: Iterable[Line],
    model: Iterable[Line],
    relay: Iterable[Line],
    series: dict[str, float],
    said: str,
    code: int | None,
) -> Books:
    """Puts together what belongs to one call: by its number, and by the session that the client was given."""
    calls = {line["number"]: Call(line) for line in clients}
    by_session = {call.client["session"]: call for call in calls.values() if call.accepted}
    for line in model:
        if line["number"] in calls and line["status"] == 101:
            calls[line["number"]].model = line
    stray, events = [], defaultdict[str, int](int)
    for line in relay:
        events[line["event"]] += 1
        if line["event"] != "connection.closed":
            continue
        call = by_session.get(line["session"]) or _of_model(calls, line)
        if call is None:
            stray.append(line)
        else:
            call.summaries.append(line)
    return Books(list(calls.values()), stray, dict(events), series, said, code)


def read(folder: Path, series: dict[str, float], said: str, code: int | None) -> Books:
    """The books of a run. Raises OSError, orjson.JSONDecodeError."""
    clients, model, relay = (lines(folder / name) for name in (CLIENTS, MODEL, RELAY))
    return assemble(clients, model, relay, series, said, code)


def lines(file: Path) -> Iterator[Line]:
    with file.open("rb") as file_lines:
        for line in file_lines:
            yield orjson.loads(line)


def _of_model(calls: dict[int, Call], summary: Line) -> Call | None:
    """A client that hung up early has no session; the model's session names the call."""
    name = str(summary["upstream_session"]).removeprefix("soak-")
    call = calls.get(int(name)) if name.isdecimal() else None
    return None if call is None or call.accepted else call


def _said_goodbye(side: Line) -> bool:
    return side["heard"]["said_close"] is not None and side["heard"]["got_close"] is not None
