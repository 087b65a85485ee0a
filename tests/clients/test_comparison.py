"""Samples compared by tests that know how few there are: noise is not called slow, and what is slow is found."""

import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from clients.chance import ALPHA, fisher, higher, rank_sum, would_show
from clients.summary import spread
from tests.clients.lines import GREEN, Lines, judged

Draw = Callable[[random.Random], float]
ALLOWED_MS = 500.0


def steady(chance: random.Random) -> float:
    return chance.gauss(400, 40)


def noisy(chance: random.Random) -> float:
    """Now and then an answer takes seconds."""
    return 300 + chance.expovariate(1 / 600)


def found(draw_new: Draw, draw_old: Draw, count: int, seed: int) -> bool:
    chance = random.Random(seed)
    new, old = ([draw(chance) for _ in range(count)] for draw in (draw_new, draw_old))
    limit = spread(old)["p95"]
    assert limit is not None
    return higher(new, old, limit, ALLOWED_MS) is not None


def by_percentiles(draw_new: Draw, draw_old: Draw, count: int, seed: int) -> bool:
    """The rule without a test, which this one is better than."""
    chance = random.Random(seed)
    now, then = (spread([draw(chance) for _ in range(count)])["p95"] for draw in (draw_new, draw_old))
    assert now is not None
    assert then is not None
    return now > then + ALLOWED_MS


def test_a_release_as_before_on_a_noisy_model_is_not_called_slow() -> None:
    runs = 400
    assert sum(found(noisy, noisy, 24, seed) for seed in range(runs)) <= runs * ALPHA
    assert sum(by_percentiles(noisy, noisy, 24, seed) for seed in range(runs)) > runs / 10


@pytest.mark.parametrize("draw", [steady, noisy])
@pytest.mark.parametrize("count", [12, 24])
def test_a_release_that_is_slower_than_is_allowed_is_found(draw: Draw, count: int) -> None:
    slower = 2500.0 if draw is noisy else 1500.0
    assert all(found(lambda chance: draw(chance) + slower, draw, count, seed) for seed in range(50))


def test_a_release_of_which_a_third_of_the_answers_is_far_too_late_is_found() -> None:
    def stuck(chance: random.Random) -> float:
        return steady(chance) + (4000 if chance.random() < 1 / 3 else 0)

    assert sum(found(stuck, steady, 40, seed) for seed in range(100)) >= 95


@pytest.mark.parametrize(
    ("table", "probability"),
    [
        ((5, 5, 0, 5), 1 / 252),
        ((3, 5, 0, 30), 10 / 6545),
        ((0, 5, 3, 5), 1.0),
        ((1, 8, 1, 8), 0.766667),
        ((8, 8, 8, 8), 1),
    ],
)
def test_fisher_counts_all_ways(table: tuple[int, int, int, int], probability: float) -> None:
    assert fisher(*table) == pytest.approx(probability, rel=1e-5)


def test_ranks_know_ties_and_come_near_to_all_ways() -> None:
    assert rank_sum([1.0] * 9, [1.0] * 9) == 1
    assert rank_sum([1.0, 2.0] * 8, [1.0, 2.0] * 8) == pytest.approx(0.5, abs=0.02)
    chance = random.Random(5)
    new, old = ([chance.gauss(middle, 1) for _ in range(10)] for middle in (0.6, 0))
    wins = sum(a > b for a in new for b in old)
    both = [*new, *old]
    ways = 0
    for _ in range(4000):
        chance.shuffle(both)
        ways += sum(a > b for a in both[:10] for b in both[10:]) >= wins
    assert rank_sum(new, old) == pytest.approx(ways / 4000, abs=0.03)


def test_how_much_more_would_show_is_what_does() -> None:
    chance = random.Random(2)
    new, old = ([noisy(chance) for _ in range(24)] for _ in range(2))
    limit = spread(old)["p95"]
    assert limit is not None
    more = would_show(new, old, limit, ALLOWED_MS)

    assert higher([each + more for each in new], old, limit, ALLOWED_MS) is not None
    assert higher([each + more - 2 for each in new], old, limit, ALLOWED_MS) is None
    assert not math.isclose(more, 0)


def test_a_verdict_says_by_how_much_more_a_release_would_have_failed(tmp_path: Path) -> None:
    lines, chance = Lines(), random.Random(4)
    lines.weights(-1, blue=100)
    lines.hold(kinds=["vad"])
    lines.opened(0, 1, kind="vad")
    for index in range(24):
        lines.placed_turn(1 + index, 1, first_audio_ms=noisy(chance))
    lines.weights(30, blue=50, green=50)
    lines.opened(32, 2, GREEN, kind="vad")
    for index in range(23):
        lines.placed_turn(33 + index, 2, first_audio_ms=noisy(chance))
    lines.placed_turn(60, 2, first_audio_ms=9000.0)
    lines.placed_turn(61, 2, first_audio_ms=9000.0)

    check = judged(lines, tmp_path)["quality.first_audio"]

    assert check.status == "pass"
    assert "(25 values), which so few may be by chance; before " in check.sentence
    assert f" ms more on {GREEN}." in check.sentence


@pytest.mark.parametrize(
    ("before", "during", "status"), [(0, 3, "pass"), (0, 7, "fail"), (3, 7, "pass"), (3, 16, "fail")]
)
def test_turns_that_a_noisy_model_fails_are_held_against_how_many_it_failed_before(
    tmp_path: Path, before: int, during: int, status: str
) -> None:
    lines = Lines()
    lines.weights(-1, blue=100)
    lines.hold(kinds=["vad"])
    lines.opened(0, 1, kind="vad")
    for index in range(24):
        lines.placed_turn(1 + index, 1, "failed" if index < before else "completed")
    lines.weights(30, blue=50, green=50)
    lines.opened(32, 2, GREEN, kind="vad")
    for index in range(24):
        lines.placed_turn(33 + index, 2, "failed" if index < during else "completed")

    check = judged(lines, tmp_path)["quality.turns"]

    assert (check.status, "would be too many" in check.sentence) == (status, status == "pass"), check.sentence
