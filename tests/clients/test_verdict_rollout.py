"""What a caller heard, what became of the rollout, and the one sentence that answers for it all."""

from pathlib import Path

import pytest

from clients.judging import judge
from clients.judging.answer import verdict
from clients.reading import read
from tests.clients.lines import BLUE, GREEN, Lines, judged, rollout, ts


def heard(before_ms: float, during_ms: float, count: int = 20) -> Lines:
    lines = Lines()
    lines.weights(-1, blue=100)
    lines.hold()
    lines.opened(0, 1)
    for index in range(count):
        for at, value in ((1, before_ms), (21, during_ms)):
            lines.pong(at + index / 10, 1, value)
            lines.turn(at + index / 10, 1, first_audio_ms=value)
    lines.weights(20, blue=50, green=50)
    return lines


@pytest.mark.parametrize(
    ("during_ms", "rtt", "first_audio"), [(200, "pass", "pass"), (400, "fail", "pass"), (700, "fail", "fail")]
)
def test_quality_during_the_shift_is_held_against_before(
    tmp_path: Path, during_ms: float, rtt: str, first_audio: str
) -> None:
    checks = judged(heard(100, during_ms), tmp_path)

    assert (checks["quality.rtt"].status, checks["quality.first_audio"].status) == (rtt, first_audio)
    assert checks["quality.rtt"].measured == f"{BLUE} {during_ms} ms, before 100 ms"


def test_too_few_values_tell_nothing_about_quality(tmp_path: Path) -> None:
    assert judged(heard(100, 900, count=4), tmp_path)["quality.rtt"].status == "inconclusive"


def answered(before: int, during: int, status: str, count: int = 30) -> Lines:
    """``before`` and ``during`` of ``count`` turns each end with ``status``, the others completed."""
    lines = heard(100, 100, count=0)
    for index in range(count):
        for at, failed in ((1, before), (21, during)):
            lines.turn(at + index / 10, 1, status if index < failed else "completed")
    lines.closed(60, 1)
    return lines


@pytest.mark.parametrize(
    ("before", "during", "status", "found"),
    [
        (0, 30, "timeout", "fail"),
        (1, 15, "failed", "fail"),
        (0, 3, "timeout", "pass"),
        (30, 30, "failed", "pass"),
        (0, 30, "cut", "inconclusive"),
    ],
)
def test_turns_that_get_no_answer_are_held_against_before(
    tmp_path: Path, before: int, during: int, status: str, found: str
) -> None:
    assert judged(answered(before, during, status), tmp_path)["quality.turns"].status == found


def test_a_green_that_answers_nobody_is_noticed_although_it_cuts_nobody(tmp_path: Path) -> None:
    evidence = read([answered(1, 30, "timeout").write(tmp_path)])

    found = verdict(evidence, judge(evidence), {})

    assert (found["headline"], found["exit_code"]) == (
        "Nobody was cut (1 call), but 1 check failed: quality.turns.",
        1,
    )
    (turns,) = (row for row in found["checks"] if row["name"] == "quality.turns")
    assert turns["sentence"] == f"30 of 30 turns on {BLUE} were not completed, 1 of 30 before."


def test_without_a_shift_quality_needs_a_baseline(tmp_path: Path) -> None:
    now, before = heard(900, 900), heard(100, 100)
    now.platform = before.platform = []
    baseline = read([before.write(tmp_path / "before")])

    alone = judged(now, tmp_path / "now")["quality.rtt"]
    compared = judged(now, tmp_path / "now", baseline=baseline)["quality.rtt"]

    assert (alone.status, compared.status) == ("inconclusive", "fail")


def test_a_whole_rollout_passes_and_nobody_was_cut(tmp_path: Path) -> None:
    evidence = read([rollout(20).write(tmp_path)])
    checks = judge(evidence)

    found = verdict(evidence, checks, {})

    assert {check.name for check in checks if check.status == "fail"} == set()
    assert (found["outcome"], found["exit_code"]) == ("completed", 0)
    assert found["headline"] == (
        f"Nobody was cut: {found['counts']['calls']} calls, {found['counts']['moved']} moved between two turns "
        f"while {BLUE} made way for {GREEN} in 64 s."
    )
    assert found["counts"]["moved"] == found["counts"]["sessions"] - found["counts"]["calls"] > 0
    assert (found["blue"], found["green"]) == ([BLUE], [GREEN])


def test_cut_calls_are_what_the_headline_says_first(tmp_path: Path) -> None:
    evidence = read([rollout(20, cut=3).write(tmp_path)])

    found = verdict(evidence, judge(evidence), {})

    assert found["headline"].startswith(f"Noticed: 3 of {found['counts']['calls']} calls were cut while {BLUE}")
    assert found["exit_code"] == 1


def test_a_call_that_is_cut_again_and_again_is_one_call(tmp_path: Path) -> None:
    lines = Lines()
    lines.hold()
    for at, gap_ms in ((1, None), (11, 400.0), (21, 400.0)):
        lines.opened(at, 1, gap_ms=gap_ms)
        lines.closed(at + 9.6, 1, 1006)
    lines.opened(1, 2)
    lines.closed(40, 2)
    evidence = read([lines.write(tmp_path)])

    assert verdict(evidence, judge(evidence), {})["headline"] == "Noticed: 1 of 2 calls was cut 3 times in all."


