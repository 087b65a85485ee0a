"""The median of paired ratios, its interval, and what "at most 1.02" means."""

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.beside.statistic import ENOUGH, LIMIT, SURE, coverage, interval, spread

RATIOS = st.lists(st.floats(0.5, 2.0), min_size=6, max_size=80)


def test_ten_known_ratios_have_known_figures() -> None:
    found = spread([1.09, 0.92, 1.01, 0.98, 1.00, 1.02, 0.95, 1.03, 1.05, 0.99])
    assert found is not None
    assert found.count == 10
    assert found.median == pytest.approx(1.005)
    assert (found.lower_quartile, found.upper_quartile) == pytest.approx((0.9825, 1.0275))
    # The table of every textbook: of 10, the second and the last but one, 97.9 %.
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == (0.95, 1.05)
    assert (found.interval.rank, round(found.interval.coverage, 4)) == (2, 0.9785)


@pytest.mark.parametrize(
    ("count", "rank"), [(6, 1), (8, 1), (9, 2), (20, 6), (30, 10), (40, 14), (50, 18), (60, 22), (100, 40)]
)
def test_the_ranks_are_those_of_the_tables(count: int, rank: int) -> None:
    found = interval([1 + i / 1000 for i in range(count)])
    assert found is not None
    assert found.rank == rank
    assert coverage(count, rank) >= SURE > coverage(count, rank + 1)


@pytest.mark.parametrize("count", range(6))
def test_five_ratios_have_no_interval(count: int) -> None:
    assert interval([1.0] * count) is None


@given(RATIOS)
def test_the_interval_has_the_median_in_it_and_is_of_measured_ratios(ratios: list[float]) -> None:
    found = spread(ratios)
    assert found is not None
    assert found.interval is not None
    assert found.interval.coverage >= SURE
    assert {found.interval.low, found.interval.high} <= set(ratios)
    assert found.interval.low <= found.median <= found.interval.high
    assert found.lower_quartile <= found.median <= found.upper_quartile


@given(RATIOS, st.randoms(use_true_random=False))
def test_the_order_of_the_windows_does_not_matter(ratios: list[float], order: random.Random) -> None:
    shuffled = ratios[:]
    order.shuffle(shuffled)
    assert spread(shuffled) == spread(ratios)


@given(st.lists(st.tuples(st.floats(5, 50), st.floats(5, 50)), min_size=6), st.integers(1, 5))
def test_a_machine_of_another_speed_has_the_same_ratios(costs: list[tuple[float, float]], doublings: int) -> None:
    slower = 2.0**doublings
    here = spread([ours / before for ours, before in costs])
    there = spread([(ours * slower) / (before * slower) for ours, before in costs])
    assert here == there


@given(RATIOS, st.floats(1.001, 1.5))
def test_a_relay_that_costs_more_in_each_window_has_every_figure_higher(ratios: list[float], by: float) -> None:
    now, worse = spread(ratios), spread([each * by for each in ratios])
    assert now is not None
    assert now.interval is not None
    assert worse is not None
    assert worse.interval is not None
    assert worse.median == pytest.approx(now.median * by)
    assert worse.interval.low == pytest.approx(now.interval.low * by)
    assert worse.interval.high == pytest.approx(now.interval.high * by)


def test_of_many_runs_at_least_95_in_100_have_the_true_median_in_their_interval() -> None:
    draw = random.Random(13)
    runs, covered = 2000, 0
    for _ in range(runs):
        # Skewed, as a busy machine is: the median of what is drawn is 1.01 all the same.
        found = interval([1.01 * draw.lognormvariate(0, 0.1) ** (1 if draw.random() < 0.5 else 3) for _ in range(30)])
        assert found is not None
        covered += found.low <= 1.01 <= found.high
    assert covered / runs > 0.94


def around(median: float, width: float, count: int = ENOUGH) -> list[float]:
    """Evenly spread, so that the median is what is asked for."""
    return [median + width * (2 * i / (count - 1) - 1) for i in range(count)]


@pytest.mark.parametrize(
    ("ratios", "held"),
    [
        (around(1.00, 0.01), ["the median is at most 1.02", "the interval contains 1.00"]),
        (around(0.90, 0.01), ["the median is at most 1.02"]),
        (around(1.015, 0.01), ["the median is at most 1.02"]),
        (around(1.04, 0.30), ["the interval contains 1.00"]),
        (around(1.04, 0.01), []),
        (around(1.0204, 0.01), []),
        (around(1.00, 0.01, ENOUGH - 1), []),
    ],
)
def test_at_most_holds_by_the_median_or_by_the_interval_and_says_by_which(ratios: list[float], held: list[str]) -> None:
    found = spread(ratios)
    assert found is not None
    assert statistics.median(ratios) == found.median
    assert found.held == held
    assert found.decided == (len(ratios) >= ENOUGH)
    assert LIMIT == 1.02
