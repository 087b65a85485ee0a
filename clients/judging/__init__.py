"""The named checks of a verdict, a theme or two a module; each gives what was measured, expected, and one sentence.

check        the form of all of them
survival     who was cut, moved or refused; `causes` says why
placement    where calls landed: as the relay logged it, and again after a reconnect
routing      new calls against the weights, by an exact test; `binomial` is that test
cooldown     what scaled to zero, and what came in at weight 0
termination  SIGTERM to exit, and the calls in between
quality      what a caller hears: before and during the shift
rollback     what became of the rollout
answer       all of it as one sentence, numbers and an exit code
"""

from collections.abc import Callable, Mapping, Sequence

from clients.evidence import Evidence
from clients.judging import cooldown, placement, quality, rollback, routing, survival, termination
from clients.judging.check import Check

CHECKS: tuple[tuple[str, Callable[[Evidence], Check]], ...] = (
    ("survival.cut", survival.cut),
    ("survival.moved", survival.moved),
    ("survival.refused", survival.refused),
    ("placement.one_place", placement.one_place),
    ("affinity.reconnects", placement.reconnects),
    ("cooldown.no_new_calls", cooldown.no_new_calls),
    ("cooldown.zero", cooldown.zero),
    ("cooldown.no_effect", cooldown.no_effect),
    ("termination.grace", termination.grace),
    ("termination.no_sigkill", termination.no_sigkill),
    ("termination.codes", termination.codes),
    ("termination.turns", termination.turns),
    ("rollback.outcome", rollback.outcome_check),
    ("rollback.blue_untouched", rollback.blue_untouched),
)
# Beside these: routing.step-1, -2, ... (one for each setting of the weights), quality.rtt, .first_audio and .turns.
GROUPS = ("survival", "placement", "affinity", "routing", "cooldown", "termination", "quality", "rollback")


def judge(evidence: Evidence, shares: Mapping[str, int] | None = None, baseline: Evidence | None = None) -> list[Check]:
    """Every check, in the order in which a reader asks. `shares` stands in for the weights of the timeline."""
    checks = [decide(evidence) for _, decide in CHECKS]
    checks += routing.steps(evidence, shares)
    checks += quality.all_three(evidence, baseline)
    order = {group: place for place, group in enumerate(GROUPS)}
    return sorted(checks, key=lambda check: order[check.name.partition(".")[0]])


def selected(checks: Sequence[Check], names: Sequence[str]) -> list[Check]:
    """Those named, a group's name standing for all of it."""
    return [check for check in checks if not names or check.name in names or check.name.partition(".")[0] in names]
