"""Where calls landed: as the weights say, at one place by two accounts, and at the same place after a reconnect."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from clients.chance import likely
from clients.evidence import PROPAGATION_S, Evidence
from clients.judging.check import FEWEST, Check, Named, listed, several
from clients.recorded import Session

ONE_PLACE = Named("placement.one_place", "placement", "0 elsewhere")
RECONNECTS = Named("affinity.reconnects", "session affinity", "all on the same replica")
ROUTING = "multi-revision routing"
ALPHA = 0.001
"""A right share is called wrong once in a thousand checks."""


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
    """Only a replica that could have taken the call back is judged."""
    pairs = list(_returns(evidence))
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
        if before.replica != after.replica
    ]
    measured = f"{len(pairs) - len(apart)} of {len(pairs)}"
    if apart:
        return RECONNECTS(False, measured, f"{several(len(apart), 'reconnect')} left a ready replica: {listed(apart)}.")
    back = several(len(pairs), "call that came back", "calls that came back")
    return RECONNECTS(True, measured, f"{back} landed on the replica that had them before.")


def _returns(evidence: Evidence) -> Iterator[tuple[Session, Session]]:
    for sessions in evidence.calls.values():
        for before, after in pairwise(sessions):
            app = evidence.app_at(after.begun - PROPAGATION_S)
            sticky = app is not None and (app["mode"], app["affinity"]) == ("Single", "sticky")
            if sticky and not before.to_revision and _could_have_it_back(before, after, evidence):
                yield before, after


def _could_have_it_back(before: Session, after: Session, evidence: Evidence) -> bool:
    """Ready all the time until the call was back, on a revision that new calls still went to."""
    acts = [act for act in evidence.acts if act["replica"] == before.replica and act.at <= after.opened]
    ready = [act.name for act in acts if act.name in ("replica.ready", "replica.unready")]
    stopped = any(act.name in ("replica.sigterm", "replica.sigkill", "replica.exited") for act in acts)
    at = after.begun - PROPAGATION_S
    weights = [window.weights for window in evidence.windows if window.start <= after.opened and window.end > at]
    return not stopped and ready[-1:] == ["replica.ready"] and all(before.revision in each for each in weights)


def steps(evidence: Evidence, shares: Mapping[str, int] | None = None) -> list[Check]:
    """New calls against the weights in force when they came: a check for each setting of the weights.

    `shares` were in force all the time, whatever the timeline says, at whichever address the record is about.
    """
    if shares is not None:
        return [_judge(Named("routing.step-1", ROUTING, "-"), shares, evidence.sessions)]
    if not evidence.windows:
        return [Named("routing.step-1", ROUTING, "-").unknown("The record does not say which weights were set.")]
    checks = []
    for number, window in enumerate(evidence.windows, start=1):
        since = evidence.in_force(window)
        new = [each for each in evidence.to_app if since <= each.begun and each.opened < window.end]
        checks.append(_judge(Named(f"routing.step-{number}", ROUTING, "-"), window.weights, new))
    return checks


def _judge(check: Named, weights: Mapping[str, int], new: Sequence[Session]) -> Check:
    """With two revisions the last named is tested, for the other is what remains; with more, each."""
    total, n = sum(weights.values()), len(new)
    shares = {revision: weight / total for revision, weight in weights.items() if weight} if total else {}
    landed = Counter(each.revision or "unknown" for each in new)
    setting = " / ".join(f"{revision} {weight}" for revision, weight in weights.items())
    stray = {revision: count for revision, count in landed.items() if revision not in shares}
    if stray:
        where = " and ".join(f"{several(count, 'call')} on {revision}" for revision, count in stray.items())
        return check(False, f"{sum(stray.values())} of {n} astray", f"At {setting}: {where}, at weight 0.", "0 astray")
    if len(shares) < 2:
        only = next(iter(shares), "none")
        measured = f"{n} of {n} on {only}"
        few = "" if n >= FEWEST else ", too few to tell"
        sentence = (
            f"At {setting}: all of {several(n, 'new call')} landed there{few}." if n else f"At {setting}: no new call."
        )
        return check("inconclusive" if few else "pass", measured, sentence, "100 %")
    tested = list(shares) if len(shares) > 2 else list(shares)[-1:]
    spans = {revision: likely(n, shares[revision], ALPHA / len(tested)) for revision in tested}
    measured = ", ".join(
        f"{revision} {landed[revision]} of {n} ({_percent(landed[revision], n)})" for revision in tested
    )
    expected = ", ".join(
        f"{100 * shares[revision]:.3g} %, {span[0]} to {span[-1]} of {n}" for revision, span in spans.items()
    )
    if n < FEWEST or all(len(span) == n + 1 for span in spans.values()):
        return check("inconclusive", measured, f"At {setting}: {several(n, 'new call')} are too few to tell.", expected)
    unseen = [revision for revision in shares if not landed[revision]]
    if unseen and all(landed[revision] in span for revision, span in spans.items()):
        sentence = (
            f"At {setting}: none of {several(n, 'new call')} came to {listed(unseen)}, so nothing was seen of it."
        )
        return check("inconclusive", measured, sentence, expected)
    right = all(landed[revision] in span for revision, span in spans.items())
    verb = "as the weights say" if right else "which chance explains less than once in a thousand times"
    return check(right, measured, f"At {setting}: {measured}, {verb}.", expected)


def _percent(count: int, n: int) -> str:
    return f"{100 * count / n:.0f} %" if n else "-"
