"""The median of paired ratios, how sure it is, and what "at most 1.02" means.

The interval is the one of order statistics: of n ratios the k-th smallest and the k-th largest, with the largest k for
which the median of where they come from lies between them in at least 95 of 100 runs. It takes nothing for granted on
how the ratios are spread, so that a machine with outliers needs no other rule.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

LIMIT = 1.02
SURE = 0.95
ENOUGH = 30
"""Windows that must count before anything is decided: with few, the interval is so wide that it contains 1 always."""
COARSE = 0.10
"""An interval this wide is reported as wide: such a run cannot distinguish some percent from nothing."""


@dataclass(frozen=True, slots=True)
class Interval:
    """`rank` is k, counted from 1; `coverage` is how sure it is, at least 0.95."""

    low: float
    high: float
    rank: int
    coverage: float


@dataclass(frozen=True, slots=True)
class Spread:
    """What the ratios of one shape come to. Fewer than 6 have no interval."""

    count: int
    median: float
    lower_quartile: float
    upper_quartile: float
    interval: Interval | None

    @property
    def held(self) -> list[str]:
        """Which of the two rules of "at most 1.02" hold, as sentences; none: it costs more, or is not `decided`."""
        if not self.decided or self.interval is None:
            return []
        rules = [f"the median is at most {LIMIT}"] if self.median <= LIMIT else []
        return rules + (["the interval contains 1.00"] if self.interval.low <= 1 <= self.interval.high else [])

    @property
    def decided(self) -> bool:
        return self.count >= ENOUGH


def spread(ratios: Sequence[float]) -> Spread | None:
    """None of fewer than two ratios."""
    if len(ratios) < 2:
        return None
    lower, median, upper = statistics.quantiles(ratios, n=4, method="inclusive")
    return Spread(len(ratios), median, lower, upper, interval(ratios))


def interval(ratios: Sequence[float]) -> Interval | None:
    """The 95 % interval of the median; None of fewer than 6, of which not even the extremes are that far apart."""
    count = len(ratios)
    chosen = None
    for rank in range(1, (count + 1) // 2 + 1):
        if coverage(count, rank) < SURE:
            break
        chosen = rank
    if chosen is None:
        return None
    ordered = sorted(ratios)
    return Interval(ordered[chosen - 1], ordered[count - chosen], chosen, coverage(count, chosen))


def coverage(count: int, rank: int) -> float:
    """How sure it is that the ``rank``-th smallest and largest of ``count`` have the median between them.

    Each value is below the median as a coin falls, so that their number is binomial.
    """
    outside = 2 * sum(math.comb(count, below) for below in range(rank))
    return 1 - outside / (1 << count)
