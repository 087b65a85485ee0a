"""New calls against the weights in force when they came: one check for each setting of the weights."""

from collections import Counter
from collections.abc import Mapping, Sequence

from clients.evidence import Evidence
from clients.facts import Session
from clients.judging.binomial import likely
from clients.judging.check import Check, Named, listed, several

THEME = "multi-revision routing"
ALPHA = 0.001
"""A right share is called wrong once in a thousand checks."""
TOO_FEW = 5


def steps(evidence: Evidence, shares: Mapping[str, int] | None = None) -> list[Check]:
    """`shares` were in force all the time, whatever the timeline says, at whichever address the record is about."""
    if shares is not None:
        return [_judge(Named("routing.step-1", THEME, "-"), shares, evidence.sessions)]
    if not evidence.windows:
        return [Named("routing.step-1", THEME, "-").unknown("The record does not say which weights were set.")]
    checks = []
    for number, window in enumerate(evidence.windows, start=1):
        since = evidence.in_force(window)
        new = [each for each in evidence.to_app if since <= each.begun and each.opened < window.end]
        checks.append(_judge(Named(f"routing.step-{number}", THEME, "-"), window.weights, new))
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
        few = "" if n >= TOO_FEW else ", too few to tell"
        said = (
            f"At {setting}: all of {several(n, 'new call')} landed there{few}." if n else f"At {setting}: no new call."
        )
        return check("inconclusive" if few else "pass", measured, said, "100 %")
    tested = list(shares) if len(shares) > 2 else list(shares)[-1:]
    spans = {revision: likely(n, shares[revision], ALPHA / len(tested)) for revision in tested}
    measured = ", ".join(
        f"{revision} {landed[revision]} of {n} ({_percent(landed[revision], n)})" for revision in tested
    )
    expected = ", ".join(
        f"{100 * shares[revision]:.3g} %, {span[0]} to {span[-1]} of {n}" for revision, span in spans.items()
    )
    if n < TOO_FEW or all(len(span) == n + 1 for span in spans.values()):
        return check("inconclusive", measured, f"At {setting}: {several(n, 'new call')} are too few to tell.", expected)
    unseen = [revision for revision in shares if not landed[revision]]
    if unseen and all(landed[revision] in span for revision, span in spans.items()):
        said = f"At {setting}: none of {several(n, 'new call')} came to {listed(unseen)}, so nothing was seen of it."
        return check("inconclusive", measured, said, expected)
    right = all(landed[revision] in span for revision, span in spans.items())
    verb = "as the weights say" if right else "which chance explains less than once in a thousand times"
    return check(right, measured, f"At {setting}: {measured}, {verb}.", expected)


def _percent(count: int, n: int) -> str:
    return f"{100 * count / n:.0f} %" if n else "-"
