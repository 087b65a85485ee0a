"""What became of replicas: scaled to zero or not, stopped in time or killed, and the calls that were on them."""

from pathlib import Path
from typing import Any

import pytest

from tests.clients.lines import BLUE, GREEN, Lines, judged, replica, ts


def app(**settings: Any) -> Lines:
    lines = Lines()
    lines.app(-3, **settings)
    lines.weights(-2, blue=100)
    lines.revision(-2, BLUE)
    lines.hold()
    return lines


def test_no_new_calls_at_weight_0_passes(tmp_path: Path) -> None:
    lines = app()
    lines.weights(10, blue=0, green=100)
    lines.opened(10.4, 1, BLUE)
    lines.opened(12, 2, GREEN)

    check = judged(lines, tmp_path)["cooldown.no_new_calls"]

    assert (check.status, check.theme) == ("pass", "cooldownPeriod")


def test_a_new_call_at_weight_0_fails(tmp_path: Path) -> None:
    lines = app()
    lines.weights(10, blue=0, green=100)
    lines.opened(14, 3, BLUE)

    check = judged(lines, tmp_path)["cooldown.no_new_calls"]

    assert (check.status, check.measured) == ("fail", "1")
    assert "call 3 on rtproxy--blue 4.0 s later" in check.sentence


def test_calls_after_the_weight_came_back_are_welcome(tmp_path: Path) -> None:
    lines = app()
    lines.weights(10, blue=0, green=100)
    lines.opened(12, 1, GREEN)
    lines.weights(20, blue=100, green=0)
    lines.opened(22, 2, BLUE)

    assert judged(lines, tmp_path)["cooldown.no_new_calls"].status == "pass"


def test_no_weight_that_became_0_is_inconclusive(tmp_path: Path) -> None:
    lines = app()
    lines.opened(1, 1)

    assert judged(lines, tmp_path)["cooldown.no_new_calls"].status == "inconclusive"


@pytest.mark.parametrize(
    ("scaled_at", "status", "measured"),
    [(31.2, "pass", "21.2 s"), (29.3, "fail", "19.3 s"), (25, "fail", "15.0 s"), (8, "fail", "0.0 s")],
)
def test_the_last_replica_goes_after_the_cooldown_and_not_before(
    tmp_path: Path, scaled_at: float, status: str, measured: str
) -> None:
    lines = app(min_replicas=0, cooldown_s=20)
    lines.opened(1, 1)
    lines.closed(10, 1)
    lines.act(
        scaled_at, "revision.scaled", app="rtproxy", revision=BLUE, replicas_from=1, replicas_to=0, reason="cooldown"
    )

    check = judged(lines, tmp_path)["cooldown.zero"]

    assert (check.status, check.measured, check.expected) == (status, measured, ">= 20 s")


def test_replicas_that_go_with_a_deactivation_are_not_scaled_to_zero(tmp_path: Path) -> None:
    lines = app(min_replicas=0)
    lines.opened(1, 1)
    lines.closed(2, 1)
    lines.revision(3, BLUE, "deactivated")
    lines.act(3.1, "revision.scaled", app="rtproxy", revision=BLUE, replicas_from=1, replicas_to=0, reason="x")

    assert judged(lines, tmp_path)["cooldown.zero"].status == "inconclusive"


def test_kept_replicas_through_a_quiet_time_longer_than_the_cooldown_pass(tmp_path: Path) -> None:
    lines = app(min_replicas=1, cooldown_s=20)
    lines.opened(1, 1)
    lines.closed(10, 1)
    lines.opened(50, 1)

    check = judged(lines, tmp_path)["cooldown.no_effect"]

    assert check.status == "pass"
    assert "kept its replicas through 40 s without a call; cooldownPeriod is 20 s" in check.sentence


def test_a_cooldown_that_was_not_put_to_the_test_is_inconclusive(tmp_path: Path) -> None:
    lines = app(cooldown_s=300)
    lines.opened(1, 1)

    check = judged(lines, tmp_path)["cooldown.no_effect"]

    assert check.status == "inconclusive"
    assert "nothing was quiet for the 300 s" in check.sentence


