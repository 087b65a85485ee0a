"""SIGTERM to exit, SIGKILL, and what became of the calls on a replica that was asked to stop."""

from collections import Counter
from collections.abc import Iterator, Mapping

from clients.evidence import Evidence
from clients.judging.check import Check, Named, listed, several
from clients.judging.survival import VANISHED
from clients.recorded import MOVED_CODE, STAGE_STOPPING, Session, Stop

THEME = "graceful termination"
GRACE = Named("termination.grace", THEME, "within the grace period")
NO_SIGKILL = Named("termination.no_sigkill", THEME, "0")
CODES = Named("termination.codes", THEME, f"{MOVED_CODE} or by themselves")
TURNS = Named("termination.turns", THEME, "0 in a turn")
NO_STOP = "No replica was asked to stop."
EXIT_S = 1.0
"""A process that is killed at the end of its grace period exits, and is recorded, a moment later."""


def grace(evidence: Evidence) -> Check:
    """By the grace period that was deployed. Where the record does not say which, longer than the default is open."""
    stops = [stop for stop in _stops(evidence) if stop.grace_s is not None]
    if not stops:
        return GRACE.unknown(NO_STOP)
    overdue = [stop for stop in stops if _overdue(stop, evidence)]
    late = [stop for stop in stops if stop.killed or (stop in overdue and not stop.grace_assumed)]
    took = {stop.replica: stop.exited - stop.began for stop in stops if stop.exited}
    grace_s = max(stop.grace_s or 0.0 for stop in stops)
    expected = f"<= {grace_s:g} s"
    longest = max(took.values(), default=0.0)
    measured = f"{longest:.1f} s" if took else "no exit"
    if late:
        names = listed([f"{stop.replica} ({stop.grace_s:g} s)" for stop in late])
        return GRACE(False, measured, f"{several(len(late), 'replica')} outlived the grace period: {names}.", expected)
    if vanished := _vanished(stops, evidence):
        return GRACE(False, measured, _of_vanished(vanished), expected)
    unseen = [stop.replica for stop in stops if not stop.exited]
    if unseen:
        sentence = f"The record ends before {listed(unseen)} did, after SIGTERM."
        return GRACE("inconclusive", measured, sentence, expected)
    if overdue:
        names = listed([stop.replica for stop in overdue])
        sentence = (
            f"{names} exited {longest:.1f} s after SIGTERM, and the record does not say which grace period it had: "
            f"{grace_s:g} s is the platform's default."
        )
        return GRACE("inconclusive", measured, sentence, expected)
    default = " by default" if any(stop.grace_assumed for stop in stops) else ""
    within = (
        f"The slowest of {several(len(took), 'replica')} exited {longest:.1f} s after SIGTERM, of {grace_s:g} s it had"
        f"{default}."
    )
    return GRACE(True, measured, within, expected)


def no_sigkill(evidence: Evidence) -> Check:
    """A kill that no line reports shows in the exit code, or in calls that ended with 1006 and have no end in a log."""
    stops = _stops(evidence)
    if not stops:
        return NO_SIGKILL.unknown(NO_STOP)
    killed = [f"{stop.replica} ({stop.reason})" for stop in stops if stop.killed]
    if killed:
        return NO_SIGKILL(
            False, str(len(killed)), f"{several(len(killed), 'replica')} had to be killed: {listed(killed)}."
        )
    if vanished := _vanished(stops, evidence):
        return NO_SIGKILL(False, str(len(vanished)), _of_vanished(vanished))
    unseen = [stop.replica for stop in stops if not stop.exited]
    if unseen:
        sentence = f"No kill is in the record, but nobody saw how {listed(unseen)} ended after SIGTERM."
        return NO_SIGKILL("inconclusive", "0", sentence)
    codes = sorted({str(stop.code) for stop in stops if stop.code is not None})
    exits = f" and exited with {listed(codes)}" if codes else ""
    return NO_SIGKILL(True, "0", f"{several(len(stops), 'replica')} left after SIGTERM{exits}; nothing was killed.")


def codes(evidence: Evidence) -> Check:
    stops = _stops(evidence)
    if not stops:
        return CODES.unknown(NO_STOP)
    caught = list(_caught(evidence))
    ended = [(session, stop) for session, stop in caught if session.end]
    wrong = [(session, stop) for session, stop in ended if not _goes_well(session, evidence)]
    moved = sum(bool(session.end and session.end.code == MOVED_CODE and session.end.early) for session, _ in ended)
    measured = f"{moved} x {MOVED_CODE}, {len(ended) - moved - len(wrong)} by themselves, {len(wrong)} otherwise"
    if wrong:
        ends = listed([f"call {s.call} {s.end.code} on {stop.replica}" for s, stop in wrong if s.end])
        return CODES(False, measured, f"{several(len(wrong), 'call')} on a stopping replica lost the socket: {ends}.")
    if untried := _untried(CODES, [stop for _, stop in ended], stops):
        return untried
    open_still = len(caught) - len(ended)
    rest = f" {several(open_still, 'call')} had no end in the record." if open_still else ""
    rest += _on_which([stop for _, stop in ended], stops)
    sentence = f"{several(len(caught), 'call')} on stopping replicas: {moved} closed with {MOVED_CODE}, none lost."
    return CODES(True, measured, sentence + rest)


