"""Why a session was cut, as the end of a sentence that begins with "3 calls": the first that fits.

The harness knows how a socket ended, the relay which side ended the session, the platform what became of the replica
and which timeouts lie on the way. They are joined by session, by replica and by time.
"""

from collections.abc import Iterator
from itertools import chain

from clients.evidence import Evidence
from clients.facts import End, Logged, Session
from clients.moves import RETURN_S, away_s

VANISHED = 1006
RELAY_SAYS_VANISHED = "upstream went away"
INGRESS_IDLE_S = 240.0
"""Azure's default, where the record does not say."""
NEAR_S = 1.5
"""A kill and the end of its sockets are told by two processes, a busy machine apart."""
NEAR_SHARE = 0.03
"""A timeout counts from a frame that only the hop saw: off by a ping's or a turn's last frame."""
TURNS = {
    "speaking": "while the caller spoke",
    "answering": "before the answer was done",
    "waiting": "while the model waited for the caller",
}


def cause_of(session: Session, evidence: Evidence) -> str:
    end = session.end
    assert end is not None
    logged = evidence.logged.get(session.id or "")
    found = chain(
        _a_move_that_is_none(session, end, evidence),
        _the_replica(session, end, evidence),
        _the_model(session, end, logged),
        _a_timeout(session, end, evidence),
        _the_relay(end, logged),
        _the_way(session, end, logged, evidence),
    )
    return next(found, f"ended {end.code}{_quoted(end)}, {_turn(end)}")


def _a_move_that_is_none(session: Session, end: End, evidence: Evidence) -> Iterator[str]:
    """1012 between two turns which the caller has to count as a cut."""
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
                "without SIGTERM" if stop.killed == stop.asked else f"{stop.killed - stop.asked:.0f} s after SIGTERM"
            )
            yield f"ended {end.code} when replica {stop.replica} was killed {after} ({stop.reason})"
    for exit_ in evidence.acts_of("replica.exited"):
        if exit_["replica"] == session.replica and exit_["after_s"] is None and abs(exit_.at - end.at) < NEAR_S:
            yield f"ended {end.code} when replica {session.replica} exited by itself with code {exit_['code']}"


def _the_model(session: Session, end: End, logged: Logged | None) -> Iterator[str]:
    """Its leg is 1006 too where the caller vanished inside a frame: a Close would have stood in it."""
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