def test_a_revision_goes_by_the_scale_it_was_made_with(tmp_path: Path) -> None:
    lines = app(min_replicas=0, cooldown_s=20)
    lines.act(0, "revision.created", app="rtproxy", revision=BLUE)
    lines.opened(1, 1)
    lines.closed(10, 1)
    lines.app(20, min_replicas=1, cooldown_s=300)
    lines.act(31, "revision.scaled", app="rtproxy", revision=BLUE, replicas_from=1, replicas_to=0, reason="cooldown")

    checks = judged(lines, tmp_path)

    assert checks["cooldown.zero"].status == "pass"
    assert checks["cooldown.no_effect"].status == "inconclusive"


def test_scaling_to_zero_in_spite_of_min_replicas_fails(tmp_path: Path) -> None:
    lines = app(min_replicas=1)
    lines.opened(1, 1)
    lines.act(30, "revision.scaled", app="rtproxy", revision=BLUE, replicas_from=1, replicas_to=0, reason="cooldown")

    assert judged(lines, tmp_path)["cooldown.no_effect"].status == "fail"


def test_without_min_replicas_no_effect_is_inconclusive(tmp_path: Path) -> None:
    assert judged(app(min_replicas=0), tmp_path)["cooldown.no_effect"].status == "inconclusive"


def test_a_replica_that_leaves_in_time_passes(tmp_path: Path) -> None:
    lines = app()
    lines.opened(1, 1)
    lines.stop(10, BLUE, 1, after_s=25.4)
    lines.stop(10, BLUE, 2, after_s=3)

    checks = judged(lines, tmp_path)

    grace = checks["termination.grace"]
    assert (grace.status, grace.measured, grace.expected) == ("pass", "25.4 s", "<= 30 s")
    assert checks["termination.no_sigkill"].status == "pass"


def test_a_replica_that_had_to_be_killed_fails(tmp_path: Path) -> None:
    lines = app()
    lines.stop(10, BLUE, after_s=30.1, killed=True)

    checks = judged(lines, tmp_path)

    assert checks["termination.grace"].status == "fail"
    assert (checks["termination.no_sigkill"].status, checks["termination.no_sigkill"].measured) == ("fail", "1")
    assert replica(BLUE) in checks["termination.no_sigkill"].sentence


def test_a_replica_that_outlives_its_grace_period_to_the_end_of_the_record_fails(tmp_path: Path) -> None:
    lines = app()
    lines.act(10, "replica.sigterm", revision=BLUE, replica=replica(BLUE), reason="deactivated", grace_s=30)
    lines.opened(60, 1, GREEN)

    assert judged(lines, tmp_path)["termination.grace"].status == "fail"


def test_replicas_of_a_stage_that_stops_do_not_count(tmp_path: Path) -> None:
    lines = app()
    lines.stop(10, BLUE, reason="stage stopping", killed=True)
    names = ("grace", "no_sigkill", "codes", "turns")

    checks = judged(lines, tmp_path)

    assert {checks[f"termination.{name}"].status for name in names} == {"inconclusive"}


def test_without_a_timeline_the_relays_own_word_is_taken_for_its_stop(tmp_path: Path) -> None:
    lines = Lines()
    lines.hold()
    lines.opened(1, 1)
    lines.log(10, "signal.received", BLUE, replica(BLUE), signal="SIGTERM")
    lines.closed(20, 1, 1006)
    lines.log(22.5, "proxy.stopped", BLUE, replica(BLUE), code=0)

    checks = judged(lines, tmp_path)

    grace = checks["termination.grace"]
    assert (grace.status, grace.measured, grace.expected) == ("pass", "12.5 s", "<= 30 s")
    assert checks["termination.codes"].status == "fail"


def logged_stop(exit_after_s: float | None, deployed: float | None) -> Lines:
    """As on Azure: the relay tells of SIGTERM and of its exit, the play of the grace period that it deployed."""
    lines = Lines()
    lines.hold()
    lines.opened(1, 1)
    lines.closed(5, 1)
    lines.log(10, "signal.received", BLUE, replica(BLUE), signal="SIGTERM")
    if exit_after_s is not None:
        lines.log(10 + exit_after_s, "proxy.stopped", BLUE, replica(BLUE), code=0)
    if deployed is not None:
        lines.observe(0, "deployed", "play", revision=BLUE, grace_s=deployed)
    return lines