def test_a_call_that_came_back_to_blue_counts_there_too(tmp_path: Path) -> None:
    lines = rolled_back()
    lines.opened(18.4, 2, BLUE, gap_ms=400.0)
    lines.closed(40, 2)
    evidence = read([lines.write(tmp_path)])

    assert verdict(evidence, judge(evidence), {})["headline"].endswith(f"1 cut, the 3 calls on {BLUE} untouched.")


def rolled_back(weight: int = 50, blue_code: int = 1000) -> Lines:
    lines = Lines()
    lines.hold()
    lines.weights(0, blue=100)
    lines.opened(1, 1, BLUE)
    lines.revision(5, GREEN)
    if weight:
        lines.weights(10, blue=100 - weight, green=weight)
    lines.opened(11.5, 2, GREEN)
    lines.closed(18, 2, 1011)
    lines.weights(19, blue=100, green=0)
    lines.revision(20, GREEN, "deactivated")
    lines.opened(30, 3, BLUE)
    lines.closed(40, 1, blue_code)
    lines.closed(40, 3)
    return lines


def test_weights_back_and_green_deactivated_is_rolled_back(tmp_path: Path) -> None:
    evidence = read([rolled_back().write(tmp_path)])
    checks = {check.name: check for check in judge(evidence)}

    found = verdict(evidence, list(checks.values()), {"rollback.outcome": "fail", "survival.cut": "fail"})

    assert (checks["rollback.outcome"].status, checks["rollback.outcome"].measured) == ("fail", "rolled back")
    assert checks["rollback.blue_untouched"].status == "pass"
    assert found["headline"] == f"Rolled back in 9 s: 3 calls, 1 cut, the 2 calls on {BLUE} untouched."


@pytest.mark.parametrize(("lines", "killed_at"), [(rollout(20), 80), (rolled_back(), 17)])
def test_a_hold_that_was_killed_proves_of_nobody_that_nobody_noticed(
    tmp_path: Path, lines: Lines, killed_at: float
) -> None:
    lines.harness = [line for line in lines.harness if line["ts"] < ts(killed_at)]
    evidence = read([lines.write(tmp_path)])
    checks = {check.name: check for check in judge(evidence)}

    found = verdict(evidence, list(checks.values()), {"survival.cut": "pass", "rollback.outcome": "fail"})

    assert checks["survival.cut"].status == checks["rollback.blue_untouched"].status == "inconclusive"
    assert "seen cut" in found["headline"]
    assert "but the record has no end of" in found["headline"]
    assert found["exit_code"] == 1


def test_blue_is_not_called_untouched_while_nobody_knows_whether_a_call_of_it_moved(tmp_path: Path) -> None:
    lines = rolled_back()
    lines.opened(31, 4, BLUE, logged=False)
    lines.closed(35, 4, 1012)
    lines.opened(35.3, 4, BLUE, gap_ms=300.0, logged=False)
    lines.closed(40, 4)
    lines.relay = []
    evidence = read([lines.write(tmp_path)])
    checks = {check.name: check for check in judge(evidence)}

    assert checks["rollback.blue_untouched"].status == "inconclusive"
    assert "the record does not say whether 1 moved" in verdict(evidence, list(checks.values()), {})["headline"]


def test_a_green_that_never_got_weight_is_rolled_back_too(tmp_path: Path) -> None:
    assert judged(rolled_back(weight=0), tmp_path)["rollback.outcome"].measured == "rolled back"


def test_a_cut_on_blue_is_not_untouched(tmp_path: Path) -> None:
    checks = judged(rolled_back(blue_code=1006), tmp_path)

    assert (checks["rollback.blue_untouched"].status, checks["rollback.blue_untouched"].measured) == ("fail", "1")


def test_blue_still_active_is_unfinished(tmp_path: Path) -> None:
    lines = rollout(5)
    lines.platform = [line for line in lines.platform if line["act"] != "revision.deactivated"]

    check = judged(lines, tmp_path)["rollback.outcome"]

    assert (check.status, check.measured) == ("fail", "unfinished")
    assert f"weights at {GREEN} 100 and {BLUE}, {GREEN} active" in check.sentence


def test_a_hold_that_never_got_in_is_no_success(tmp_path: Path) -> None:
    lines = Lines()
    lines.hold()
    lines.observe(1, "refused", call=1, status=502, code=None, message="The model is away.", retry_after_s=None)
    evidence = read([lines.write(tmp_path)])

    found = verdict(evidence, judge(evidence), {})

    assert (found["headline"], found["exit_code"]) == ("No call got through: 1 refused.", 1)


def test_a_record_without_a_rollout_is_inconclusive(tmp_path: Path) -> None:
    lines = Lines()
    lines.hold()
    lines.opened(1, 1)
    lines.weights(0, blue=100)

    checks = judged(lines, tmp_path)

    assert checks["rollback.outcome"].status == checks["rollback.blue_untouched"].status == "inconclusive"
