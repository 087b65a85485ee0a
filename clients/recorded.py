"""What a record says, as plain values: times are seconds since the epoch (UTC), names are those of the lines."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlsplit

MOVED_CODE = 1012
"""A relay that drains says so with this code; between two turns it asks the caller to come back, and cuts nobody."""
STAGE_STOPPING = "stage stopping"
UNHEARD_S = 0.5
"""The model detects speech only after some of it, and a relay learns of speech from the model."""
Asked = Literal["asked", "unasked", "again", "away", "unknown"]
"""Of a 1012 between two turns, whether its replica had been asked to stop: see `evidence`. Only `asked` is a move."""


def utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """`name` is that of its file. `ended` is None when the record stops before the hold does."""

    id: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    started: float
    ended: float | None = None

    @property
    def to_revision(self) -> bool:
        """Azure puts `--` into the host names of revisions and labels only; `xn--` begins a Unicode name."""
        host = urlsplit(str(self.arguments.get("url", ""))).hostname or ""
        return any("--" in label and not label.startswith("xn--") for label in host.split("."))

    @property
    def reconnects(self) -> bool:
        return bool(self.arguments.get("reconnect"))


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    at: float
    code: int
    reason: str
    closed_by: str
    early: bool
    turn: str
    turn_s: float | None = None
    audio_bytes_sent: int | None = None
    audio_sha256_sent: str | None = None
    pings_heard: int | None = None
    longest_unpinged_s: float | None = None

    @property
    def in_a_turn(self) -> bool:
        """Not of a caller who has only just begun to speak: nobody else can know of that."""
        unheard = self.turn == "speaking" and self.turn_s is not None and self.turn_s < UNHEARD_S
        return self.turn != "idle" and not unheard


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One WebSocket of one call. `end` is None: it was still open at the end of the record."""

    hold: str
    call: int
    opened: float
    connect_ms: float
    gap_ms: float | None
    id: str | None
    revision: str | None
    replica: str | None
    upstream_session: str | None
    to_revision: bool
    end: End | None
    kind: str | None = None
    asked: Asked = "unknown"

    @property
    def begun(self) -> float:
        """When it was dialled: whoever chose its place did so between this and `opened`."""
        return self.opened - self.connect_ms / 1000

    @property
    def place(self) -> tuple[str, int]:
        return self.hold, self.call

    @property
    def name(self) -> str:
        return self.id or self.upstream_session or "without an id"

    @property
    def sent_away(self) -> bool:
        """The other side asked the caller to come back, between two turns."""
        end = self.end
        return bool(end and end.early and end.code == MOVED_CODE and end.closed_by == "remote" and not end.in_a_turn)

    @property
    def moved(self) -> bool:
        return self.sent_away and self.asked == "asked"

    @property
    def unproven(self) -> bool:
        """A move or a cut: nothing in the record says whether its replica was asked to stop."""
        return self.sent_away and self.asked == "unknown"

    @property
    def cut(self) -> bool:
        return bool(self.end and self.end.early and not self.moved and not self.unproven)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audio:
    """The audio of one response, as the caller heard it or as the model's own record has it.

    `audio_tokens` is what its usage says; the model's record does not.
    """

    response: str
    deltas: int
    audio_bytes: int
    audio_sha256: str
    audio_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OfCall:
    """Something that a call observed."""

    hold: str
    call: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn(OfCall):
    """`at` is its end; both times count from the end of speech. Records of older holds lack what has a default."""

    status: str
    first_audio_ms: float | None
    duration_ms: float | None
    detail: str | None
    kind: str | None = None
    session: str | None = None
    revision: str | None = None
    replica: str | None = None
    code: str | None = None
    function_calls: int | None = None
    responses: tuple[Audio, ...] | None = None
    worst_gap_ms: float | None = None
    loudness: float | None = None

    @property
    def throttled(self) -> bool:
        """The deployment had no capacity left, which has nothing to do with a release."""
        return self.status == "failed" and self.code == "inference_rate_limit_exceeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong(OfCall):
    rtt_ms: float | None
    session: str | None = None
    revision: str | None = None
    replica: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault(OfCall):
    """What no caller should have heard. `detail`: ids and numbers."""

    fault: str
    detail: str
    session: str | None
    revision: str | None
    replica: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Knocked:
    """A dial without a key, or with a wrong one. `status` 101: it was let in."""

    at: float
    url: str
    revision: str | None
    credential: str
    status: int | None
    code: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """A response in the model's own record; `session` is the caller's `upstream_session`."""

    session: str
    status: str
    audio: Audio


@dataclass(frozen=True, slots=True, kw_only=True)
class Listened:
    """What the model heard in a session until its end, by the model's own record."""

    session: str
    audio_bytes: int
    audio_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(OfCall):
    status: int | None
    code: str | None
    message: str

    @property
    def for_quota(self) -> bool:
        """The deployment takes no more for now, which has nothing to do with a release. A relay passes it on."""
        return (self.status, self.code) == (429, "rate_limit_exceeded")

    @property
    def answer(self) -> str:
        return " ".join(str(each) for each in ("HTTP" if self.status else None, self.status, self.code) if each)


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A session as its relay saw it. Without `ended_by` the relay logged no end of it."""

    id: str
    revision: str
    replica: str
    connected: float | None = None
    closed: float | None = None
    ended_by: str | None = None
    client_code: int | None = None
    upstream_code: int | None = None
    turn: str | None = None
    upstream_error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """One round of questions to the relays at `url`: who answered, who did not, and which of those who did drain."""

    at: float
    url: str
    revision: str | None
    replicas: frozenset[str]
    missing: frozenset[str]
    complete: bool
    draining: Mapping[str, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Answers at the callers' address agreed with these weights from then on; a revision at weight 0 is left out."""

    at: float
    weights: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Act:
    """Something the platform did."""

    at: float
    name: str
    fields: Mapping[str, Any]

    def __getitem__(self, key: str) -> Any:
        """None where the line does not say."""
        return self.fields.get(key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """How much later than the hold's it is: `off_s`, of `pairs` measurements the least and the most."""

    off_s: float
    least_s: float
    most_s: float
    pairs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A time in which the same weights held. Revisions at weight 0 are left out."""

    start: float
    end: float
    weights: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A replica that was asked to stop (`began`), or killed without that (then `began` is the kill).

    `exited` None: the record ends before. `grace_assumed`: the record does not say which grace period was deployed, and
    `grace_s` is the platform's default.
    """

    replica: str
    revision: str
    reason: str
    began: float
    grace_s: float | None
    grace_assumed: bool = False
    killed: float | None
    exited: float | None
    code: int | None
