"""Where calls landed: one place by two accounts, and the same place again after a reconnect."""

from collections.abc import Iterator
from itertools import pairwise

from clients.evidence import PROPAGATION_S, Evidence
from clients.facts import Session
from clients.judging.check import Check, Named, listed, several

ONE_PLACE = Named("placement.one_place", "placement", "0 elsewhere")
RECONNECTS = Named("affinity.reconnects", "session affinity", "all on the same replica")


def one_place(evidence: Evidence) -> Check:
    """A session that its relay's log lacks is no contradiction: logs of a cloud may be a tail."""
    if not evidence.logged:
        return ONE_PLACE.unknown("The record has no relay lines to compare with.")
    seen = [(each, evidence.logged[each.id]) for each in evidence.sessions if each.id in evidence.logged]
    if not seen:
        return ONE_PLACE.unknown("The relay lines tell of none of these sessions.")
    apart = [
        f"session {session.id}: {session.replica} in its 101, {logged.replica} in the log"
        for session, logged in seen
        if (session.revision, session.replica) != (logged.revision, logged.replica)
    ]
    if apart:
        return ONE_PLACE(
            False, f"{len(apart)} elsewhere", f"{several(len(apart), 'session')} in two places: {listed(apart)}."
        )
    missing = len(evidence.sessions) - len(seen)
    rest = f"; {missing} more are not in the relay lines" if missing else ""
    return ONE_PLACE(
        True,
        "0 elsewhere",
        f"{several(len(seen), 'session')} landed where the 101 and the relay's log both say{rest}.",
    )


def reconnects(evidence: Evidence) -> Check:
    """Only a replica that could have had the call back is held to it."""
    pairs = list(_pairs(evidence))
    modes = {(act["mode"], act["affinity"]) for act in evidence.acts_of("app.updated")}
    if not modes:
        return RECONNECTS.unknown("The record does not say whether the app has session affinity.")
    if not any(mode == "Single" for mode, _ in modes):
        return RECONNECTS.unknown(
            "Azure offers session affinity in Single revision mode only, and this app is in Multiple."
        )
    if ("Single", "sticky") not in modes:
        return RECONNECTS.unknown("Session affinity is off.")
    if not pairs:
        return RECONNECTS.unknown("No call came back while its replica was ready and session affinity was on.")
    apart = [
        f"call {before.call} from {before.replica} to {after.replica}"
        for before, after in pairs
        if not _same(before, after)
    ]
    measured = f"{len(pairs) - len(apart)} of {len(pairs)}"
    if apart:
        return RECONNECTS(False, measured, f"{several(len(apart), 'reconnect')} left a ready replica: {listed(apart)}.")
    back = several(len(pairs), "call that came back", "calls that came back")
    return RECONNECTS(True, measured, f"{back} landed on the replica that had them before.")


def _pairs(evidence: Evidence) -> Iterator[tuple[Session, Session]]:
    for sessions in evidence.calls.values():
        for before, after in pairwise(sessions):
            app = evidence.app_at(after.begun - PROPAGATION_S)
            sticky = app is not None and (app["mode"], app["affinity"]) == ("Single", "sticky")
            if sticky and not before.to_revision and _could_have_it_back(before, after, evidence):
                yield before, after


def _could_have_it_back(before: Session, after: Session, evidence: Evidence) -> bool:
    """Ready all the time until the call was back, on a revision that new calls still went to."""
    said = [act for act in evidence.acts if act["replica"] == before.replica and act.at <= after.opened]
    ready = [act.name for act in said if act.name in ("replica.ready", "replica.unready")]
    gone = any(act.name in ("replica.sigterm", "replica.sigkill", "replica.exited") for act in said)
    at = after.begun - PROPAGATION_S
    weights = [window.weights for window in evidence.windows if window.start <= after.opened and window.end > at]
    return not gone and ready[-1:] == ["replica.ready"] and all(before.revision in each for each in weights)


def _same(before: Session, after: Session) -> bool:
    return before.replica == after.replica
