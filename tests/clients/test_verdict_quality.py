"""What callers wait for, judged by revision and by replica: turns, pings, dials, gaps; and when there is too little."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.clients.lines import BLUE, GREEN, Lines, judged, replica

SHIFT_AT = 30.0


def shifted(green: int = 10, blue: int = 30, **green_turns: Any) -> Lines:
    """Blue completes ``blue`` turns before the shift and as many during it, green ``green`` since, in one call each."""
    lines = Lines()
    lines.weights(-1, blue=100)
    lines.hold(kinds=["vad"])
    lines.opened(0, 1, BLUE, kind="vad")
    for index in range(blue):
        lines.placed_turn(1 + index / 20, 1)
        lines.placed_turn(SHIFT_AT + 1 + index / 20, 1)
    lines.weights(SHIFT_AT, blue=50, green=50)
    lines.opened(SHIFT_AT + 2, 2, GREEN, kind="vad")
    for index in range(green):
        lines.placed_turn(SHIFT_AT + 5 + index, 2, **green_turns)
    return lines


def test_each_revision_is_judged_by_itself(tmp_path: Path) -> None:
    # Pooled, 6 of 306 turns would be one in fifty.
    check = judged(shifted(green=6, blue=300, status="timeout"), tmp_path)["quality.turns"]

    assert check.status == "fail"
    assert check.sentence == f"6 of 6 turns on {GREEN} were not completed, 0 of 300 before."


@pytest.mark.parametrize("status", ["completed", "timeout"])
def test_a_new_revision_with_too_few_turns_is_not_judged(tmp_path: Path, status: str) -> None:
    checks = judged(shifted(green=4, status=status), tmp_path)

    assert checks["quality.turns"].status == "inconclusive"
    assert f"4 ended turns on {GREEN}, of 5 that it takes to judge it" in checks["quality.turns"].sentence


@pytest.mark.parametrize(("failed", "status"), [(2, "pass"), (3, "fail")])
def test_few_turns_are_enough_to_find_that_most_of_them_fail(tmp_path: Path, failed: int, status: str) -> None:
    lines = shifted(green=5 - failed)
    for index in range(failed):
        lines.placed_turn(SHIFT_AT + 20 + index, 2, "timeout")

    assert judged(lines, tmp_path)["quality.turns"].status == status


def test_a_revision_known_from_before_may_have_few_turns_during_the_shift(tmp_path: Path) -> None:
    lines = shifted()
    lines.harness = [
        line
        for line in lines.harness
        if line.get("revision") != BLUE or line["observation"] != "turn" or line["ts"] < "2026-09-01T12:00:31.150Z"
    ]

    assert judged(lines, tmp_path)["quality.turns"].status == "pass"


def test_green_is_judged_for_as_long_as_it_is_held_and_not_to_the_exit_of_blue(tmp_path: Path) -> None:
    lines = shifted()
    lines.stop(SHIFT_AT + 20, BLUE)
    for index in range(10):
        lines.placed_turn(SHIFT_AT + 40 + index, 2, "timeout")

    assert judged(lines, tmp_path)["quality.turns"].status == "fail"


@pytest.mark.parametrize(("status", "found"), [("completed", "pass"), ("timeout", "fail")])
def test_a_revision_that_the_101_does_not_name_is_judged_like_any_other(
    tmp_path: Path, status: str, found: str
) -> None:
    lines = shifted(status=status)
    lines.act(SHIFT_AT, "replica.ready", revision=GREEN, replica=replica(GREEN))
    for line in lines.harness:
        line |= {"revision": None, "replica": None} if line.get("revision") == GREEN else {}

    check = judged(lines, tmp_path)["quality.turns"]

    assert (check.status, "turns on an unknown revision were" in check.sentence) == (found, True), check.sentence


def test_one_bad_replica_of_a_revision_is_found(tmp_path: Path) -> None:
    lines = shifted(green=60)
    lines.opened(SHIFT_AT + 3, 3, GREEN, 2, kind="vad")
    for index in range(6):
        lines.placed_turn(SHIFT_AT + 5 + index, 3, "failed" if index else "completed")

    check = judged(lines, tmp_path)["quality.turns"]

    assert check.status == "fail"
    assert f"5 of 6 turns on {replica(GREEN, 2)} were not completed" in check.sentence


@pytest.mark.parametrize(
    ("sessions", "stopped", "status"), [(12, False, "inconclusive"), (11, False, "pass"), (12, True, "pass")]
)
def test_a_replica_that_took_no_turn_of_many_calls_was_not_judged(
    tmp_path: Path, sessions: int, stopped: bool, status: str
) -> None:
    lines = shifted(green=20)
    for number in (1, 2):
        about = {"revision": GREEN, "replica": replica(GREEN, number)}
        lines.act(SHIFT_AT - 5, "replica.started", **about)
        lines.act(SHIFT_AT - 3, "replica.ready", **about)
    for call in range(1, sessions):
        lines.opened(SHIFT_AT + 3, 10 + call, GREEN, kind="vad")
    if stopped:
        lines.stop(SHIFT_AT + 20, GREEN, 2)

    check = judged(lines, tmp_path)["quality.turns"]

    assert (check.status, replica(GREEN, 2) in check.sentence) == (status, status != "pass"), check.sentence


def test_turns_of_a_throttled_deployment_are_counted_apart(tmp_path: Path) -> None:
    lines = shifted(green=10)
    for index in range(10):
        lines.placed_turn(SHIFT_AT + 20 + index, 2, "failed", code="inference_rate_limit_exceeded")

    check = judged(lines, tmp_path)["quality.turns"]

    assert check.status == "pass"
    assert "10 turns failed because the deployment was throttled" in check.sentence
    assert "not the release's fault" in check.sentence


@pytest.mark.parametrize(("waited_ms", "status"), [(900.0, "pass"), (9000.0, "fail")])
def test_a_turn_still_open_at_the_hang_up_counts_when_an_answer_was_long_due(
    tmp_path: Path, waited_ms: float, status: str
) -> None:
    lines = shifted(green=5)
    for index in range(10):
        lines.placed_turn(SHIFT_AT + 20 + index, 2, "unanswered", duration_ms=waited_ms)

    assert judged(lines, tmp_path)["quality.turns"].status == status


def test_a_slow_tool_of_another_call_excuses_no_missing_answer(tmp_path: Path) -> None:
    lines = shifted(green=5)
    lines.placed_turn(SHIFT_AT + 12, 2, kind="tools", duration_ms=28_000.0)
    for index in range(10):
        lines.placed_turn(SHIFT_AT + 20 + index, 2, "unanswered", duration_ms=9000.0)

    assert judged(lines, tmp_path)["quality.turns"].status == "fail"


def test_without_anything_to_compare_with_turns_are_held_against_a_model_that_answers(tmp_path: Path) -> None:
    for status, found in (("completed", "pass"), ("timeout", "fail")):
        lines = shifted(green=10, blue=0, status=status)
        lines.platform = []
        lines.harness = [line for line in lines.harness if line.get("revision") != BLUE]

        assert judged(lines, tmp_path / status)["quality.turns"].status == found


def pinged(green: Sequence[float | None], number: int = 1) -> Lines:
    lines = shifted()
    for index in range(50):
        lines.pong(1 + index / 10, 1)
    lines.opened(SHIFT_AT + 3, 3, GREEN, number)
    for index, rtt_ms in enumerate(green):
        lines.pong(SHIFT_AT + 4 + index, 3, rtt_ms)
    return lines


@pytest.mark.parametrize(
    ("green", "status", "words"),
    [
        ([2.0] * 20, "pass", ""),
        ([2.0] * 19 + [None], "pass", ""),
        ([2.0, None] * 10, "fail", f"10 of 20 pings on {GREEN} had no answer"),
        ([None] * 20, "fail", f"20 of 20 pings on {GREEN} had no answer"),
        ([None] * 3, "fail", f"1 call on {GREEN} had no answer to any ping"),
    ],
)
def test_pings_without_an_answer_are_not_left_out(
    tmp_path: Path, green: Sequence[float | None], status: str, words: str
) -> None:
    lines = pinged(green)
    for index in range(20):
        lines.pong(SHIFT_AT + 4 + index, 2)
    lines.harness = [
        line for line in lines.harness if line["observation"] != "pong" or line["call"] != 2 or len(green) < 5
    ]

    check = judged(lines, tmp_path)["quality.rtt"]

    assert (check.status, words in check.sentence) == (status, True), check.sentence


@pytest.mark.parametrize(
    ("field", "good", "bad", "check"),
    [
        ("worst_gap_ms", 700.0, 3000.0, "hearing.gaps"),
        ("duration_ms", 2000.0, 4300.0, "quality.duration"),
        ("first_audio_ms", 700.0, 1200.0, "quality.first_audio"),
    ],
)
def test_a_slow_green_is_found_by_what_its_callers_wait_for(
    tmp_path: Path, field: str, good: float, bad: float, check: str
) -> None:
    assert judged(shifted(**{field: good}), tmp_path / "good")[check].status == "pass"

    slow = judged(shifted(**{field: bad}), tmp_path / "bad")[check]

    assert (slow.status, f"{bad:.0f} ms on {GREEN} (10 values)" in slow.sentence) == ("fail", True), slow.sentence
    assert judged(shifted(green=3, **{field: bad}), tmp_path / "few")[check].status == "inconclusive"


@pytest.mark.parametrize(
    ("count", "connect_ms", "status"), [(6, 40, "pass"), (6, 3000, "fail"), (3, 40, "inconclusive")]
)
def test_dials_of_a_new_revision_are_held_against_before(
    tmp_path: Path, count: int, connect_ms: float, status: str
) -> None:
    lines = Lines()
    lines.weights(-1, blue=100)
    lines.hold()
    lines.weights(SHIFT_AT, green=100)
    for call in range(6):
        lines.opened(1 + call, call, BLUE)
        lines.closed(20, call)
    for call in range(count):
        lines.opened(SHIFT_AT + 5, call, GREEN, connect_ms=connect_ms)

    assert judged(lines, tmp_path)["quality.connect"].status == status


KINDS: list[tuple[dict[str, Sequence[str]], str, str]] = [
    ({"vad": ["completed"], "tools": ["completed"]}, "pass", "(tools, vad) completed a turn"),
    ({"vad": ["completed"], "tools": ["timeout", "completed"]}, "pass", "completed a turn"),
    ({"vad": ["completed"], "tools": ["timeout"] * 3}, "fail", f"tools on {GREEN} (0 of 3 turns)"),
    ({"vad": ["completed"], "tools": ["timeout"]}, "inconclusive", f"tools on {GREEN}"),
    ({"vad": ["completed"], "tools": []}, "inconclusive", f"tools on {GREEN}"),
    ({"vad": ["completed"], "tools": ["cut"] * 4}, "inconclusive", f"tools on {GREEN}"),
]


@pytest.mark.parametrize(("turns", "status", "words"), KINDS, ids=[f"{n}-{row[1]}" for n, row in enumerate(KINDS)])
def test_each_kind_of_call_that_talks_completes_a_turn_on_each_revision(
    tmp_path: Path, turns: dict[str, Sequence[str]], status: str, words: str
) -> None:
    lines = Lines()
    lines.hold(kinds=["vad", "tools", "silent"])
    lines.opened(1, 1, GREEN)
    for kind, statuses in turns.items():
        for index, each in enumerate(statuses):
            lines.placed_turn(2 + index, 1, each, kind=kind)

    check = judged(lines, tmp_path)["quality.kinds"]

    assert (check.status, words in check.sentence) == (status, True), check.sentence


@pytest.mark.parametrize(
    ("calls", "status"), [((0, 0, 0), "fail"), ((0, 0, 2), "pass"), ((0,), "inconclusive"), ((None,), "pass")]
)
def test_a_call_with_tools_has_shown_nothing_before_a_function_was_called(
    tmp_path: Path, calls: Sequence[int | None], status: str
) -> None:
    lines = Lines()
    lines.hold(kinds=["tools"])
    lines.opened(1, 1, GREEN)
    for index, count in enumerate(calls):  # None: a record of an older hold
        lines.placed_turn(2 + index, 1, kind="tools", **{} if count is None else {"function_calls": count})

    assert judged(lines, tmp_path)["quality.kinds"].status == status


def test_a_revision_is_asked_for_the_kinds_of_the_holds_that_it_served(tmp_path: Path) -> None:
    lines = shifted()
    lines.hold(SHIFT_AT, url=f"ws://{GREEN}.stage.localhost", hold="5308e000", kinds=["tools"])
    lines.opened(SHIFT_AT + 1, 9, GREEN, hold="5308e000", kind="tools")

    check = judged(lines, tmp_path)["quality.kinds"]

    assert (check.status, check.sentence) == ("inconclusive", f"Too little was seen of tools on {GREEN}.")


def test_an_older_record_without_kinds_leaves_the_new_checks_open(tmp_path: Path) -> None:
    lines = Lines()
    lines.hold()
    lines.opened(1, 1)
    lines.turn(3, 1)
    lines.closed(20, 1)

    checks = judged(lines, tmp_path)

    assert {checks[name].status for name in ("quality.kinds", "hearing.gaps")} == {"inconclusive"}
