"""What chance explains: counts by a share, and values that are higher than others were; how much higher would show.

Shares are judged by the exact two-sided binomial test, by the method of small probabilities. Values are judged by two
tests, because a release may be slow in two ways: Wilcoxon's rank sum finds that all of its values moved, Fisher's exact
test that some of them are far away. Neither is led by one slow value, as a percentile of twenty is.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

SAME = 1 + 1e-9
"""Two outcomes equally likely count as equal although floats differ in the last digit."""
ALPHA = 0.01
"""Values that are just as much higher as is allowed are called higher once in a hundred times at most."""
MOST = 600_000.0
"""More than any value can be."""


def likely(n: int, share: float, alpha: float) -> range:
    """The counts of ``n`` that a share of ``share`` explains: those whose p-value is above ``alpha``.

    The p-value of a count is the probability of everything at most as likely as it.
    """
    chances = [_chance(k, n, share) for k in range(n + 1)]
    fit = [k for k in range(n + 1) if sum(each for each in chances if each <= chances[k] * SAME) > alpha]
    return range(fit[0], fit[-1] + 1)


def at_least(k: int, n: int, share: float) -> float:
    """How probable ``k`` or more of ``n`` are."""
    return sum(_chance(each, n, share) for each in range(k, n + 1))


def _chance(k: int, n: int, share: float) -> float:
    """By logarithms: the coefficients of some thousand calls do not fit a float."""
    if share in (0.0, 1.0):
        return float(k == n * share)
    return math.exp(_ways(n, k) + k * math.log(share) + (n - k) * math.log1p(-share))


def higher(new: Sequence[float], old: Sequence[float], limit: float, allowed: float) -> float | None:
    """How probable such values are where they are as `old` but for `allowed`, if that is too little to believe.

    `limit` is what hardly any of the old ones were above; of the new ones hardly any may be above that and `allowed`.
    """
    above = limit + allowed
    tail = fisher(sum(each > above for each in new), len(new), sum(each > above for each in old), len(old))
    chance = min(tail, rank_sum([each - allowed for each in new], old))
    return 2 * chance if 2 * chance <= ALPHA else None


def would_show(new: Sequence[float], old: Sequence[float], limit: float, allowed: float) -> float:
    """By how much more each new value would have to be higher, so that `higher` says so."""
    least, most = 0.0, MOST
    while most - least > 1:
        middle = (least + most) / 2
        shown = higher([each + middle for each in new], old, limit, allowed) is not None
        least, most = (least, middle) if shown else (middle, most)
    return most


def fisher(k_new: int, n_new: int, k_old: int, n_old: int) -> float:
    """How probable it is that `k_new` or more of the `k_new + k_old` are among the new ones, if it is all the same."""
    marked, whole = k_new + k_old, n_new + n_old
    most = min(marked, n_new)
    ways = (_ways(marked, k) + _ways(whole - marked, n_new - k) for k in range(k_new, most + 1))
    return min(1.0, sum(math.exp(each - _ways(whole, n_new)) for each in ways))


def rank_sum(new: Sequence[float], old: Sequence[float]) -> float:
    """How probable it is that new values come so much higher among the old ones, if it is all the same.

    By the normal approximation, with ties; too high where both are few, and Fisher's test is exact there.
    """
    n, m = len(new), len(old)
    ordered = sorted(old)
    wins = sum((bisect_left(ordered, each) + bisect_right(ordered, each)) / 2 for each in new)
    everything = sorted([*new, *old])
    ties, at = 0.0, 0
    while at < len(everything):
        after = bisect_right(everything, everything[at], lo=at)
        ties += (after - at) ** 3 - (after - at)
        at = after
    whole = n + m
    variance = n * m / 12 * (whole + 1 - ties / (whole * (whole - 1)))
    if variance <= 0:
        return 1.0
    return math.erfc((wins - n * m / 2 - 0.5) / math.sqrt(2 * variance)) / 2


def _ways(n: int, k: int) -> float:
    """The logarithm of the number of ways to choose; minus infinity where there is none."""
    if not 0 <= k <= n:
        return -math.inf
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
