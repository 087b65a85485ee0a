"""Who was cut and why, who was moved, who was not let in, who should not have been; and whether pings keep calls alive.

The harness knows how a socket ended, the relay which side ended the session, the platform what became of the replica
and which timeouts lie on the way. For a cause they are joined by session, by replica and by time.
"""

from collections.abc import Iterator, Sequence
from itertools import chain

from clients.evidence import RETURN_S, Evidence, away_s
from clients.judging.check import ALWAYS, Check, Named, capital, grouped, listed, several, shift_of
from clients.recorded import MOVED_CODE, End, Knocked, Logged, Session, utc

CUT = Named("survival.cut", "survival", "0")
MOVED = Named("survival.moved", "survival", "each back")
REFUSED = Named("survival.refused", "survival", "0")
KEYS = Named("admission.keys", "admission", "401 each")
HEARTBEAT_LATER_S = 5.0
"""A ping waits for the end of a frame, and a busy machine is late; a heartbeat longer by this is another heartbeat."""
LONGEST_UNPINGED_S = 60.0
"""With nothing to compare with: the shortest idle timeout that is usual on the way (nginx: proxy_read_timeout)."""
HEARTBEAT = Named("quality.heartbeat", "quality", f"pings as often as before, but for {HEARTBEAT_LATER_S:g} s")
LET_IN, TURNED_AWAY = 101, 401
SHOWN = {"none": "without a key", "wrong": "with a wrong key"}
EndedSession = tuple[Session, End]
VANISHED = 1006
RELAY_SAYS_VANISHED = "upstream went away"
INGRESS_IDLE_S = 240.0
"""Azure's default, where the record does not say."""
NEAR_S = 1.5
"""A kill and the end of its sockets are recorded by two processes, and a busy machine delays one of them."""
NEAR_SHARE = 0.03
"""A timeout counts from a frame that only the hop saw: off by a ping's or a turn's last frame."""
TURNS = {
    "speaking": "while the caller spoke",
    "answering": "before the answer was done",
    "waiting": "while the model waited for the caller",
}


def cut(evidence: Evidence) -> Check:
    """A hold hangs up on every call before it ends; where it was killed, the record has no end of its calls."""
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
    return CUT(False, str(len(cuts)), f"{capital(causes)}.")


def moved(evidence: Evidence) -> Check:
    """Each by a replica that was asked to stop, once for each stop, and back soon."""
    sessions = [session for session in evidence.sessions if session.sent_away]
    if not sessions:
        return MOVED.unknown("No relay asked a caller to come back.")
    gaps = [1000 * away for each in sessions if (away := away_s(each, _next_of(each, evidence))) is not None]
    measured = f"{len(gaps)} of {len(sessions)} back" + (f", worst gap {max(gaps):.0f} ms" if gaps else "")
    wrong = [session for session in sessions if session.cut]
    if wrong:
        first = wrong[0]
        causes = grouped(cause_of(session, evidence) for session in wrong)
        sentence = f"{capital(causes)}; the first of them call {first.call} at {utc(_end_of(first))}."
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


def keys(evidence: Evidence) -> Check:
    """Both kinds have to be tried at each address. What is neither 101 nor 401 says nothing of keys."""
    knocks = evidence.knocks
    if not knocks:
        return KEYS.unknown("Nobody dialled without a key or with a wrong one.")
    let_in = [
        f"{_where(each)} {SHOWN.get(each.credential, each.credential)}" for each in knocks if each.status == LET_IN
    ]
    turned_away = sum(each.status == TURNED_AWAY for each in knocks)
    measured = f"{turned_away} of {len(knocks)}"
    if let_in:
        names = listed(list(dict.fromkeys(let_in)))
        return KEYS(False, measured, f"{several(len(let_in), 'dial')} got in without a right to: {names}.")
    otherwise = [f"{_where(each)} answered {each.status or each.code}" for each in knocks if each.status != TURNED_AWAY]
    if otherwise:
        sentence = f"{several(len(otherwise), 'dial')} got another answer than 401, which says nothing of keys"
        return KEYS("inconclusive", measured, f"{sentence}: {listed(otherwise)}.")
    tried = {(each.url, each.credential) for each in knocks}
    untried = [
        f"{url} {SHOWN[name]}" for url in {each.url for each in knocks} for name in SHOWN if (url, name) not in tried
    ]
    if untried:
        return KEYS("inconclusive", measured, f"Nobody dialled {listed(sorted(untried))}.")
    return KEYS(True, measured, f"Each of {several(len(knocks), 'dial')} without a key or with a wrong one got 401.")


