"""Who was cut, who was moved, who was not let in."""

from clients.evidence import Evidence
from clients.facts import Session, utc
from clients.judging.causes import cause_of
from clients.judging.check import Check, Named, grouped, several

CUT = Named("survival.cut", "survival", "0")
MOVED = Named("survival.moved", "survival", "each back")
REFUSED = Named("survival.refused", "survival", "0")
RETURN_S = 10.0
"""A call that is not back by then stays away: its pauses between attempts grow to 5 s at most."""


def cut(evidence: Evidence) -> Check:
    """A hold hangs up on every call before it ends; where it was killed, nobody saw what became of those it held."""
    sessions = evidence.sessions
    if not sessions:
        return CUT.unknown("No call ever had a session.")
    cuts = [session for session in sessions if session.cut]
    unseen = sum(session.end is None for session in sessions)
    if not cuts and unseen:
        return CUT(
            "inconclusive",
            "0",
            f"None of {several(len(sessions), 'session')} was seen cut, but the record has no end of {unseen}.",
        )
    if not cuts:
        return CUT(True, "0", f"None of {several(len(sessions), 'session')} was cut.")
    causes = grouped(cause_of(session, evidence) for session in cuts)
    return CUT(False, str(len(cuts)), f"{causes[0].upper()}{causes[1:]}.")


def moved(evidence: Evidence) -> Check:
    sessions = [session for session in evidence.sessions if session.moved]
    if not sessions:
        return MOVED.unknown("No relay asked a caller to come back.")
    gaps: list[float] = []
    lost: list[Session] = []
    unjudged = 0
    for session in sessions:
        back = _next_of(session, evidence)
        if back is not None:
            gaps.append(1000 * (back.opened - _end_of(session)) if back.gap_ms is None else back.gap_ms)
        elif _had_time_to_return(session, evidence):
            lost.append(session)
        else:
            unjudged += 1
    measured = f"{len(gaps)} of {len(sessions)} back" + (f", worst gap {max(gaps):.0f} ms" if gaps else "")
    if lost:
        first = lost[0]
        sentence = (
            f"{several(len(lost), 'call')} did not come back, the first of them call {first.call}, "
            f"which {first.replica} closed at {utc(_end_of(first))}."
        )
        return MOVED(False, measured, sentence)
    if not gaps:
        return MOVED("inconclusive", measured, f"{several(unjudged, 'call')} asked to come back had no chance to.")
    rest = f" The hold ended before {unjudged} could." if unjudged else ""
    return MOVED(
        True,
        measured,
        f"{several(len(gaps), 'call')} moved between two turns; each came back within {max(gaps):.0f} ms.{rest}",
    )


def refused(evidence: Evidence) -> Check:
    refusals = evidence.refusals
    if not refusals:
        if not evidence.sessions:
            return REFUSED.unknown("Nobody dialled.")
        return REFUSED(True, "0", f"Every one of {several(len(evidence.sessions), 'dial')} got a session.")
    causes = grouped(f"refused {each.answer} ({each.message})" for each in refusals)
    return REFUSED(False, str(len(refusals)), f"At a dial, {causes}.")


def _next_of(session: Session, evidence: Evidence) -> Session | None:
    later = (each for each in evidence.calls[session.place] if each.opened > session.opened)
    return next(later, None)


def _had_time_to_return(session: Session, evidence: Evidence) -> bool:
    hold = evidence.holds.get(session.hold)
    until = (hold.ended if hold else None) or evidence.ended
    return bool(hold and hold.reconnects) and until - _end_of(session) > RETURN_S


def _end_of(session: Session) -> float:
    assert session.end is not None
    return session.end.at