def turns(evidence: Evidence) -> Check:
    stops = _stops(evidence)
    if not stops:
        return TURNS.unknown(NO_STOP)
    pairs = [(session, stop) for session, stop in _caught(evidence) if session.end]
    caught = [session for session, _ in pairs]
    closed = [
        session
        for session in caught
        if session.end and session.end.early and not _ended_by(session, evidence, "client", "upstream")
    ]
    broken = [words for session in closed if (words := _in_a_turn(session, evidence))]
    if broken:
        sentence = f"{several(len(broken), 'call')} closed in the middle of a turn: {listed(broken)}."
        return TURNS(False, f"{len(broken)} in a turn", sentence)
    if untried := _untried(TURNS, [stop for _, stop in pairs], stops):
        return untried
    hung_up = len(caught) - len(closed)
    rest = f"; {hung_up} more ended by themselves" if hung_up else ""
    sentence = f"{several(len(closed), 'call')} closed, none in the middle of a turn{rest}."
    return TURNS(True, "0 in a turn", sentence + _on_which([stop for _, stop in pairs], stops))


def _vanished(stops: list[Stop], evidence: Evidence) -> dict[str, int]:
    """Replicas without an exit in the record, and how many of their calls ended with 1006 and have no end in a log."""
    calls: Counter[str] = Counter()
    for session, stop in _caught(evidence):
        logged = evidence.logged.get(session.id or "")
        ended = logged is not None and logged.closed is not None
        if stop in stops and not stop.exited and session.end and session.end.code == VANISHED and not ended:
            calls[stop.replica] += 1
    return dict(calls)


def _of_vanished(vanished: Mapping[str, int]) -> str:
    calls = several(sum(vanished.values()), "call")
    return (
        f"{calls} ended with {VANISHED} after SIGTERM on {listed(sorted(vanished))}, of which there is no exit in the "
        f"record: it was killed or crashed."
    )


def _untried(check: Named, tried: list[Stop], stops: list[Stop]) -> Check | None:
    """A replica without a call has nothing to close, which proves nothing about the drain of its revision."""
    revisions = {stop.revision for stop in stops} - {stop.revision for stop in tried}
    if not revisions:
        return None
    names = listed(sorted(revisions))
    empty = sum(stop.revision in revisions for stop in stops)
    measured = f"{len({stop.replica for stop in tried})} replicas tried"
    sentence = f"{several(empty, 'replica')} of {names} had no call left at SIGTERM, so the drain was not tried."
    return check("inconclusive", measured, sentence)


def _on_which(tried: list[Stop], stops: list[Stop]) -> str:
    """Which replicas had no call, where some had none."""
    names = {stop.replica for stop in tried}
    empty = sorted({stop.replica for stop in stops} - names)
    return f" {listed(empty)} had no call." if empty else ""


def _stops(evidence: Evidence) -> list[Stop]:
    return [stop for stop in evidence.stops if stop.reason != STAGE_STOPPING]


def _overdue(stop: Stop, evidence: Evidence) -> bool:
    last = max([evidence.ended, *(act.at for act in evidence.acts[-1:])])
    return (stop.exited or last) - stop.began > (stop.grace_s or 0.0) + EXIT_S


def _caught(evidence: Evidence) -> Iterator[tuple[Session, Stop]]:
    """Sessions open at the SIGTERM of their replica, or let in after it."""
    for stop in _stops(evidence):
        for session in evidence.sessions:
            before_exit = stop.exited is None or session.opened < stop.exited
            if session.replica == stop.replica and before_exit and (not session.end or session.end.at > stop.began):
                yield session, stop


def _goes_well(session: Session, evidence: Evidence) -> bool:
    """Asked to come back, hung up by the caller, or ended by the model, which is not the replica's doing."""
    end = session.end
    assert end is not None
    return not end.early or end.code == MOVED_CODE or _ended_by(session, evidence, "upstream")


def _ended_by(session: Session, evidence: Evidence, *sides: str) -> bool:
    """Caller or model ended it while its replica was stopping, which is not the replica's doing."""
    logged = evidence.logged.get(session.id or "")
    return bool(logged and logged.ended_by in sides)


def _in_a_turn(session: Session, evidence: Evidence) -> str | None:
    """In words, None between two turns.

    The relay's log counts where the caller no longer waited for an answer, or got one without asking. It does not count
    where the relay learnt of speech only after its own Close, nor for what it still waits for when the caller had the
    whole answer.
    """
    end, logged = session.end, evidence.logged.get(session.id or "")
    assert end is not None
    mine = [turn for turn in evidence.turns.get(session.place, ()) if session.opened <= turn.at <= end.at + EXIT_S]
    satisfied = mine[-1].status == "completed" if mine else False
    by_relay = logged.turn if logged and logged.ended_by == "drain" and end.turn == "idle" else "quiet"
    by_relay = "quiet" if satisfied and by_relay != "responding" else by_relay
    if not end.in_a_turn and by_relay == "quiet":
        return None
    cut = [
        turn
        for turn in evidence.turns.get(session.place, ())
        if turn.status == "cut" and abs(turn.at - end.at) < EXIT_S
    ]
    if cut and cut[0].duration_ms is not None and cut[0].first_audio_ms is not None:
        lasted_s = (cut[0].duration_ms - cut[0].first_audio_ms) / 1000
        return f"call {session.call} ({lasted_s:.1f} s into an answer)"
    state = end.turn if end.in_a_turn else by_relay
    return f"call {session.call} ({state})"
