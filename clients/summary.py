"""Observations added up while they arrive, and the limits that a hold must keep."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from clients.events import THROTTLED
from clients.observations import Closed, Fault, Observation, Opened, Pong, Refused, Turn

# A short answer of a fast model is complete after this long; whoever hangs up sooner has not waited for one.
ANSWER_DUE_MS = 1500.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """None: not checked."""

    max_cut: int = 0
    max_connect_p95_ms: float | None = None
    max_rtt_p95_ms: float | None = None
    max_first_audio_p95_ms: float | None = None
    max_failed_turns: int | None = None
    max_faults: int | None = None

    def given(self) -> dict[str, float]:
        return {name: limit for name, limit in asdict(self).items() if limit is not None}


@dataclass(frozen=True, slots=True)
class Check:
    """`measured` is None when there was nothing to measure, which fails: a limit nobody tested is not kept."""

    name: str
    limit: float
    measured: float | None

    @property
    def held(self) -> bool:
        return self.measured is not None and self.measured <= self.limit

    def __str__(self) -> str:
        """The option, what was measured, and by how much it is over."""
        option = "--" + self.name.replace("_", "-")
        if self.measured is None:
            return f"{option} {self.limit:g}: nothing was measured"
        over = "" if self.held else f", {self.measured - self.limit:.1f} over".replace(".0 over", " over")
        return f"{option} {self.limit:g}: measured {self.measured:g}{over}"


def check(limits: Limits, measured: dict[str, float | None]) -> list[Check]:
    return [Check(name, limit, measured[name]) for name, limit in limits.given().items()]


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Percentiles interpolated between the values, so p99 never exceeds the greatest of a few."""
    if not values:
        return {"count": 0, "p50": None, "p95": None, "p99": None, "max": None}
    cuts = statistics.quantiles(values, n=100, method="inclusive") if len(values) > 1 else [values[0]] * 99
    p50, p95, p99 = (round(cuts[percent - 1], 1) for percent in (50, 95, 99))
    return {"count": len(values), "p50": p50, "p95": p95, "p99": p99, "max": max(values)}


def status_of(turn: Turn) -> str:
    """`throttled` for what failed only because the deployment was busy, else the turn's own."""
    return "throttled" if turn.status == "failed" and turn.code == THROTTLED else turn.status


class Tally:
    """Memory grows with turns and pings, not with audio.

    `planned`, `opened` and `survived` count places, `held` the sessions they had in all; `never_opened` are calls that
    were refused when they began, as against one that comes back and is refused: its cut counts already.
    """

    def __init__(self, planned: int) -> None:
        self.planned = planned
        self.connects_ms: list[float] = []
        self.rtts_ms: list[float] = []
        self.first_audios_ms: list[float] = []
        self.gaps_ms: list[float] = []
        self.turns: Counter[str] = Counter()
        self.turns_by_kind: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.faults: Counter[str] = Counter()
        self._due = 0
        self.unanswered_pings = 0
        self.held = 0
        self.opened: set[int] = set()
        self.never_opened = 0
        self._coming_back: set[int] = set()
        self.by_revision: Counter[str | None] = Counter()
        self.cuts: list[Closed] = []
        self.closes: Counter[tuple[str, int]] = Counter()
        self.refusals: list[Refused] = []

    def add(self, observation: Observation) -> None:
        match observation:
            case Opened():
                self.held += 1
                self.opened.add(observation.call)
                self._coming_back.discard(observation.call)
                self.connects_ms.append(observation.connect_ms)
                self.by_revision[observation.revision] += 1
                if observation.gap_ms is not None:
                    self.gaps_ms.append(observation.gap_ms)
            case Refused():
                self.refusals.append(observation)
                self.never_opened += observation.call not in self._coming_back
            case Pong(rtt_ms=None):
                self.unanswered_pings += 1
            case Pong(rtt_ms=float(rtt)):
                self.rtts_ms.append(rtt)
            case Turn():
                status = status_of(observation)
                self.turns[status] += 1
                self.turns_by_kind[observation.kind][status] += 1
                open_at_the_end = status in ("cut", "unanswered")
                self._due += not open_at_the_end or (observation.duration_ms or 0) >= ANSWER_DUE_MS
                if observation.first_audio_ms is not None:
                    self.first_audios_ms.append(observation.first_audio_ms)
            case Fault():
                self.faults[observation.fault] += 1
            case Closed():
                self.closes[observation.closed_by, observation.code] += 1
                if observation.early:
                    self.cuts.append(observation)
                    self._coming_back.add(observation.call)

    @property
    def survived(self) -> int:
        """Places without a cut."""
        return len(self.opened - {cut.call for cut in self.cuts})

    @property
    def failed_turns(self) -> int:
        """A throttled deployment is not the relay's failure, and a turn that was open at our hang-up is nobody's."""
        return self.turns.total() - sum(self.turns[status] for status in ("completed", "throttled", "unanswered"))

    @property
    def never_answered(self) -> bool:
        """Turns were to be completed, and none was. One that had only just been spoken at the end could not be yet."""
        return self._due > 0 and not self.turns["completed"]

    def measured(self) -> dict[str, float | None]:
        """What the limits of the same names are held against."""
        return {
            "max_cut": len(self.cuts) + self.never_opened,
            "max_connect_p95_ms": spread(self.connects_ms)["p95"],
            "max_rtt_p95_ms": spread(self.rtts_ms)["p95"],
            "max_first_audio_p95_ms": spread(self.first_audios_ms)["p95"],
            "max_failed_turns": self.failed_turns,
            "max_faults": self.faults.total(),
        }

    def numbers(self) -> dict[str, Any]:
        return {
            "sessions": {
                "planned": self.planned,
                "held": self.held,
                "opened": len(self.opened),
                "survived": self.survived,
                "cut": len(self.cuts),
                "never_opened": self.never_opened,
                "reconnected": len(self.gaps_ms),
            },
            "connect_ms": spread(self.connects_ms),
            "rtt_ms": spread(self.rtts_ms),
            "first_audio_ms": spread(self.first_audios_ms),
            "gap_ms": spread(self.gaps_ms),
            "unanswered_pings": self.unanswered_pings,
            "turns": dict(self.turns),
            "turns_by_kind": {kind: dict(turns) for kind, turns in self.turns_by_kind.items()},
            "faults": dict(self.faults),
            "revisions": {revision or "unknown": count for revision, count in self.by_revision.items()},
            "closes": [
                {"closed_by": side, "code": code, "count": count} for (side, code), count in self.closes.most_common()
            ],
            "cuts": [asdict(cut) for cut in self.cuts],
            "refusals": [
                {"status": status, "code": code, "message": message, "count": count}
                for (status, code, message), count in self.refusals_by_cause().most_common()
            ],
        }

    def refusals_by_cause(self) -> Counter[tuple[int | None, str | None, str]]:
        return Counter((refused.status, refused.code, refused.message) for refused in self.refusals)
