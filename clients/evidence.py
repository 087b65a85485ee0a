"""All of a record, and what follows from it: weights by time, calls, stops of replicas, and which 1012 moved a call.

A relay asks its callers to come back because its replica was asked to stop. The same code, between two turns, from a
replica that goes on is a cut; so is a second one for the same call at one stop, and one after which the caller was away
for too long.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, chain
from pathlib import Path
from urllib.parse import urlsplit

from clients.recorded import (
    Act,
    Asked,
    Clock,
    Fault,
    Hold,
    Knocked,
    Listened,
    Logged,
    Pong,
    Probed,
    Refused,
    Session,
    Settled,
    Spoken,
    Stop,
    Turn,
    Window,
)

AZURE_GRACE_S = 30.0
"""terminationGracePeriodSeconds by default, for a record that does not say."""
KILLED_CODES = (137, -9)
"""Exit codes of a process that SIGKILL ended: a platform's and Python's."""
PROPAGATION_S = 1.0
"""What the platform sets is in force at the ingress a moment later, where the record does not say when."""
RETURN_S = 6.0
"""A client waits for 5 s at most before it dials again, and a dial takes a second on a busy machine."""
ORDER_S = 1.0
"""What two processes write at the same time, a busy machine may order otherwise."""


@dataclass
class Evidence:
    """Everything in order of time: `sessions` by opening, `turns` and `pongs` by place.

    `spoken` and `listened` are the model's own record, by response and by its name of the session.
    `logged_acts` is what relays log of their own processes, named as the platform's acts are; `log_ends` is the time of
    the last line of each replica's log. `clocks` (of relays, by replica) and `platform_clock` say how far these were
    from the hold's; the times here are corrected by that.
    `deployed` is the grace period of each revision, as a play read it.
    `began` and `ended` are the first and the last thing that a hold observed, `observations` how many there were.
    """

    files: list[Path] = field(default_factory=list)
    ignored: int = 0
    observations: int = 0
    holds: dict[str, Hold] = field(default_factory=dict)
    sessions: list[Session] = field(default_factory=list)
    turns: dict[tuple[str, int], list[Turn]] = field(default_factory=lambda: defaultdict(list))
    pongs: dict[tuple[str, int], list[Pong]] = field(default_factory=lambda: defaultdict(list))
    refusals: list[Refused] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    knocks: list[Knocked] = field(default_factory=list)
    spoken: dict[str, Spoken] = field(default_factory=dict)
    listened: dict[str, Listened] = field(default_factory=dict)
    logged: dict[str, Logged] = field(default_factory=dict)
    logged_acts: list[Act] = field(default_factory=list)
    log_ends: dict[str, float] = field(default_factory=dict)
    clocks: dict[str, Clock] = field(default_factory=dict)
    platform_clock: Clock | None = None
    probed: list[Probed] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    deployed: dict[str, float] = field(default_factory=dict)
    acts: list[Act] = field(default_factory=list)
    began: float = float("inf")
    ended: float = float("-inf")

    def acts_of(self, *names: str) -> list[Act]:
        return [act for act in self.acts if act.name in names]

    def app_at(self, at: float) -> Act | None:
        """The app's settings in force then."""
        updates = [act for act in self.acts_of("app.updated") if act.at <= at]
        return updates[-1] if updates else None

    @cached_property
    def windows(self) -> list[Window]:
        """Weights by time, revisions in the order in which they first had one.

        A setting that changes no weight opens no new window.
        """
        settings = self.acts_of("traffic.set")
        known = dict.fromkeys(name for act in settings for name, weight in act["weights"].items() if weight)
        weights = [{name: act["weights"][name] for name in known if act["weights"].get(name)} for act in settings]
        changes = [i for i, each in enumerate(weights) if i == 0 or each != weights[i - 1]]
        ends = [*(settings[i].at for i in changes), float("inf")][1:]
        return [Window(start=settings[i].at, end=end, weights=weights[i]) for i, end in zip(changes, ends, strict=True)]

    def in_force(self, window: Window) -> float:
        """From when on its weights held at each part of the ingress: when answers agreed, else a moment after."""
        agreed = [each.at for each in self.settled if each.weights == window.weights]
        seen = [at for at in agreed if window.start <= at < window.end]
        return min(seen, default=window.start + PROPAGATION_S)

    @cached_property
    def stops(self) -> list[Stop]:
        """The platform's account; where it gives none, that of the relays."""
        return stops_of(self.acts, self.deployed) or stops_of(self.logged_acts, self.deployed)

    @cached_property
    def calls(self) -> dict[tuple[str, int], list[Session]]:
        return by_place(self.sessions)

    @property
    def all_turns(self) -> Iterator[Turn]:
        return chain.from_iterable(self.turns.values())

    @property
    def to_app(self) -> list[Session]:
        """Sessions whose revision the platform chose: those dialled at a revision's own address prove no routing."""
        return [session for session in self.sessions if not session.to_revision]


def by_place(sessions: Iterable[Session]) -> dict[tuple[str, int], list[Session]]:
    """The sessions of each place, one after the other."""
    places: dict[tuple[str, int], list[Session]] = defaultdict(list)
    for session in sessions:
        places[session.place].append(session)
    return dict(places)


