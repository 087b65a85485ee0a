"""The exact two-sided binomial test, by the method of small probabilities."""

import math

SAME = 1 + 1e-9
"""Two outcomes equally likely count as equal although floats differ in the last digit."""


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
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(share) + (n - k) * math.log1p(-share))
