"""How often a relay pings its callers: what keeps a call in which nobody speaks through every idle timeout on the way.

A call that pings by itself, or talks, is kept by that; the calls of a hold do both. So a relay that pings no longer
cuts nobody here, and in production every caller who listens for some minutes.
"""

from collections.abc import Sequence

from clients.evidence import Evidence
from clients.facts import End, Session
from clients.judging.check import Check, Named, listed, several
from clients.judging.quality import ALWAYS, shift_of

LATER_S = 5.0
"""A ping waits for the end of a frame, and a busy machine is late; a heartbeat longer by this is another heartbeat."""
LONGEST_S = 60.0
"""With nothing to compare with: the shortest idle timeout that is usual on the way (nginx: proxy_read_timeout)."""
CHECK = Named("quality.heartbeat", "quality", f"pings as often as before, but for {LATER_S:g} s")


def check(evidence: Evidence, baseline: Evidence | None = None) -> Check:
    """By revision; a new one whose calls were all shorter than its heartbeat may be leaves it open."""
    old, new = _before_and_during(evidence, baseline)
    pauses = [end.longest_unpinged_s or 0.0 for _, end in old if end.pings_heard]
    pinged_before = {str(session.revision) for session, end in old if end.pings_heard}
    allowed_s = max(pauses) + LATER_S if pauses else LONGEST_S
    failed, unseen, passed = [], [], []
    for revision in dict.fromkeys(str(session.revision) for session, _ in new):
        ends = [end for session, end in new if session.revision == revision]
        worst = f"{max(end.longest_unpinged_s or 0.0 for end in ends):.0f} s on {revision}"
        if any((end.longest_unpinged_s or 0.0) > allowed_s for end in ends):
            failed.append(worst)
        elif any(end.pings_heard for end in ends):
            passed.append(worst)
        elif revision not in pinged_before:
            unseen.append(f"{several(len(ends), 'call')} of at most {worst}")
    limit = f"at most {max(pauses):.0f} s before" if pauses else f"{LONGEST_S:g} s are allowed"
    if failed:
        said = f"Calls went without a ping of their relay for {listed(failed)}; {limit}. Idle timeouts would end them."
        return CHECK(False, listed(failed), said)
    if unseen:
        return CHECK("inconclusive", "-", f"No call was long enough to hear a ping: {listed(unseen)}.")
    if not passed:
        return CHECK.unknown("The record does not say how often calls were pinged.")
    return CHECK(True, listed(passed), f"The longest time without a ping of the relay was {listed(passed)}; {limit}.")


Ended = tuple[Session, End]


def _before_and_during(evidence: Evidence, baseline: Evidence | None) -> tuple[list[Ended], list[Ended]]:
    """Calls on a revision that is only tried before the shift belong to it."""
    start, _ = shift_of(evidence, baseline) or ALWAYS
    known = {session.revision for session in evidence.to_app if session.opened < start}
    old: list[Ended] = []
    new: list[Ended] = []
    for each in _ended(evidence.sessions):
        (old if each[0].opened < start and each[0].revision in known else new).append(each)
    return (_ended(baseline.sessions), new) if baseline else (old, new)


def _ended(sessions: Sequence[Session]) -> list[Ended]:
    """Of relays only: what answers without one may not ping at all. Records of older holds do not say."""
    found = [(each, each.end) for each in sessions if each.end and each.revision is not None]
    return [(session, end) for session, end in found if end.longest_unpinged_s is not None]