@pytest.mark.parametrize(
    ("exit_after_s", "deployed", "status", "words"),
    [
        (400.0, 600, "pass", "400.0 s after SIGTERM, of 600 s it had."),
        (20.0, 10, "fail", f"outlived the grace period: {replica(BLUE)} (10 s)"),
        (20.0, None, "pass", "of 30 s it had by default."),
        (400.0, None, "inconclusive", "does not say which grace period it had: 30 s is the platform's default"),
        (None, 600, "inconclusive", f"The record ends before {replica(BLUE)} did"),
    ],
)
def test_grace_is_judged_by_what_was_deployed(
    tmp_path: Path, exit_after_s: float | None, deployed: float | None, status: str, words: str
) -> None:
    grace = judged(logged_stop(exit_after_s, deployed), tmp_path)["termination.grace"]

    assert (grace.status, words in grace.sentence) == (status, True), grace.sentence


def test_a_kill_of_which_only_the_exit_code_tells_fails(tmp_path: Path) -> None:
    lines = app()
    lines.stop(10, BLUE, after_s=20, killed=True)
    lines.platform = [line for line in lines.platform if line["act"] != "replica.sigkill"]

    assert judged(lines, tmp_path)["termination.no_sigkill"].status == "fail"


@pytest.mark.parametrize(("told", "status"), [(False, "fail"), (True, "inconclusive")])
def test_a_replica_that_vanishes_under_its_calls_after_sigterm_was_killed(
    tmp_path: Path, told: bool, status: str
) -> None:
    lines = logged_stop(None, 30)
    lines.opened(6, 2)
    lines.closed(38, 2, 1006)
    if not told:  # the log of a killed relay has no end of the call
        lines.relay = [line for line in lines.relay if line["event"] != "connection.closed" or line["ts"] < ts(30)]

    checks = judged(lines, tmp_path)

    for name in ("termination.grace", "termination.no_sigkill"):
        assert checks[name].status == status, checks[name].sentence
    if status == "fail":
        said = f"1 call ended with 1006 after SIGTERM on {replica(BLUE)}, of which there is no exit in the record"
        assert said in checks["termination.no_sigkill"].sentence


def caught(end_at: float, code: int, **ending: Any) -> Lines:
    """One call on a replica that gets SIGTERM at 10 s and is gone at 35 s."""
    lines = app()
    lines.opened(1, 1)
    lines.stop(10, BLUE, after_s=25)
    lines.closed(end_at, 1, code, **ending)
    return lines


def test_calls_closed_with_1012_between_turns_pass(tmp_path: Path) -> None:
    checks = judged(caught(20, 1012), tmp_path)

    assert (checks["termination.codes"].status, checks["termination.turns"].status) == ("pass", "pass")
    assert checks["termination.codes"].measured == "1 x 1012, 0 by themselves, 0 otherwise"


def test_calls_that_hung_up_by_themselves_pass(tmp_path: Path) -> None:
    checks = judged(caught(20, 1000), tmp_path)

    assert checks["termination.codes"].measured == "0 x 1012, 1 by themselves, 0 otherwise"
    assert checks["termination.codes"].status == "pass"
    assert (
        checks["termination.turns"].sentence
        == "0 calls closed, none in the middle of a turn; 1 more ended by themselves."
    )


def test_a_socket_lost_on_a_stopping_replica_fails(tmp_path: Path) -> None:
    check = judged(caught(35, 1006), tmp_path)["termination.codes"]

    assert check.status == "fail"
    assert f"call 1 1006 on {replica(BLUE)}" in check.sentence


def test_a_drain_without_a_call_was_not_tried(tmp_path: Path) -> None:
    checks = judged(caught(9, 1000), tmp_path)

    for name in ("termination.codes", "termination.turns"):
        assert checks[name].status == "inconclusive"
        assert f"1 replica of {BLUE} had no call left at SIGTERM, so the drain was not tried" in checks[name].sentence


