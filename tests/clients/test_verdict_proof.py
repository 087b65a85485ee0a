"""What a record can prove: holds over the whole shift, whole logs, exits that somebody saw, clocks, and knocks."""

from pathlib import Path
from typing import Any

import pytest

from clients.judging import judge
from clients.judging.answer import verdict
from clients.reading import read
from tests.clients.lines import BLUE, GREEN, Lines, judged, replica, rollout, ts


def test_a_whole_rollout_proves_what_it_claims(tmp_path: Path) -> None:
    checks = judged(rollout(20), tmp_path)

    names = ("evidence.hold", "evidence.log", "evidence.exits", "evidence.clock")
    assert {name: checks[name].status for name in names} == dict.fromkeys(names, "pass")


@pytest.mark.parametrize("until", [20, 40, 60, 93])
def test_a_hold_that_ends_before_the_shift_does_is_said_and_nobody_says_that_nobody_noticed(
    tmp_path: Path, until: float
) -> None:
    lines = rollout(20)
    opened = {line["session"] for line in lines.harness if line["observation"] == "opened" and line["ts"] < ts(until)}
    lines.harness = [line for line in lines.harness if line["ts"] < ts(until)]
    closed = {line["session"] for line in lines.harness if line["observation"] == "closed"}
    for session in opened - closed:
        ids = next(line for line in lines.harness if line.get("session") == session)
        about = {name: ids[name] for name in ("call", "revision", "replica", "session", "upstream_session")}
        ending = {"code": 1000, "reason": "", "closed_by": "local", "early": False, "age_s": 9.0, "turn": "idle"}
        lines.observe(until, "closed", **about | ending, turn_s=1.0)
    evidence = read([lines.write(tmp_path)])
    checks = judge(evidence)

    found = verdict(evidence, checks, {}, required=["survival.cut", "evidence.hold"])

    (hold,) = (check for check in checks if check.name == "evidence.hold")
    assert (hold.status, "Nobody held a call for" in hold.sentence) == ("inconclusive", True)
    assert (found["exit_code"], found["undecided"]) == (1, ["evidence.hold"])
    assert "Nobody noticed" not in found["headline"]
    assert "evidence.hold" in found["headline"]


def test_a_time_in_the_middle_of_the_shift_without_a_call_is_found(tmp_path: Path) -> None:
    lines = Lines()
    lines.weights(0, blue=100)
    lines.hold()
    lines.weights(10, green=100)
    lines.opened(1, 1)
    lines.closed(20, 1)
    lines.opened(32, 1, GREEN)
    lines.stop(40, BLUE)
    lines.closed(60, 1)

    check = judged(lines, tmp_path)["evidence.hold"]

    assert (check.status, check.measured) == ("inconclusive", "12 s unseen")


def test_calls_at_a_revisions_own_address_do_not_cover_the_shift(tmp_path: Path) -> None:
    lines = Lines()
    lines.weights(0, blue=100)
    lines.hold(url=f"ws://{GREEN}.stage.localhost")
    lines.weights(10, green=100)
    lines.opened(1, 1, GREEN)
    lines.closed(60, 1)

    assert judged(lines, tmp_path)["evidence.hold"].status == "inconclusive"


@pytest.mark.parametrize(
    ("event", "words"),
    [("client.connected", "lacks 1 session on"), ("connection.closed", "has no end of 1 session on")],
)
def test_a_log_that_lacks_a_call_is_said(tmp_path: Path, event: str, words: str) -> None:
    lines = rollout(5)
    session = next(line["session"] for line in lines.harness if line["observation"] == "closed")
    lost = (event,) if event == "connection.closed" else ("client.connected", "connection.closed")
    lines.relay = [line for line in lines.relay if line.get("session") != session or line["event"] not in lost]

    check = judged(lines, tmp_path)["evidence.log"]

    assert (check.status, words in check.sentence) == ("inconclusive", True), check.sentence


def test_without_a_log_nobody_complains_of_holes_in_it(tmp_path: Path) -> None:
    lines = rollout(5)
    lines.relay = []

    check = judged(lines, tmp_path)["evidence.log"]

    assert (check.status, check.sentence) == ("inconclusive", "The record has no log of a relay.")