def _where(knocked: Knocked) -> str:
    return knocked.revision or knocked.url


def heartbeat(evidence: Evidence, baseline: Evidence | None = None) -> Check:
    """What keeps a call in which nobody speaks through every idle timeout on the way.

    The calls of a hold ping by themselves, or talk, and are kept by that. So a relay that no longer pings cuts none of
    them, but in production every caller who listens for some minutes. A new revision whose calls were all shorter than
    its heartbeat may be leaves it open.
    """
    old, new = _ended_before_and_during(evidence, baseline)
    pauses = [end.longest_unpinged_s or 0.0 for _, end in old if end.pings_heard]
    pinged_before = {str(session.revision) for session, end in old if end.pings_heard}
    allowed_s = max(pauses) + HEARTBEAT_LATER_S if pauses else LONGEST_UNPINGED_S
    failed, unseen, passed = [], [], []
    for revision in dict.fromkeys(str(session.revision) for session, _ in new):
        ends = [end for session, end in new if session.revision == revision]
        longest_s = max(end.longest_unpinged_s or 0.0 for end in ends)
        worst = f"{longest_s:.0f} s on {revision}"
        if longest_s > allowed_s:
            failed.append(worst)
        elif any(end.pings_heard for end in ends):
            passed.append(worst)
        elif revision not in pinged_before:
            unseen.append(f"{several(len(ends), 'call')} of at most {worst}")
    limit = f"at most {max(pauses):.0f} s before" if pauses else f"{LONGEST_UNPINGED_S:g} s are allowed"
    if failed:
        times = f"Calls went without a ping of their relay for {listed(failed)}; {limit}."
        return HEARTBEAT(False, listed(failed), f"{times} Idle timeouts would end them.")
    if unseen:
        return HEARTBEAT("inconclusive", "-", f"No call was long enough to hear a ping: {listed(unseen)}.")
    if not passed:
        return HEARTBEAT.unknown("The record does not say how often calls were pinged.")
    sentence = f"The longest time without a ping of the relay was {listed(passed)}; {limit}."
    return HEARTBEAT(True, listed(passed), sentence)


def _ended_before_and_during(
    evidence: Evidence, baseline: Evidence | None
) -> tuple[list[EndedSession], list[EndedSession]]:
    """Calls on a revision that is only tried before the shift belong to it."""
    start, _ = shift_of(evidence, baseline) or ALWAYS
    known = {session.revision for session in evidence.to_app if session.opened < start}
    old: list[EndedSession] = []
    new: list[EndedSession] = []
    for each in _ended(evidence.sessions):
        (old if each[0].opened < start and each[0].revision in known else new).append(each)
    return (_ended(baseline.sessions), new) if baseline else (old, new)


def _ended(sessions: Sequence[Session]) -> list[EndedSession]:
    """Of relays only: what answers without one may not ping at all. Records of older holds do not say."""
    ended = [(each, each.end) for each in sessions if each.end and each.revision is not None]
    return [(session, end) for session, end in ended if end.longest_unpinged_s is not None]


def cause_of(session: Session, evidence: Evidence) -> str:
    """Why a session was cut, as the end of a sentence that begins with "3 calls": the first cause that fits."""
    end = session.end
    assert end is not None
    logged = evidence.logged.get(session.id or "")
    causes = chain(
        _a_move_that_is_none(session, end, evidence),
        _the_replica(session, end, evidence),
        _the_model(session, end, logged),
        _a_timeout(session, end, evidence),
        _the_relay(end, logged),
        _the_way(session, end, logged, evidence),
    )
    return next(causes, f"ended {end.code}{_quoted(end)}, {_turn(end)}")


def _a_move_that_is_none(session: Session, end: End, evidence: Evidence) -> Iterator[str]:
    """1012 between two turns that counts as a cut."""
    if not session.sent_away:
        return
    match session.asked:
        case "unasked":
            yield f"ended {end.code} between turns on replica {session.replica}, which nobody had asked to stop"
        case "again":
            yield f"ended {end.code} between turns for a second time on replica {session.replica}, at one SIGTERM"
        case "away":
            later = (each for each in evidence.calls[session.place] if each.opened > session.opened)
            waited_s = away_s(session, next(later, None))
            after = "did not come back" if waited_s is None else f"came back only after {waited_s:.0f} s"
            yield f"ended {end.code} between turns on replica {session.replica} and {after} (at most {RETURN_S:g} s)"


