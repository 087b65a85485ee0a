"""What weight 0 and cooldownPeriod do: no new calls, the last step to zero, and nothing where a replica is kept."""

from collections.abc import Iterator
from itertools import pairwise

from clients.evidence import Evidence
from clients.judging.check import Check, Named, listed, several
from clients.recorded import Act

THEME = "cooldownPeriod"
NO_NEW_CALLS = Named("cooldown.no_new_calls", THEME, "0")
ZERO = Named("cooldown.zero", THEME, "after cooldownPeriod")
NO_EFFECT = Named("cooldown.no_effect", THEME, "never to zero")
CLOCK_S = 0.1
"""The time between the end of a call and the line that records it."""


def no_new_calls(evidence: Evidence) -> Check:
    spans = list(_at_zero(evidence))
    if not spans:
        return NO_NEW_CALLS.unknown("No revision's weight became 0.")
    late, elsewhere = [], 0
    for revision, since, in_force, until in spans:
        came = [each for each in evidence.to_app if in_force <= each.begun and each.opened < until]
        late += [
            f"call {each.call} on {revision} {each.begun - since:.1f} s later"
            for each in came
            if each.revision == revision
        ]
        elsewhere += sum(each.revision != revision for each in came)
    if late:
        return NO_NEW_CALLS(
            False, str(len(late)), f"{several(len(late), 'call')} came to a revision at weight 0: {listed(late)}."
        )
    revisions = listed(sorted({revision for revision, _, _, _ in spans}))
    if not elsewhere:
        return NO_NEW_CALLS("inconclusive", "0", f"No call came at all once the weight of {revisions} was 0.")
    sentence = f"Once the weight of {revisions} was 0, {several(elsewhere, 'new call')} went elsewhere and none there."
    return NO_NEW_CALLS(True, "0", sentence)


def zero(evidence: Evidence) -> Check:
    """Any call is activity, whoever sent it to whichever address."""
    scaled = [act for act in _to_zero(evidence) if _least(evidence, act) == 0]
    if not scaled:
        return ZERO.unknown("Nothing scaled to zero.")
    waits = []
    for act in scaled:
        app = _scale(evidence, act)
        cooldown_s = app["cooldown_s"] if app else None
        last = _last_activity(evidence, act["revision"], act.at)
        if cooldown_s is not None and last is not None:
            waits.append((act.at - last - cooldown_s, act.at - last, cooldown_s, act["revision"]))
    if not waits:
        return ZERO.unknown("The record does not say when the last call before the scaling to zero ended.")
    over_s, waited_s, cooldown_s, revision = min(waits)
    measured, expected = f"{waited_s:.1f} s", f">= {cooldown_s:g} s"
    if waited_s <= 0:
        return ZERO(False, measured, f"{revision} scaled to zero while a call was up.", expected)
    when = f"{revision} scaled to zero {waited_s:.1f} s after its last call"
    if over_s < -CLOCK_S:
        return ZERO(False, measured, f"{when}, before the cooldownPeriod of {cooldown_s:g} s was over.", expected)
    return ZERO(True, measured, f"{when}, as the cooldownPeriod of {cooldown_s:g} s has it.", expected)


def no_effect(evidence: Evidence) -> Check:
    """Put to the test only by a revision that was quiet for longer than cooldownPeriod."""
    kept = [act for act in evidence.acts_of("app.updated") if act["min_replicas"]]
    if not kept:
        return NO_EFFECT.unknown("No app with minReplicas of 1 or more in the record.")
    wrong = [act for act in _to_zero(evidence) if _least(evidence, act)]
    if wrong:
        names = listed(sorted({str(act["revision"]) for act in wrong}))
        return NO_EFFECT(False, f"{len(wrong)} to zero", f"{names} scaled to zero although minReplicas is 1 or more.")
    quiet_s, revision, cooldown_s = max(_longest_quiet(evidence), default=(0.0, "any", kept[-1]["cooldown_s"]))
    measured = f"never, {quiet_s:.0f} s quiet"
    if cooldown_s is None or quiet_s <= cooldown_s:
        sentence = f"Nothing scaled to zero; nothing was quiet for the {cooldown_s or 0:g} s of cooldownPeriod either."
        return NO_EFFECT("inconclusive", measured, sentence)
    sentence = (
        f"{revision} kept its replicas through {quiet_s:.0f} s without a call; cooldownPeriod is {cooldown_s:g} s."
    )
    return NO_EFFECT(True, measured, sentence)


def _at_zero(evidence: Evidence) -> Iterator[tuple[str, float, float, float]]:
    """Revision, since when, from when on that held everywhere, until when it got weight again."""
    for index, (before, after) in enumerate(pairwise(evidence.windows), start=1):
        for revision in before.weights.keys() - after.weights.keys():
            again = (each.start for each in evidence.windows[index + 1 :] if revision in each.weights)
            yield revision, after.start, evidence.in_force(after), next(again, float("inf"))


def _to_zero(evidence: Evidence) -> Iterator[Act]:
    """By scaling: a revision that was deactivated, or whose stage stopped, loses its replicas another way."""
    for act in evidence.acts_of("revision.scaled"):
        active = [each for each in evidence.acts_of("revision.activated", "revision.deactivated") if each.at <= act.at]
        mine = [each.name for each in active if each["revision"] == act["revision"]]
        stopped = any(each.at <= act.at for each in evidence.acts_of("stage.stopped"))
        if (
            act["replicas_to"] == 0
            and mine[-1:] != ["revision.deactivated"]
            and act["reason"] != "deactivated"
            and not stopped
        ):
            yield act


def _least(evidence: Evidence, act: Act) -> int | None:
    app = _scale(evidence, act)
    return app["min_replicas"] if app else None


def _scale(evidence: Evidence, act: Act) -> Act | None:
    """What the app was like when the act's revision was made: scale settings are a revision's own."""
    made = [each.at for each in evidence.acts_of("revision.created") if each["revision"] == act["revision"]]
    return evidence.app_at(made[0] if made else act.at)


def _last_activity(evidence: Evidence, revision: str, before: float) -> float | None:
    """The end of the last call, or else when it became ready. ``before`` itself while a call is up."""
    spans = [each for each in _busy(evidence, revision) if each[0] < before]
    ready = [act.at for act in evidence.acts_of("revision.ready") if act["revision"] == revision and act.at < before]
    return max([min(until, before) for _, until in spans] + ready, default=None)


def _busy(evidence: Evidence, revision: str) -> Iterator[tuple[float, float]]:
    """When a call was up on it, as harness and relay saw it."""
    for session in evidence.sessions:
        if session.revision == revision:
            yield session.opened, session.end.at if session.end else evidence.ended
    for logged in evidence.logged.values():
        if logged.revision == revision and logged.connected and logged.closed:
            yield logged.connected, logged.closed


def _longest_quiet(evidence: Evidence) -> Iterator[tuple[float, str, float | None]]:
    """Of each revision that keeps a replica, between ready and deactivated; with its cooldownPeriod."""
    for act in evidence.acts_of("revision.ready"):
        revision, scale = act["revision"], _scale(evidence, act)
        if not scale or not scale["min_replicas"]:
            continue
        ends = [
            each.at
            for each in evidence.acts_of("revision.deactivated", "stage.stopped")
            if each["revision"] in (revision, None) and each.at > act.at
        ]
        end = min(ends, default=evidence.ended)
        quiet_from, longest = act.at, 0.0
        for start, until in sorted([*_busy(evidence, revision), (end, end)]):
            longest = max(longest, min(start, end) - quiet_from)
            quiet_from = max(quiet_from, until)
        yield longest, revision, scale["cooldown_s"]
