"""Where calls landed: against the relay's log, their last replica, and the weights."""

import math
import random
from pathlib import Path
from typing import Any

import pytest

from clients.chance import likely
from tests.clients.lines import BLUE, GREEN, Lines, judged, replica


def app(**settings: Any) -> Lines:
    lines = Lines()
    lines.app(-2, **settings)
    lines.weights(-2, blue=100)
    for number in (1, 2):
        lines.act(-1, "replica.ready", revision=BLUE, replica=replica(BLUE, number))
    lines.hold()
    return lines


def test_a_call_is_in_one_place_by_its_101_and_by_the_relays_log(tmp_path: Path) -> None:
    lines = app()
    lines.opened(1, 1)

    assert judged(lines, tmp_path)["placement.one_place"].status == "pass"


def test_a_call_in_two_places_fails(tmp_path: Path) -> None:
    lines = app()
    lines.opened(1, 1)
    lines.relay[0]["replica"] = replica(BLUE, 2)

    check = judged(lines, tmp_path)["placement.one_place"]

    assert (check.status, check.measured) == ("fail", "1 elsewhere")
    assert f"{replica(BLUE, 1)} in its 101, {replica(BLUE, 2)} in the log" in check.sentence


def test_without_relay_lines_placement_is_inconclusive(tmp_path: Path) -> None:
    lines = app()
    lines.opened(1, 1, logged=False)

    assert judged(lines, tmp_path)["placement.one_place"].status == "inconclusive"


def reconnect(lines: Lines, number: int, at: float = 20) -> None:
    lines.opened(1, 1, BLUE, 1)
    lines.closed(at - 1, 1)
    lines.opened(at, 1, BLUE, number)


STICKY = {"mode": "Single", "affinity": "sticky"}


@pytest.mark.parametrize(("number", "status", "measured"), [(1, "pass", "1 of 1"), (2, "fail", "0 of 1")])
def test_in_single_mode_a_call_comes_back_to_its_replica(
    tmp_path: Path, number: int, status: str, measured: str
) -> None:
    lines = app(**STICKY)
    reconnect(lines, number)

    check = judged(lines, tmp_path)["affinity.reconnects"]

    assert (check.status, check.measured, check.theme) == (status, measured, "session affinity")


@pytest.mark.parametrize("gone", ["replica.unready", "replica.sigterm", "weights"])
def test_a_replica_that_could_not_have_the_call_back_is_not_held_to_it(tmp_path: Path, gone: str) -> None:
    lines = app(**STICKY)
    if gone == "weights":
        lines.weights(10, green=100)
    else:
        lines.act(10, gone, revision=BLUE, replica=replica(BLUE), grace_s=30, reason="scaled in")
    reconnect(lines, 2)

    assert judged(lines, tmp_path)["affinity.reconnects"].status == "inconclusive"


def test_in_multiple_mode_affinity_is_inconclusive_and_says_why(tmp_path: Path) -> None:
    lines = app()
    reconnect(lines, 2)

    check = judged(lines, tmp_path)["affinity.reconnects"]

    assert check.status == "inconclusive"
    assert "Azure offers session affinity in Single revision mode only" in check.sentence


def arrive(lines: Lines, at: float, blue: int, green: int, **more: Any) -> None:
    for index in range(blue + green):
        lines.opened(at + index / 100, 100 + index, BLUE if index < blue else GREEN, **more)


@pytest.mark.parametrize(
    ("blue", "green", "status", "measured"),
    [
        (11, 12, "pass", "rtproxy--green 12 of 23 (52 %)"),
        (22, 1, "fail", "rtproxy--green 1 of 23 (4 %)"),
        (2, 2, "inconclusive", "rtproxy--green 2 of 4 (50 %)"),
    ],
)
def test_new_calls_are_held_against_the_weights(
    tmp_path: Path, blue: int, green: int, status: str, measured: str
) -> None:
    lines = app()
    lines.weights(10, blue=50, green=50)
    arrive(lines, 12, blue, green)

    checks = judged(lines, tmp_path)

    assert checks["routing.step-1"].status == "inconclusive", "no new call came before"
    assert (checks["routing.step-2"].status, checks["routing.step-2"].measured) == (status, measured)
    assert checks["routing.step-2"].theme == "multi-revision routing"


def test_what_was_expected_of_the_weights_is_said_in_calls(tmp_path: Path) -> None:
    lines = app()
    lines.weights(10, blue=50, green=50)
    arrive(lines, 12, 11, 12)

    assert judged(lines, tmp_path)["routing.step-2"].expected == "50 %, 4 to 19 of 23"


def test_a_stray_call_fails_at_weight_100(tmp_path: Path) -> None:
    lines = app()
    lines.weights(10, blue=0, green=100)
    arrive(lines, 12, 1, 30)

    check = judged(lines, tmp_path)["routing.step-2"]

    assert (check.status, check.measured) == ("fail", "1 of 31 astray")
    assert "1 call on rtproxy--blue, at weight 0" in check.sentence


def test_the_first_second_after_a_change_proves_nothing(tmp_path: Path) -> None:
    lines = app()
    lines.weights(10, blue=0, green=100)
    arrive(lines, 10.1, 5, 0)
    arrive(lines, 12, 0, 5)

    assert judged(lines, tmp_path)["routing.step-2"].status == "pass"


