"""What the record can prove at all: holds over the whole shift, whole logs, exits that were seen, clocks that agree.

None of these fails a release: without the proof a check is inconclusive, and says what is missing.
"""

from clients.clocks import WRITING_S
from clients.evidence import Evidence
from clients.judging.check import Check, Named, listed, several
from clients.recorded import STAGE_STOPPING, Session, utc

THEME = "evidence"
HOLD = Named("evidence.hold", THEME, "calls all the time")
LOG = Named("evidence.log", THEME, "every session")
EXITS = Named("evidence.exits", THEME, "each one seen")
CLOCK = Named("evidence.clock", THEME, f"off by less than {WRITING_S:g} s, or corrected")
PAUSE_S = 5.0
"""Between two calls of a place; a longer time without any call was not observed."""
AFTER_S = 2.0
"""Calls have to go on for so long after the last replica has left, to show that they can."""
LAST_LINES_S = 2.0
"""What happened so shortly before the end of the record may not be in a log yet."""
UNSTEADY_S = 2.0
"""A clock that is off by now more, now less than this was set, or runs at another speed."""
WIDE_S = 5.0
"""Events that hold the platform's clock only between so distant limits do not measure it."""


def hold(evidence: Evidence) -> Check:
    """By the calls through the app's address: the plan of a hold says little of one that was interrupted."""
    span = _shift(evidence)
    if span is None:
        return HOLD.unknown("No weights changed in this record, so there is no shift for a hold to cover.")
    start, end = span
    unseen = _unwatched(sorted(evidence.to_app, key=lambda session: session.opened), start, end + AFTER_S, evidence)
    if unseen is None:
        sentence = (
            f"Calls were held all the {end - start:.0f} s of the shift, from before it to {AFTER_S:g} s after it."
        )
        return HOLD(True, f"{end - start:.0f} s", sentence)
    since, until = unseen
    sentence = (
        f"Nobody held a call for {until - since:.0f} s of the shift, from {utc(since)}: it lasted from {utc(start)} to "
        f"{utc(end)}, and calls have to go on for {AFTER_S:g} s after it."
    )
    return HOLD("inconclusive", f"{until - since:.0f} s unseen", sentence)


def log(evidence: Evidence) -> Check:
    if not evidence.log_ends:
        return LOG.unknown("The record has no log of a relay.")
    if not evidence.sessions:
        return LOG.unknown("No call ever had a session.")
    unlogged = [each for each in evidence.sessions if (each.id or "") not in evidence.logged]
    late = evidence.ended - LAST_LINES_S
    logged_sessions = [(each, evidence.logged[each.id]) for each in evidence.sessions if each.id in evidence.logged]
    unended = [each for each, logged in logged_sessions if each.end and each.end.at < late and logged.closed is None]
    measured = f"{len(evidence.sessions) - len(unlogged)} of {len(evidence.sessions)}"
    if unlogged or unended:
        parts = [f"lacks {several(len(unlogged), 'session')}{_where(unlogged)}"] if unlogged else []
        parts += [f"has no end of {several(len(unended), 'session')}{_where(unended)}"] if unended else []
        return LOG("inconclusive", measured, f"The log of the relays {' and '.join(parts)}.")
    return LOG(True, measured, f"The log of the relays has all of {several(len(evidence.sessions), 'session')}.")


def exits(evidence: Evidence) -> Check:
    stops = [stop for stop in evidence.stops if stop.reason != STAGE_STOPPING]
    if not stops:
        return EXITS.unknown("No replica was asked to stop.")
    unseen = [stop.replica for stop in stops if not stop.exited]
    measured = f"{len(stops) - len(unseen)} of {len(stops)}"
    if unseen:
        return EXITS("inconclusive", measured, f"Nobody saw the exit of {listed(unseen)}, after SIGTERM.")
    return EXITS(True, measured, f"The exit of each replica that was asked to stop was seen, {len(stops)} in all.")


def clock(evidence: Evidence) -> Check:
    """Corrected before anything else is judged; this says by how much."""
    if not evidence.log_ends and not evidence.acts:
        return CLOCK.unknown("Only the hold's own clock is in this record.")
    if not evidence.clocks:
        return CLOCK.unknown("No session is in both the hold's record and a relay's log, so no clock was measured.")
    unsteady = [name for name, each in evidence.clocks.items() if each.most_s - each.least_s > UNSTEADY_S]
    platform = evidence.platform_clock
    worst = max((abs(each.off_s) for each in evidence.clocks.values()), default=0.0)
    worst = max(worst, abs(platform.off_s) if platform else 0.0)
    measured = f"{worst:.1f} s"
    if unsteady:
        apart = max(each.most_s - each.least_s for each in evidence.clocks.values())
        sentence = (
            f"The clock of {listed(unsteady)} differed from the hold's by {apart:.1f} s more at one time than another."
        )
        return CLOCK("inconclusive", measured, sentence)
    if evidence.acts and (platform is None or platform.most_s - platform.least_s > WIDE_S):
        sentence = "The platform's clock could not be measured: no start or stop of a replica is in a log, too."
        return CLOCK("inconclusive", measured, sentence)
    clocks = {"the platform's": platform} if platform else {}
    clocks |= {f"that of {replica}": each for replica, each in evidence.clocks.items()}
    off = [f"{name} {_words(each.off_s)}" for name, each in clocks.items() if abs(each.off_s) >= WRITING_S]
    if off:
        sentence = f"By the hold's clock these were off: {listed(off)}. All their times are corrected by that."
        return CLOCK(True, measured, sentence)
    who = "relays and platform" if evidence.acts else "relays"
    return CLOCK(True, measured, f"The clocks of {who} agree with the hold's.")


def _words(off_s: float) -> str:
    return f"{abs(off_s):.1f} s {'ahead' if off_s > 0 else 'behind'}"


def _where(sessions: list[Session]) -> str:
    return f" on {listed(sorted({str(session.replica) for session in sessions}))}"


def _shift(evidence: Evidence) -> tuple[float, float] | None:
    """From the first change of weights to the exit of the last replica that had to go, or its deactivation."""
    if len(evidence.windows) < 2:
        return None
    start = evidence.windows[1].start
    ends = [stop.exited or stop.killed or stop.began for stop in evidence.stops if stop.reason != STAGE_STOPPING]
    ends += [act.at for act in evidence.acts_of("revision.deactivated")]
    return start, max([start, evidence.windows[-1].start, *(at for at in ends if at > start)])


def _unwatched(sessions: list[Session], start: float, end: float, evidence: Evidence) -> tuple[float, float] | None:
    """The longest time between the two in which there was no call, if it is too long."""
    gaps, seen = [], start
    for session in sessions:
        if session.opened > seen:
            gaps.append((min(session.opened, end) - seen, seen, min(session.opened, end)))
        seen = max(seen, session.end.at if session.end else evidence.ended)
        if seen >= end:
            break
    if seen < end:
        gaps.append((end - seen + PAUSE_S, seen, end))  # whatever its length: the end was not observed
    longest = max(gaps, default=(0.0, start, start))
    return longest[1:] if longest[0] > PAUSE_S else None
