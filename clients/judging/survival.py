"""Who was cut, who was moved, who was not let in."""

from clients.evidence import Evidence
from clients.facts import MOVED_CODE, Session, utc
from clients.judging.causes import cause_of
from clients.judging.check import Check, Named, grouped, listed, several
from clients.moves import away_s

CUT = Named("survival.cut", "survival", "0")
MOVED = Named("survival.moved", "survival", "each back")
REFUSED = Named("survival.refused", "survival", "0")


def cut(evidence: Evidence) -> Check:
    """A hold hangs up on every call before it ends; where it was killed, nobody saw what became of those it held."""
    sessions = evidence.sessions
    if not sessions:
        return CUT.unknown("No call ever had a session.")
    cuts = [session for session in sessions if session.cut]
    unseen = sum(session.end is None for session in sessions)
    unproven = sum(session.unproven for session in sessions)
    if not cuts and (unseen or unproven):
        open_still = f"the record has no end of {unseen}" if unseen else ""
        undecided = (
            f"{unproven} got {MOVED_CODE} from a replica of which the record does not say whether it was asked to stop"
            if unproven
            else ""
        )
        why = " and ".join(each for each in (open_still, undecided) if each)
        return CUT("inconclusive", "0", f"None of {several(len(sessions), 'session')} was seen cut, but {why}.")
    if not cuts:
        return CUT(True, "0", f"None of {several(len(sessions), 'session')} was cut.")
    causes = grouped(cause_of(session, evidence) for session in cuts)
    return CUT(False, str(len(cuts)), f"{causes[0].upper()}{causes[1:]}.")


def moved(evidence: Evidence) -> Check:
    """Each by a replica that had to go, once for each time that it had to, and back soon."""
    sessions = [session for session in evidence.sessions if session.sent_away]
    if not sessions:
        return MOVED.unknown("No relay asked a caller to come back.")
    gaps = [1000 * away for each in sessions if (away := away_s(each, _next_of(each, evidence))) is not None]
    measured = f"{len(gaps)} of {len(sessions)} back" + (f", worst gap {max(gaps):.0f} ms" if gaps else "")
    wrong = [session for session in sessions if session.cut]
    if wrong:
        first = wrong[0]
        causes = grouped(cause_of(session, evidence) for session in wrong)
        sentence = f"{causes[0].upper()}{causes[1:]}; the first of them call {first.call} at {utc(_end_of(first))}."
        return MOVED(False, measured, sentence)
    unproven = [session for session in sessions if session.unproven]
    if unproven:
        names = listed(sorted({str(session.replica) for session in unproven}))
        sentence = (
            f"{several(len(unproven), 'call')} got {MOVED_CODE} from {names}, and the record does not say whether that "
            f"had been asked to stop: it has no log, no act of the platform and no answer of the replica afterwards."
        )
        return MOVED("inconclusive", measured, sentence)
    unjudged = len(sessions) - len(gaps)
    if not gaps:
        return MOVED("inconclusive", measured, f"{several(unjudged, 'call')} asked to come back had no chance to.")
    rest = f" The hold ended before {unjudged} could." if unjudged else ""
    return MOVED(
        True,
        measured,
        f"{several(len(gaps), 'call')} moved between two turns, each by a replica that was asked to stop; "
        f"each came back within {max(gaps):.0f} ms.{rest}",
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


def _end_of(session: Session) -> float:
    assert session.end is not None
    return session.end.at