def _the_replica(session: Session, end: End, evidence: Evidence) -> Iterator[str]:
    for stop in evidence.stops:
        if stop.replica == session.replica and stop.killed and abs(stop.killed - end.at) < NEAR_S:
            after = (
                "without SIGTERM" if stop.killed == stop.began else f"{stop.killed - stop.began:.0f} s after SIGTERM"
            )
            yield f"ended {end.code} when replica {stop.replica} was killed {after} ({stop.reason})"
    for exit_ in evidence.acts_of("replica.exited"):
        if exit_["replica"] == session.replica and exit_["after_s"] is None and abs(exit_.at - end.at) < NEAR_S:
            yield f"ended {end.code} when replica {session.replica} exited by itself with code {exit_['code']}"


def _the_model(session: Session, end: End, logged: Logged | None) -> Iterator[str]:
    """The model's leg is 1006 too where the caller vanished inside a frame, as no Close could be sent within it."""
    error = logged.upstream_error if logged else None
    by_model = logged if logged and logged.ended_by == "upstream" else None
    if error == "session_expired" or (end.code == 1001 and "maximum duration" in end.reason):
        yield f"ended {end.code}: the model's session reached its 60 minutes"
    elif end.reason == RELAY_SAYS_VANISHED or (by_model and by_model.upstream_code == VANISHED):
        yield f"ended {end.code} on revision {session.revision}: the model vanished"
    elif by_model:
        why = f" ({error})" if error else _quoted(end)
        yield f"ended {end.code} on revision {by_model.revision}: the model closed with {by_model.upstream_code}{why}"


def _a_timeout(session: Session, end: End, evidence: Evidence) -> Iterator[str]:
    """A hop cuts what is silent for its timeout; harness lines show when something flowed last."""
    if end.code != VANISHED:
        return
    silent_s = end.at - _last_flow(session, end, evidence)
    for timeout_s, name in _timeouts(session, evidence):
        if abs(silent_s - timeout_s) <= max(NEAR_S, NEAR_SHARE * timeout_s):
            yield f"ended {end.code} at {timeout_s:g} s without a frame: that is {name}"


def _timeouts(session: Session, evidence: Evidence) -> Iterator[tuple[float, str]]:
    stage = next(iter(evidence.acts_of("stage.started")), None)
    if stage and not session.to_revision:
        yield float(stage["gateway_request_timeout_s"]), "the gateway's request timeout"
        if stage["gateway_idle_timeout_s"] < stage["ingress_idle_timeout_s"]:
            yield float(stage["gateway_idle_timeout_s"]), "the idle timeout of the gateway's public IP"
    idle_s = stage["ingress_idle_timeout_s"] if stage else None
    yield float(idle_s or INGRESS_IDLE_S), "the ingress's idle timeout"


def _last_flow(session: Session, end: End, evidence: Evidence) -> float:
    """A turn that was cut ended with the socket, not with a frame."""
    turns = (turn.at for turn in evidence.turns.get(session.place, ()) if turn.status != "cut")
    pongs = (pong.at for pong in evidence.pongs.get(session.place, ()) if pong.rtt_ms is not None)
    return max((at for at in chain(turns, pongs) if session.opened < at < end.at), default=session.opened)


def _the_relay(end: End, logged: Logged | None) -> Iterator[str]:
    if logged and logged.ended_by == "drain":
        yield f"ended {end.code} {_turn(end)} when {logged.revision} drained"
    elif logged and logged.ended_by in ("limit", "heartbeat", "error"):
        yield f"ended {end.code}{_quoted(end)} by the relay ({logged.ended_by}) on {logged.revision}, {_turn(end)}"
    elif end.code == 1012:
        yield f"ended 1012{_quoted(end)} {_turn(end)}"


def _the_way(session: Session, end: End, logged: Logged | None, evidence: Evidence) -> Iterator[str]:
    if end.code != VANISHED:
        return
    how = f": {end.reason}" if end.reason else " without a Close"
    if logged and logged.ended_by == "client":
        yield f"ended 1006{how}: something between caller and relay cut the connection, the relay lost it too"
    elif logged and logged.closed is None:
        yield f"ended 1006{how}: replica {logged.replica} logged no end, so it was killed or lost"
    elif not logged and any(each.replica == session.replica for each in evidence.logged.values()):
        yield f"ended 1006{how}: replica {session.replica} has no line about this session"
    else:
        yield f"ended 1006{how}: no other line of the record tells why"


def _quoted(end: End) -> str:
    """As Python quotes: a reason may hold anything."""
    return f" {end.reason!r}" if end.reason else ""


def _turn(end: End) -> str:
    return TURNS.get(end.turn, "between turns")
