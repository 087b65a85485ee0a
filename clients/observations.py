"""What a client can observe, a closed list, and the record of it: a line of JSON each.

A line is `ts`, `hold` (8 hex digits, one run: several may share a file), `observation` (its name) and its fields. `ts`
is UTC, ISO 8601, in ms; `call` is a place in the hold, from 1; what is not known is null. The four ids of a session are
those of the relay's 101 (`x-rtproxy-revision`, `-replica`, `-session`) and the model's own from session.created.
"""

import dataclasses
import os
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal, TypedDict

import orjson

ClosedBy = Literal["local", "remote", "dropped"]
TurnState = Literal["idle", "speaking", "answering", "waiting"]
FaultName = Literal[
    "cross_talk",
    "unknown_response",
    "broken_json",
    "out_of_order",
    "repeated_id",
    "no_session_updated",
    "session_differs",
    "error_event",
    "audio_length",
    "silent_audio",
    "other_words",
    "lost_item",
]
# The fields whose text comes from the other end, which may quote our key.
FREE_TEXT = ("message", "reason", "detail", "code", "status")


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


class Identity(TypedDict):
    """The four ids."""

    revision: str | None
    replica: str | None
    session: str | None
    upstream_session: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    name: ClassVar[str]
    ts: str = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldStarted(Observation):
    """`arguments`: the whole plan without the key; `authenticated` in it says whether there was one."""

    name = "hold.started"
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldCompleted(Observation):
    """`summary`: what --json prints."""

    name = "hold.completed"
    summary: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened(Observation):
    """A 101. `ts` is its time, though the line waits for session.created, which brings `upstream_session`."""

    name = "opened"
    call: int
    kind: str
    connect_ms: float
    revision: str | None
    replica: str | None
    session: str | None
    upstream_session: str | None
    gap_ms: float | None  # since the cut this session makes up for; null where it begins a call


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Observation):
    """No session. `status` is null when no HTTP answer came; `code` then is one of ours: see dial.py."""

    name = "refused"
    call: int
    status: int | None
    code: str | None
    message: str
    retry_after_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong(Observation):
    """`rtt_ms` is null when the next ping was due and this one had no answer."""

    name = "pong"
    call: int
    rtt_ms: float | None