def test_each_revision_needs_a_drain_of_its_own(tmp_path: Path) -> None:
    lines = caught(20, 1012)
    lines.stop(40, GREEN)

    check = judged(lines, tmp_path)["termination.turns"]

    assert (check.status, f"1 replica of {GREEN} had no call left" in check.sentence) == ("inconclusive", True)


def test_the_replicas_without_a_call_are_named_where_others_of_their_revision_had_some(tmp_path: Path) -> None:
    lines = caught(20, 1012)
    lines.stop(10, BLUE, 2)

    check = judged(lines, tmp_path)["termination.turns"]

    assert (check.status, f"{replica(BLUE, 2)} had no call." in check.sentence) == ("pass", True)


def test_nobody_says_that_nothing_was_killed_whose_exit_nobody_saw(tmp_path: Path) -> None:
    lines = app()
    lines.opened(1, 1)
    lines.stop(10, BLUE, 1, after_s=None)
    lines.stop(10, BLUE, 2)
    lines.closed(20, 1, 1012)

    checks = judged(lines, tmp_path)

    names = ("termination.grace", "termination.no_sigkill", "evidence.exits")
    assert {name: checks[name].status for name in names} == dict.fromkeys(names, "inconclusive")
    assert replica(BLUE) in checks["termination.no_sigkill"].sentence
    assert "nothing was killed" not in checks["termination.no_sigkill"].sentence


def test_a_caller_who_hangs_up_in_a_turn_is_not_cut_in_it(tmp_path: Path) -> None:
    assert judged(caught(20, 1000, turn="speaking"), tmp_path)["termination.turns"].status == "pass"


def test_a_call_closed_in_the_middle_of_an_answer_fails_and_says_how_far_it_was(tmp_path: Path) -> None:
    lines = caught(33, 1012, turn="answering", relay={"turn": "responding"})
    lines.turn(33, 1, "cut", 400.0, duration_ms=22_400.0)

    check = judged(lines, tmp_path)["termination.turns"]

    assert (check.status, check.measured) == ("fail", "1 in a turn")
    assert "call 1 (22.0 s into an answer)" in check.sentence


@pytest.mark.parametrize(("spoke_for", "status"), [(0.3, "pass"), (0.7, "fail")])
def test_a_caller_who_had_only_just_begun_to_speak_was_between_turns_to_everyone_else(
    tmp_path: Path, spoke_for: float, status: str
) -> None:
    # The relay may hear of it too late: its Close is on the way.
    checks = judged(caught(33, 1012, turn="speaking", turn_s=spoke_for, relay={"turn": "speaking"}), tmp_path)

    assert (checks["termination.turns"].status, checks["survival.cut"].status) == (status, status)


def test_a_call_that_the_model_ended_meanwhile_is_not_held_against_the_replica(tmp_path: Path) -> None:
    relay = {"ended_by": "upstream", "client_code": 1011, "turn": "responding"}
    checks = judged(caught(12, 1011, turn="answering", relay=relay), tmp_path)

    assert (checks["termination.turns"].status, checks["termination.codes"].status) == ("pass", "pass")


def test_the_relays_own_word_that_a_turn_was_cut_fails(tmp_path: Path) -> None:
    check = judged(caught(33, 1012, relay={"turn": "responding"}), tmp_path)["termination.turns"]

    assert check.status == "fail"
    assert "call 1 (responding)" in check.sentence


@pytest.mark.parametrize(("turn", "status"), [("waiting", "pass"), ("speaking", "pass"), ("responding", "fail")])
def test_what_the_relay_waits_for_after_a_full_answer_nobody_owes(tmp_path: Path, turn: str, status: str) -> None:
    lines = caught(33, 1012, relay={"turn": turn})
    lines.turn(30, 1)

    assert judged(lines, tmp_path)["termination.turns"].status == status


def test_a_caller_who_waits_for_a_tool_is_in_a_turn(tmp_path: Path) -> None:
    checks = judged(caught(33, 1012, turn="waiting"), tmp_path)

    assert (checks["termination.turns"].status, checks["survival.cut"].status) == ("fail", "fail")