def test_calls_to_a_revisions_own_address_prove_no_routing(tmp_path: Path) -> None:
    lines = app()
    lines.hold(1, url="ws://rtproxy--green.stage.localhost:8081", hold="5308e000")
    arrive(lines, 2, 0, 6, hold="5308e000")
    arrive(lines, 3, 6, 0)

    assert judged(lines, tmp_path)["routing.step-1"].measured == "6 of 6 on rtproxy--blue"


def test_three_revisions_are_each_held_to_their_weight(tmp_path: Path) -> None:
    lines = app()
    lines.weights(10, blue=40, green=40, red=20)
    arrive(lines, 12, 30, 30)

    check = judged(lines, tmp_path)["routing.step-2"]

    assert (check.status, check.expected.count(" of 60")) == ("fail", 3), "none of 60 calls went to red"


def test_a_weight_set_again_is_no_new_step(tmp_path: Path) -> None:
    lines = app()
    lines.weights(5, blue=100, green=0)

    assert [name for name in judged(lines, tmp_path) if name.startswith("routing.")] == ["routing.step-1"]


def test_the_newest_revision_is_the_one_tested_however_the_weights_are_written(tmp_path: Path) -> None:
    lines = app()
    lines.weights(10, green=50, blue=50)
    arrive(lines, 12, 11, 12)

    assert judged(lines, tmp_path)["routing.step-2"].measured == "rtproxy--green 12 of 23 (52 %)"


def test_given_shares_stand_in_for_the_timeline(tmp_path: Path) -> None:
    lines = app()
    arrive(lines, 1, 12, 0)

    check = judged(lines, tmp_path, shares={BLUE: 50, GREEN: 50})["routing.step-1"]

    assert (check.status, check.expected) == ("fail", "50 %, 1 to 11 of 12")


@pytest.mark.parametrize(("n", "share"), [(12, 0.5), (23, 0.5), (40, 0.9), (7, 0.05), (3000, 0.1)])
def test_the_test_is_exact(n: int, share: float) -> None:
    span = likely(n, share, 0.001)

    def p_value(k: int) -> float:
        chances = [
            math.exp(math.log(math.comb(n, i)) + i * math.log(share) + (n - i) * math.log(1 - share))
            for i in range(n + 1)
        ]
        return sum(chance for chance in chances if chance <= chances[k] * (1 + 1e-7))

    assert p_value(span[0]) > 0.001
    assert p_value(span[-1]) > 0.001
    assert span[0] == 0 or p_value(span[0] - 1) <= 0.001
    assert span[-1] == n or p_value(span[-1] + 1) <= 0.001


def test_a_right_share_is_hardly_ever_called_wrong() -> None:
    chance = random.Random(1)
    span = likely(60, 0.5, 0.001)
    wrong = sum(sum(chance.random() < 0.5 for _ in range(60)) not in span for _ in range(3000))

    assert wrong <= 10


def landed(blue: int, green: int, **hold: str) -> Lines:
    lines = Lines()
    lines.hold(**hold)
    for call in range(blue + green):
        lines.opened(10, call, BLUE if call < blue else GREEN)
    return lines


@pytest.mark.parametrize(
    ("blue", "green", "status"), [(12, 0, "inconclusive"), (11, 1, "pass"), (44, 0, "inconclusive"), (132, 0, "fail")]
)
def test_a_revision_that_by_chance_got_no_call_was_not_seen(tmp_path: Path, blue: int, green: int, status: str) -> None:
    shares = {BLUE: 90, GREEN: 10}

    check = judged(landed(blue, green), tmp_path, shares=shares)["routing.step-1"]

    assert check.status == status, check.sentence
    if status == "inconclusive":
        assert f"none of {blue} new calls came to {GREEN}, so nothing was seen of it" in check.sentence


@pytest.mark.parametrize(("blue", "green", "status"), [(0, 7, "pass"), (1, 6, "fail"), (7, 0, "fail")])
def test_calls_at_a_revisions_own_address_prove_that_they_met_it(
    tmp_path: Path, blue: int, green: int, status: str
) -> None:
    lines = landed(blue, green, url=f"ws://{GREEN}.stage.localhost/v1/realtime")

    check = judged(lines, tmp_path, shares={GREEN: 100})["routing.step-1"]

    assert check.status == status, check.sentence


@pytest.mark.parametrize(
    ("settled_at", "weights", "status"),
    [(None, {}, "fail"), (38.0, {BLUE: 0, GREEN: 100}, "pass"), (38.0, {BLUE: 50, GREEN: 50}, "fail")],
)
def test_new_calls_are_held_against_weights_from_when_they_were_seen_in_force(
    tmp_path: Path, settled_at: float | None, weights: dict[str, int], status: str
) -> None:
    lines = Lines()
    lines.weights(-1, blue=100)
    lines.hold()
    lines.weights(30, blue=0, green=100)
    for call in range(20):  # one part of the ingress is late
        lines.opened(33, call, BLUE if call % 2 else GREEN)
        lines.opened(40, 100 + call, GREEN)
    if settled_at is not None:
        about = {"url": "http://relay/healthz", "answers": {GREEN: 90}, "asked": 180, "waited_s": 7.9, "in_force": True}
        lines.observe(settled_at, "settled", shares=weights, **about)

    checks = judged(lines, tmp_path)

    assert checks["routing.step-2"].status == status, checks["routing.step-2"].sentence
    assert checks["cooldown.no_new_calls"].status == status
