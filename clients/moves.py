"""Which 1012 between two turns moved a call, and which cut it.

A relay asks its callers to come back because its replica was asked to stop. The same code from a replica that goes on
is a cut, however politely it is put; so is a second one for the same call at one stop, and one after which the caller
was away for too long.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from urllib.parse import urlsplit

from clients.evidence import Evidence
from clients.facts import Asked, Probed, Session, Stop
from clients.stops import stops_of

RETURN_S = 6.0
"""A client waits for 5 s at most before it dials again, and a dial takes a second on a busy machine."""
ORDER_S = 1.0
"""What two processes write at the same time, a busy machine may order otherwise."""


def settled(evidence: Evidence) -> list[Session]:
    """The sessions, of each 1012 between two turns whether its replica had been asked to stop."""
    stops = [*stops_of(evidence.acts, evidence.deployed), *stops_of(evidence.logged_acts, evidence.deployed)]
    places: dict[tuple[str, int], list[Session]] = {}
    for session in evidence.sessions:
        places.setdefault(session.place, []).append(session)
    found = {id(old): new for each in places.values() for old, new in _of_a_place(each, stops, evidence)}
    return [found[id(session)] for session in evidence.sessions]


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
            times[call, stop.replica, stop.asked] += 1
            asked = "again" if times[call, stop.replica, stop.asked] > 1 else asked
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
    """The one under way when the session ended; the platform's account and the relay's are of one and the same."""
    at = _end_of(session)
    for stop in stops:
        gone = stop.exited or stop.killed or stop.asked + (stop.grace_s or 0.0)
        mine = stop.replica == session.replica and stop.killed != stop.asked
        if mine and stop.asked - ORDER_S <= at <= gone + ORDER_S:
            return stop
    return None


def _without_a_stop(session: Session, stops: list[Stop], evidence: Evidence) -> Asked:
    """The platform or the log would have said so; where the record has neither, a probe may have looked.

    A stop at another time is no proof while nobody knows how far the platform's clock is off.
    """
    told_by_platform = any(act["replica"] == session.replica for act in evidence.acts)
    stopped_at_some_time = any(stop.replica == session.replica for stop in stops)
    log_end = evidence.log_ends.get(session.replica or "", float("-inf"))
    if log_end >= _end_of(session) - ORDER_S:
        return "unasked"
    if told_by_platform and (evidence.platform_clock or not stopped_at_some_time):
        return "unasked"
    return next(_seen_afterwards(session, evidence), "unknown")


def _seen_afterwards(session: Session, evidence: Evidence) -> Iterator[Asked]:
    """What each later round of questions to the replica's revision proves, if anything.

    A replica that is listed and gives no answer may be gone or out of reach.
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