def stops_of(acts: Iterable[Act], deployed: Mapping[str, float] | None = None) -> list[Stop]:
    """In order of time. A replica that ends by itself is no stop; one that is restarted has one stop each time.

    `deployed` has grace periods by revision, for acts that do not say.
    """
    stops: list[Stop] = []
    latest: dict[str, int] = {}
    for act in acts:
        replica = act["replica"]
        match act.name:
            case "replica.sigterm" if replica not in latest:
                latest[replica] = len(stops)
                known_s = (deployed or {}).get(act["revision"]) if act["grace_s"] is None else act["grace_s"]
                stop = _stop(act, act["reason"] or "unknown", AZURE_GRACE_S if known_s is None else known_s)
                stops.append(replace(stop, grace_assumed=known_s is None))
            case "replica.sigkill":
                if replica not in latest:
                    latest[replica] = len(stops)
                    stops.append(_stop(act, "killed without SIGTERM", None))
                stops[latest[replica]] = replace(stops[latest[replica]], killed=act.at)
            case "replica.exited" if replica in latest:
                index = latest.pop(replica)
                killed = stops[index].killed or (act.at if act["code"] in KILLED_CODES else None)
                stops[index] = replace(stops[index], exited=act.at, code=act["code"], killed=killed)
    return stops


def _stop(act: Act, reason: str, grace_s: float | None) -> Stop:
    return Stop(
        replica=act["replica"],
        revision=act["revision"] or "unknown",
        reason=reason,
        began=act.at,
        grace_s=grace_s,
        killed=None,
        exited=None,
        code=None,
    )


def with_moves(evidence: Evidence) -> list[Session]:
    """The sessions, of each 1012 between two turns whether its replica had been asked to stop."""
    stops = [*stops_of(evidence.acts, evidence.deployed), *stops_of(evidence.logged_acts, evidence.deployed)]
    places = by_place(evidence.sessions).values()
    decided = {id(old): new for each in places for old, new in _of_a_place(each, stops, evidence)}
    return [decided[id(session)] for session in evidence.sessions]


def _of_a_place(sessions: list[Session], stops: list[Stop], evidence: Evidence) -> Iterator[tuple[Session, Session]]:
    """A place has one call after the other; what has no gap begins one."""
    calls = accumulate(session.gap_ms is None for session in sessions)
    times: Counter[tuple[int, str, float]] = Counter()
    for index, (call, session) in enumerate(zip(calls, sessions, strict=True)):
        if not session.sent_away:
            yield session, session
            continue
        stop = _stop_of(session, stops)
        asked: Asked = "asked" if stop else _without_a_stop(session, stops, evidence)
        if stop:
            times[call, stop.replica, stop.began] += 1
            asked = "again" if times[call, stop.replica, stop.began] > 1 else asked
        if asked in ("asked", "unknown") and _stays_away(session, sessions[index + 1 :], evidence):
            asked = "away"
        yield session, replace(session, asked=asked)


def away_s(session: Session, next_one: Session | None) -> float | None:
    """How long the caller was without a session; None: it never had another."""
    if next_one is None or session.end is None:
        return None
    return next_one.opened - session.end.at if next_one.gap_ms is None else next_one.gap_ms / 1000


def had_time_to_return(session: Session, evidence: Evidence) -> bool:
    hold = evidence.holds.get(session.hold)
    until = (hold.ended if hold else None) or evidence.ended
    return bool(hold and hold.reconnects and session.end) and until - _end_of(session) > RETURN_S


def _stays_away(session: Session, later: list[Session], evidence: Evidence) -> bool:
    waited_s = away_s(session, later[0] if later else None)
    return had_time_to_return(session, evidence) if waited_s is None else waited_s > RETURN_S


def _stop_of(session: Session, stops: list[Stop]) -> Stop | None:
    """The one under way when the session ended; the platform's account and the relay's are of the same stops."""
    at = _end_of(session)
    for stop in stops:
        ended = stop.exited or stop.killed or stop.began + (stop.grace_s or 0.0)
        mine = stop.replica == session.replica and stop.killed != stop.began
        if mine and stop.began - ORDER_S <= at <= ended + ORDER_S:
            return stop
    return None


def _without_a_stop(session: Session, stops: list[Stop], evidence: Evidence) -> Asked:
    """The platform or the log would have a line of it; where the record has neither, a probe may have looked.

    A stop at another time is no proof while nobody knows how far the platform's clock is off.
    """
    platform_saw_it = any(act["replica"] == session.replica for act in evidence.acts)
    stopped_at_some_time = any(stop.replica == session.replica for stop in stops)
    log_end = evidence.log_ends.get(session.replica or "", float("-inf"))
    if log_end >= _end_of(session) - ORDER_S:
        return "unasked"
    if platform_saw_it and (evidence.platform_clock or not stopped_at_some_time):
        return "unasked"
    return next(_seen_afterwards(session, evidence), "unknown")


def _seen_afterwards(session: Session, evidence: Evidence) -> Iterator[Asked]:
    """What each later round of questions to the replica's revision proves, if anything.

    A replica that is listed and gives no answer may have exited or be unreachable.
    """
    replica = session.replica or ""
    for probed in evidence.probed:
        if probed.at < _end_of(session) or not _about(probed, session):
            continue
        if replica in probed.draining:
            yield "asked" if probed.draining[replica] else "unasked"
        elif replica not in probed.replicas | probed.missing and probed.complete:
            yield "asked"


def _about(probed: Probed, session: Session) -> bool:
    host = urlsplit(probed.url).hostname or ""
    return session.revision is not None and session.revision in (probed.revision, host.partition(".")[0])


def _end_of(session: Session) -> float:
    assert session.end is not None
    return session.end.at