@pytest.mark.parametrize("by_s", [-180.0, -5.0, -0.4, 0.4, 5.0, 240.0])
@pytest.mark.parametrize("whose", ["platform", "relay", "hold", "one relay"])
def test_a_clock_that_is_off_is_measured_and_corrected(tmp_path: Path, whose: str, by_s: float) -> None:
    right, lines = rollout(20), rollout(20)
    one = [line for line in lines.relay if line["replica"] == replica(BLUE)]
    lines.ahead(
        {"platform": lines.platform, "relay": lines.relay, "hold": lines.harness, "one relay": one}[whose], by_s
    )

    found, expected = judged(lines, tmp_path / "off"), judged(right, tmp_path / "right")

    assert {name: check.status for name, check in found.items()} == {n: each.status for n, each in expected.items()}
    assert found["termination.grace"].measured == expected["termination.grace"].measured
    clock = found["evidence.clock"]
    name = {"platform": "the platform's", "hold": "the platform's"}.get(whose, f"that of {replica(BLUE)}")
    off = by_s if whose != "hold" else -by_s
    assert f"{name} {abs(off):.1f} s {'ahead' if off > 0 else 'behind'}" in clock.sentence
    assert clock.measured == f"{abs(by_s):.1f} s"


def test_a_replica_that_is_slow_to_hear_of_its_stop_has_no_wrong_clock(tmp_path: Path) -> None:
    lines = rollout(20)
    lines.ahead([line for line in lines.relay if line["event"] == "signal.received"], 4.0)

    check = judged(lines, tmp_path)["evidence.clock"]

    assert (check.status, check.measured) == ("pass", "0.0 s")


def test_a_clock_that_was_set_in_between_cannot_be_corrected(tmp_path: Path) -> None:
    lines = rollout(20)
    lines.ahead([line for line in lines.relay if line["ts"] > ts(50)], 30.0)

    check = judged(lines, tmp_path)["evidence.clock"]

    assert (check.status, "more at one time than another" in check.sentence) == ("inconclusive", True)


def test_a_platform_of_which_no_relay_tells_has_no_measured_clock(tmp_path: Path) -> None:
    lines = rollout(5)
    lines.relay = [line for line in lines.relay if line["event"] not in ("signal.received", "proxy.stopped")]
    lines.platform = [line for line in lines.platform if line["act"] not in ("replica.started", "replica.ready")]

    check = judged(lines, tmp_path)["evidence.clock"]

    assert (check.status, "could not be measured" in check.sentence) == ("inconclusive", True)


KNOCKS: list[tuple[list[tuple[str, int | None]], str, str]] = [
    ([("none", 401), ("wrong", 401)], "pass", "Each of 2 dials"),
    ([("none", 101), ("wrong", 401)], "fail", f"1 dial got in without a right to: {GREEN} without a key"),
    ([("none", 401), ("wrong", 101)], "fail", f"{GREEN} with a wrong key"),
    ([("none", 401), ("wrong", 503)], "inconclusive", f"{GREEN} answered 503"),
    ([("none", 401), ("wrong", None)], "inconclusive", f"{GREEN} answered timeout"),
    ([("none", 401)], "inconclusive", "Nobody dialled http://green with a wrong key"),
    ([], "inconclusive", "Nobody dialled without a key"),
]


@pytest.mark.parametrize(("knocks", "status", "words"), KNOCKS, ids=[f"{n}-{row[1]}" for n, row in enumerate(KNOCKS)])
def test_strangers_have_to_be_turned_away(
    tmp_path: Path, knocks: list[tuple[str, int | None]], status: str, words: str
) -> None:
    lines = Lines()
    lines.hold()
    lines.opened(1, 1)
    for credential, answer in knocks:
        code = "timeout" if answer is None else None
        about: dict[str, Any] = {"url": "http://green", "revision": GREEN, "status": answer, "code": code}
        lines.observe(2, "knocked", credential=credential, **about)

    check = judged(lines, tmp_path)["admission.keys"]

    assert (check.status, words in check.sentence) == (status, True), check.sentence