class AnswerHeard(TypedDict):
    """One response as the caller heard it: `deltas` and bytes are those of its audio, decoded and put together.

    `audio_tokens` is what its `usage` says; null where it says nothing, or where the response did not end.
    """

    id: str
    deltas: int
    audio_bytes: int
    audio_sha256: str
    audio_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn(Observation):
    """`status`: the model's (completed, cancelled, failed, incomplete), or ours.

    Ours are timeout, cut (the socket ended) and unanswered (we hung up while the turn was open, which proves nothing).

    Both times count from the end of speech; null when it did not come to that. Where the caller had to ask again, after
    a tool or a throttled response, `first_audio_ms` counts from the last asking before that audio. `detail`: the model
    on a failure; `code`: that of the last response that failed, also when a later one was completed. `worst_gap_ms`:
    the longest time between two deltas of one item. `loudness`: the root mean square of all audio heard, 0 to 1.
    `function_calls`: how many the model made, and this call answered.
    """

    name = "turn"
    call: int
    kind: str
    session: str | None
    revision: str | None
    replica: str | None
    status: str
    first_audio_ms: float | None
    duration_ms: float | None
    detail: str | None
    code: str | None
    function_calls: int
    responses: list[AnswerHeard]
    worst_gap_ms: float | None
    loudness: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault(Observation):
    """Something that no healthy model sends, or that it sent and this call did not get. `detail`: ids and numbers.

    cross_talk: an id that belongs to another call of this hold. unknown_response: an event of a response that this call
    never heard of. out_of_order: audio outside its response or item, or anything before session.created.
    no_session_updated, session_differs: our session.update was not answered, or not with what it asked for.
    audio_length: much more or less audio than `usage` counts. silent_audio: an answer without a sound. other_words: the
    deltas of a transcript or a text are not what response.done has of it. lost_item: what the caller created, such as
    the output of a tool, was never added, and the turn was answered all the same.
    """

    name = "fault"
    call: int
    kind: str
    session: str | None
    revision: str | None
    replica: str | None
    fault: FaultName
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed(Observation):
    """`remote`: by a Close frame (1005: without a code); `local`: by us; `dropped`: with no Close frame (1006).

    So is a silent connection: three pings without any sign of life, or our own Close without an answer.
    `early` is true when it was cut: ended by anything but our hanging up, at the end of the hold or of the call.
    `turn_s` says for how long it had been in that `turn`: a relay cannot know of speech that has only just begun.
    `turn` is waiting while the caller still owes the model something: the output of a tool, or to ask again.
    `audio_*_sent`: the PCM of everything that was sent, put together. `longest_unpinged_s`: the longest time without a
    ping of the other side, from the 101 to the end; nothing else that it sends keeps a call in which nobody speaks.
    """

    name = "closed"
    call: int
    kind: str
    code: int
    reason: str
    closed_by: ClosedBy
    age_s: float
    early: bool
    turn: TurnState
    turn_s: float
    audio_bytes_sent: int
    audio_sha256_sent: str
    pings_heard: int
    longest_unpinged_s: float
    revision: str | None
    replica: str | None
    session: str | None
    upstream_session: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnecting(Observation):
    name = "reconnecting"
    call: int
    attempt: int
    delay_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed(Observation):
    """One round of questions to the relays at `url`. Of each that answered `replicas` has its number of sessions.

    `draining` says of the same ones whether they were asked to stop. `missing` were to answer and did not; then the
    round is not `complete`, and its sums are too low.
    """

    name = "probed"
    url: str
    revision: str | None
    sessions: int
    quiet: int
    oldest_s: float
    replicas: dict[str, int]
    draining: dict[str, bool]
    missing: list[str]
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Knocked(Observation):
    """The answer to a dial without a key (`none`) or with one that nobody has (`wrong`); `status` 101: it was let in.

    `status` is null when no HTTP answer came; `code` is the envelope's, or then one of ours: see dial.py.
    """

    name = "knocked"
    url: str
    revision: str | None
    credential: Literal["none", "wrong"]
    status: int | None
    code: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled(Observation):
    """Whether the weights were `in_force` at the callers' address, by `answers`: how many each revision gave at last.

    `asked` is the number of all questions. What answered and was no relay is among the answers, in words.
    """

    name = "settled"
    url: str
    shares: dict[str, int]
    answers: dict[str, int]
    asked: int
    waited_s: float
    in_force: bool


class Record:
    """Appends to a file, each line by one write: a kill leaves whole lines."""

    def __init__(self, path: str | None, key: str | None) -> None:
        """Raises OSError when the path cannot be written."""
        self.hold = secrets.token_hex(4)
        self.failure: str | None = None
        self._key = key
        self._fd = None if path is None else os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, observation: Observation) -> Observation:
        """What was written, without the key. After a failed write no more is tried; `failure` says why."""
        observation = self._without_key(observation)
        if self._fd is not None and self.failure is None:
            fields = dataclasses.asdict(observation)
            about = {"ts": fields.pop("ts"), "hold": self.hold, "observation": observation.name}
            line = orjson.dumps(about | fields, option=orjson.OPT_APPEND_NEWLINE)
            try:
                if os.write(self._fd, line) < len(line):
                    self.failure = "the file took only part of a line"
            except OSError as error:
                self.failure = str(error)
        return observation

    def _without_key(self, observation: Observation) -> Observation:
        if self._key is None:
            return observation
        quoting = {
            name: text.replace(self._key, "[key]")
            for name in FREE_TEXT
            if isinstance(text := getattr(observation, name, None), str) and self._key in text
        }
        return dataclasses.replace(observation, **quoting) if quoting else observation
