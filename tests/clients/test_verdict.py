"""The verdict as a command: what it prints, what it writes, and its exit code."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from clients.judging import CHECKS
from tests.clients.lines import BLUE, GREEN, Lines, rollout

DEADLINE_S = 30


def judge(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clients.verdict", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return rollout(20).write(tmp_path / "good")


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    return rollout(20, cut=3).write(tmp_path / "bad")


def test_a_good_rollout_ends_with_0_and_the_answer_first(good: Path) -> None:
    result = judge(good)

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("Nobody was cut: ")
    themes = ("survival", "placement", "session affinity", "multi-revision routing", "cooldownPeriod")
    for theme in (*themes, "graceful termination", "quality", "rollback"):
        assert f"\n  {theme} " in result.stdout


def test_a_failed_check_ends_with_1(bad: Path) -> None:
    result = judge(bad)

    assert result.returncode == 1
    assert "fail (!)" in result.stdout


def test_an_expected_failure_ends_with_0_and_an_unexpected_pass_with_1(good: Path, bad: Path) -> None:
    assert judge(bad, "--expect", "survival.cut=fail").returncode == 0
    assert judge(good, "--expect", "survival.cut=fail").returncode == 1
    assert judge(good, "--expect", "cooldown.zero=pass").returncode == 1, "inconclusive is not a pass"


def test_an_expected_check_that_never_came_up_ends_with_1(good: Path) -> None:
    result = judge(good, "--expect", "routing.step-9=pass")

    assert result.returncode == 1
    assert "routing.step-9: no such check came up" in result.stdout


def test_only_the_checks_asked_for_are_judged(bad: Path) -> None:
    assert judge(bad, "--check", "routing", "--check", "rollback.outcome").returncode == 0
    assert judge(bad, "--check", "survival").returncode == 1


def test_asking_only_for_a_check_that_never_came_up_ends_with_1(good: Path, tmp_path: Path) -> None:
    written = tmp_path / "verdict.json"

    result = judge(good, "--check", "routing.step-9", "--json", written)

    assert result.returncode == 1
    assert "\nrouting.step-9: no such check came up" in result.stdout
    found = orjson.loads(written.read_bytes())
    assert (found["exit_code"], found["expected_but_missing"]) == (1, ["routing.step-9"])


def test_a_required_check_that_is_inconclusive_or_missing_ends_with_1(good: Path, tmp_path: Path) -> None:
    written = tmp_path / "verdict.json"

    assert judge(good, "--require", "survival.cut", "--require", "routing", "--json", written).returncode == 0
    assert orjson.loads(written.read_bytes())["undecided"] == []

    undecided = judge(good, "--check", "survival", "--require", "cooldown.zero", "--json", written)
    assert undecided.returncode == 1
    assert "\ncooldown.zero: required, and the record does not decide it" in undecided.stdout
    assert orjson.loads(written.read_bytes())["undecided"] == ["cooldown.zero"]

    missing = judge(good, "--require", "routing.step-9")
    assert (missing.returncode, "routing.step-9: no such check came up" in missing.stdout) == (1, True)


def test_a_required_group_wants_all_of_its_checks_decided(good: Path) -> None:
    assert judge(good, "--require", "rollback").returncode == 0
    assert judge(good, "--require", "cooldown").returncode == 1


def test_a_required_check_may_fail_where_that_is_expected(bad: Path) -> None:
    assert judge(bad, "--require", "survival.cut", "--expect", "survival.cut=fail").returncode == 0
    assert judge(bad, "--require", "survival.cut").returncode == 1


def test_nobody_noticed_only_where_every_required_check_passed(tmp_path: Path) -> None:
    lines = Lines()
    lines.hold()
    lines.opened(1, 1)
    lines.closed(30, 1)
    run = lines.write(tmp_path)

    assert "Nobody noticed: 1 call, 0 cut." in judge(run, "--require", "survival.cut").stdout
    unseen = "Nobody was cut: 1 call, but not everything was seen, so somebody may have noticed: "
    assert f"{unseen}cooldown.zero." in judge(run, "--require", "survival.cut", "--require", "cooldown.zero").stdout
    assert f"{unseen}routing.step-7." in judge(run, "--require", "routing.step-7").stdout
    assert f"{unseen}hearing.cross_talk" in judge(run).stdout, "nobody has heard an answer"


def test_a_move_goes_unnoticed_where_moves_were_required_to_go_well(good: Path) -> None:
    assert judge(good).stdout.startswith("Nobody was cut: ")
    assert judge(good, "--require", "survival.cut").stdout.startswith("Nobody was cut: ")

    said = judge(good, "--require", "survival").stdout

    assert said.startswith("Nobody noticed: ")
    assert "calls, 0 cut, " in said
    assert "moved between two turns while" in said


def test_the_help_has_a_line_for_every_check() -> None:
    said = judge("--help").stdout

    for name, about, _ in CHECKS:
        assert f"  {name:24} {about}\n" in said


def test_a_steps_hold_is_judged_by_its_share(tmp_path: Path) -> None:
    lines = Lines()
    lines.hold()
    for call in range(12):
        lines.opened(1, call, GREEN)
    step = lines.write(tmp_path) / "hold.jsonl"

    assert judge(step, "--share", f"{BLUE}=0", "--share", f"{GREEN}=100", "--baseline", step).returncode == 0
    assert judge(step, "--share", f"{BLUE}=50", "--share", f"{GREEN}=50").returncode == 1
    assert judge(step, "--share", f"{BLUE}=100", "--share", f"{GREEN}=0").returncode == 1


def test_the_verdict_is_written_with_stable_keys(bad: Path, tmp_path: Path) -> None:
    written = tmp_path / "verdict.json"

    judge(bad, "--json", written)

    found = orjson.loads(written.read_bytes())
    assert set(found) == {
        *("headline", "exit_code", "outcome", "checks", "undecided", "expected_but_missing", "counts", "blue", "green"),
        *("from", "to"),
    }
    assert (found["exit_code"], found["outcome"], found["counts"]["cut"]) == (1, "completed", 3)
    row = ("name", "theme", "status", "measured", "expected", "sentence", "required", "as_expected")
    assert set(found["checks"][0]) == set(row)
    assert (found["from"], found["to"][:19]) == ("2026-09-01T12:00:00.000Z", "2026-09-01T12:01:50")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "PATH"),
        (("/nowhere.jsonl",), "cannot read /nowhere.jsonl: No such file or directory"),
        (("--share", "blue"), "wants REVISION=WEIGHT with a whole number, not 'blue'"),
        (("--expect", "survival.cut=maybe"), "wants CHECK=STATUS with one of pass, fail, inconclusive"),
        (("--check", "survivall"), "'survivall' is no check"),
        (("--require", "quality.turn"), "'quality.turn' is no check"),
        (("--baseline", "/nowhere.jsonl"), "cannot read /nowhere.jsonl"),
        (("--json", "/nowhere/verdict.json"), "--json cannot be written"),
    ],
)
def test_bad_arguments_end_with_2_and_say_what_is_wanted(
    good: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    paths = (good,) if arguments and arguments[0].startswith("--") else ()

    result = judge(*paths, *arguments)

    assert result.returncode == 2
    assert complaint in result.stderr


def test_a_record_without_a_line_of_a_hold_ends_with_3(tmp_path: Path) -> None:
    lines = Lines()
    lines.stage()

    result = judge(lines.write(tmp_path))

    assert result.returncode == 3
    assert "record one with clients.hold --record FILE" in result.stderr
