"""Who was cut, moved and refused; and the cause of each cut, told from three kinds of lines."""

from pathlib import Path
from typing import Any

import pytest

from clients.judging import judge
from clients.judging.answer import verdict
from clients.reading import read
from tests.clients.lines import BLUE, GREEN, Lines, judged, replica


def held(**arguments: Any) -> Lines:
    lines = Lines()
    lines.stage()
    lines.app()
    lines.weights(0, blue=100)
    lines.hold(**arguments)
    return lines


def test_nobody_cut_passes(tmp_path: Path) -> None:
    lines = held()
    lines.opened(1, 1)
    lines.closed(40, 1)
    lines.opened(41, 1)
    lines.closed(60, 1)

    check = judged(lines, tmp_path)["survival.cut"]

    assert (check.status, check.measured, check.theme) == ("pass", "0", "survival")
    assert check.sentence == "None of 2 sessions was cut."


def test_a_session_whose_end_nobody_saw_may_have_been_cut(tmp_path: Path) -> None:
    lines = held()
    lines.opened(1, 1)
    lines.closed(40, 1)
    lines.opened(41, 1)

    check = judged(lines, tmp_path)["survival.cut"]

    assert (check.status, check.measured) == ("inconclusive", "0")
    assert check.sentence == "None of 2 sessions was seen cut, but the record has no end of 1."


def test_without_any_session_survival_is_inconclusive(tmp_path: Path) -> None:
    lines = held()
    checks = judged(lines, tmp_path)

    assert [checks[f"survival.{name}"].status for name in ("cut", "moved", "refused")] == ["inconclusive"] * 3


CAUSES: list[tuple[dict[str, Any], str]] = [
    (
        {
            "code": 1011,
            "turn": "answering",
            "relay": {"ended_by": "upstream", "client_code": 1011, "upstream_code": 1006},
        },
        "2 calls ended 1011 on revision rtproxy--blue: the model vanished.",
    ),
    (
        {"code": 1000, "closed_by": "remote", "early": True, "relay": {"ended_by": "upstream", "upstream_code": 1000}},
        "2 calls ended 1000 on revision rtproxy--blue: the model closed with 1000.",
    ),
    (
        {"code": 1001, "relay": {"ended_by": "upstream", "upstream_code": 1001, "upstream_error": "session_expired"}},
        "2 calls ended 1001: the model's session reached its 60 minutes.",
    ),
    (
        {"code": 1012, "turn": "answering", "reason": "revision draining, reconnect", "relay": {"turn": "responding"}},
        "2 calls ended 1012 before the answer was done when rtproxy--blue drained.",
    ),
    (
        {"code": 1008, "reason": "reader stalled for 30 s", "relay": {"ended_by": "limit"}},
        "2 calls ended 1008 'reader stalled for 30 s' by the relay (limit) on rtproxy--blue, between turns.",
    ),
    (
        {"code": 1006, "relay": {"ended_by": "client", "client_code": 1006}},
        "2 calls ended 1006 without a Close: something between caller and relay cut the connection, "
        "the relay lost it too.",
    ),
    (
        {"code": 1006, "turn": "speaking", "relay": {"ended_by": "client", "client_code": 1006, "upstream_code": 1006}},
        "2 calls ended 1006 without a Close: something between caller and relay cut the connection, "
        "the relay lost it too.",
    ),
]


@pytest.mark.parametrize(("ending", "sentence"), CAUSES, ids=[sentence[8:32] for _, sentence in CAUSES])
def test_cuts_are_grouped_by_what_the_relay_says(tmp_path: Path, ending: dict[str, Any], sentence: str) -> None:
    lines = held()
    for call in (1, 2):
        lines.opened(1, call)
        lines.closed(20 + call, call, **ending)

    check = judged(lines, tmp_path)["survival.cut"]

    assert (check.status, check.measured, check.sentence) == ("fail", "2", sentence)


def test_without_a_relays_line_its_words_to_the_caller_tell_of_the_model(tmp_path: Path) -> None:
    lines = held()
    lines.opened(1, 1, logged=False)
    lines.closed(20, 1, 1011, reason="upstream went away")

    sentence = judged(lines, tmp_path)["survival.cut"].sentence

    assert sentence == "1 call ended 1011 on revision rtproxy--blue: the model vanished."


def test_silence_as_long_as_the_gateways_timeout_is_laid_at_its_door(tmp_path: Path) -> None:
    lines = held()
    lines.opened(1, 1)
    lines.closed(121.2, 1, 1006)
    lines.opened(2, 2)
    lines.pong(30, 2)
    lines.closed(150.4, 2, 1006)

    sentence = judged(lines, tmp_path)["survival.cut"].sentence

    assert sentence == "2 calls ended 1006 at 120 s without a frame: that is the gateway's request timeout."


def test_silence_as_long_as_the_public_ip_allows_is_laid_at_its_door(tmp_path: Path) -> None:
    lines = Lines()
    lines.stage(gateway_request_timeout_s=3600, gateway_idle_timeout_s=200)
    lines.hold()
    lines.opened(1, 1)
    lines.closed(201.3, 1, 1006)

    sentence = judged(lines, tmp_path)["survival.cut"].sentence

    assert sentence.endswith("200 s without a frame: that is the idle timeout of the gateway's public IP.")


def test_a_call_that_chatted_was_not_cut_by_the_gateways_timeout(tmp_path: Path) -> None:
    lines = held()
    lines.opened(1, 1, logged=False)
    lines.turn(100, 1)
    lines.closed(121, 1, 1006)

    assert "no other line of the record tells why" in judged(lines, tmp_path)["survival.cut"].sentence


def test_the_ingress_cuts_what_is_silent_at_a_revisions_own_address(tmp_path: Path) -> None:
    lines = held(url="ws://rtproxy--blue.stage.localhost:8081")
    lines.opened(0, 1)
    lines.closed(240.5, 1, 1006)

    assert (
        "240 s without a frame: that is the ingress's idle timeout" in judged(lines, tmp_path)["survival.cut"].sentence
    )


def test_a_kill_is_named_with_its_replica_and_how_long_it_had(tmp_path: Path) -> None:
    lines = held()
    lines.opened(1, 1)
    lines.stop(20, BLUE, after_s=30, killed=True)
    lines.closed(50.1, 1, 1006)

    sentence = judged(lines, tmp_path)["survival.cut"].sentence

    assert sentence == f"1 call ended 1006 when replica {replica(BLUE)} was killed 30 s after SIGTERM (deactivated)."


def test_a_replica_that_crashed_is_named_with_its_code(tmp_path: Path) -> None:
    lines = held()
    lines.opened(1, 1)
    lines.act(20, "replica.exited", revision=BLUE, replica=replica(BLUE), code=-11, after_s=None)
    lines.closed(20.1, 1, 1006)

    assert f"replica {replica(BLUE)} exited by itself with code -11" in judged(lines, tmp_path)["survival.cut"].sentence


def test_a_replica_that_logged_no_end_was_killed_or_lost(tmp_path: Path) -> None:
    lines = held()
    lines.opened(1, 1)
    lines.closed(20, 1, 1006)
    lines.relay = [line for line in lines.relay if line["event"] != "connection.closed"]

    assert "logged no end, so it was killed or lost" in judged(lines, tmp_path)["survival.cut"].sentence


def test_moved_calls_that_came_back_pass_with_the_worst_gap(tmp_path: Path) -> None:
    lines = held()
    lines.stop(19, BLUE)
    for call, gap_ms in ((1, 180.0), (2, 420.0)):
        lines.opened(1, call)
        lines.closed(20, call, 1012)
        lines.opened(20 + gap_ms / 1000, call, GREEN, gap_ms=gap_ms)
        lines.closed(60, call)

    checks = judged(lines, tmp_path)

    assert checks["survival.cut"].status == "pass"
    moved = checks["survival.moved"]
    assert (moved.status, moved.measured, moved.expected) == ("pass", "2 of 2 back, worst gap 420 ms", "each back")


def test_a_moved_call_that_stayed_away_fails(tmp_path: Path) -> None:
    lines = held()
    lines.stop(19, BLUE)
    lines.opened(1, 1)
    lines.closed(20, 1, 1012)
    lines.opened(1, 2)
    lines.closed(60, 2)

    checks = judged(lines, tmp_path)

    moved = checks["survival.moved"]
    assert (moved.status, moved.measured, checks["survival.cut"].status) == ("fail", "0 of 1 back", "fail")
    assert "and did not come back (at most 6 s); the first of them call 1" in moved.sentence


@pytest.mark.parametrize(("away", "status"), [(5.5, "pass"), (6.5, "fail"), (55, "fail")])
def test_a_caller_who_was_away_for_long_was_cut(tmp_path: Path, away: float, status: str) -> None:
    lines = held()
    lines.stop(19, BLUE)
    lines.opened(1, 1)
    lines.closed(20, 1, 1012)
    lines.opened(20 + away, 1, GREEN, gap_ms=1000 * away)
    lines.closed(90, 1)

    checks = judged(lines, tmp_path)

    assert (checks["survival.moved"].status, checks["survival.cut"].status) == (status, status)


def sent_away(lines: Lines, at: float, *, logged: bool = True) -> None:
    """Call 1 gets 1012 between two turns and is back on the same replica 0.2 s later."""
    if (lines.harness[-1]["observation"]) != "opened":
        lines.opened(1, 1, logged=logged)
    lines.closed(at, 1, 1012)
    lines.opened(at + 0.2, 1, gap_ms=200.0, logged=logged)


def test_a_1012_from_a_replica_that_nobody_asked_to_stop_is_a_cut(tmp_path: Path) -> None:
    lines = held()
    sent_away(lines, 20)
    lines.closed(60, 1)
    lines.stop(70, BLUE, logged=True)

    checks = judged(lines, tmp_path)

    assert (checks["survival.cut"].status, checks["survival.moved"].status) == ("fail", "fail")
    cause = f"1 call ended 1012 between turns on replica {replica(BLUE)}, which nobody had asked to stop"
    assert checks["survival.cut"].sentence == f"{cause}."


def test_a_1012_after_the_replica_was_gone_is_nobody_s_move(tmp_path: Path) -> None:
    lines = held()
    lines.stop(5, BLUE, after_s=3)
    sent_away(lines, 20)
    lines.closed(60, 1)

    assert judged(lines, tmp_path)["survival.cut"].status == "fail"


@pytest.mark.parametrize(("stopped", "status"), [(True, "inconclusive"), (False, "fail")])
def test_a_stop_at_another_time_proves_nothing_while_no_log_tells_how_far_the_platforms_clock_is_off(
    tmp_path: Path, stopped: bool, status: str
) -> None:
    lines = held()
    lines.act(0, "replica.ready", revision=BLUE, replica=replica(BLUE))
    sent_away(lines, 20, logged=False)
    lines.closed(60, 1)
    if stopped:
        lines.stop(25, BLUE)

    assert judged(lines, tmp_path)["survival.moved"].status == status


def test_one_stop_moves_a_call_once(tmp_path: Path) -> None:
    lines = held()
    lines.stop(19, BLUE, after_s=20)
    sent_away(lines, 20)
    sent_away(lines, 25)
    lines.closed(60, 1)

    checks = judged(lines, tmp_path)

    assert checks["survival.cut"].measured == "1"
    assert "for a second time on replica" in checks["survival.cut"].sentence


def test_each_stop_of_a_replica_that_is_started_again_may_move_a_call(tmp_path: Path) -> None:
    lines = held()
    lines.stop(19, BLUE)
    lines.stop(39, BLUE)
    sent_away(lines, 20)
    sent_away(lines, 40)
    lines.closed(60, 1)

    assert judged(lines, tmp_path)["survival.moved"].status == "pass"


@pytest.mark.parametrize(("signalled", "status"), [(True, "pass"), (False, "fail")])
def test_without_a_timeline_the_relays_log_says_whether_it_was_asked_to_stop(
    tmp_path: Path, signalled: bool, status: str
) -> None:
    lines = Lines()
    lines.hold()
    if signalled:
        lines.log(19, "signal.received", BLUE, replica(BLUE), signal="SIGTERM")
    sent_away(lines, 20)
    lines.closed(60, 1)

    assert judged(lines, tmp_path)["survival.moved"].status == status


PROBES: list[tuple[dict[str, Any], str]] = [
    ({"replicas": {replica(BLUE): 0}, "draining": {replica(BLUE): True}}, "pass"),
    ({"replicas": {replica(BLUE): 0}, "draining": {replica(BLUE): False}}, "fail"),
    ({"replicas": {replica(BLUE): 0}}, "inconclusive"),
    ({"replicas": {}, "missing": [replica(BLUE)], "complete": False}, "inconclusive"),
    ({"replicas": {replica(BLUE, 2): 0}}, "pass"),
    ({"replicas": {}, "revision": None}, "pass"),
    ({"replicas": {}, "revision": GREEN, "url": f"http://{GREEN}.example/status"}, "inconclusive"),
]


@pytest.mark.parametrize(("answer", "status"), PROBES, ids=[f"{status}-{n}" for n, (_, status) in enumerate(PROBES)])
def test_without_a_log_a_later_probe_says_whether_the_replica_had_to_go(
    tmp_path: Path, answer: dict[str, Any], status: str
) -> None:
    lines = Lines()
    lines.hold()
    sent_away(lines, 20, logged=False)
    lines.closed(60, 1)
    about = {"url": f"http://{BLUE}.example/status", "revision": BLUE, "missing": [], "complete": True}
    before = {"replicas": {replica(BLUE): 1}, "draining": {replica(BLUE): status != "fail"}}
    lines.observe(18, "probed", **about | before)
    lines.observe(21, "probed", **about | answer)

    checks = judged(lines, tmp_path)

    assert (checks["survival.moved"].status, checks["survival.cut"].status) == (status, status)


def test_without_log_act_or_probe_nobody_knows_whether_a_1012_was_a_move(tmp_path: Path) -> None:
    lines = Lines()
    lines.hold()
    sent_away(lines, 20, logged=False)
    lines.closed(60, 1)
    evidence = read([lines.write(tmp_path)])
    checks = judge(evidence)

    found = verdict(evidence, checks, {})

    assert {check.status for check in checks if check.name in ("survival.cut", "survival.moved")} == {"inconclusive"}
    assert "the record does not say whether 1 of them were moved or cut" in found["headline"]
    assert found["counts"]["moved_or_cut"] == 1


@pytest.mark.parametrize(("reconnect", "end"), [(False, 60), (True, 22)])
def test_a_moved_call_that_had_no_chance_to_come_back_proves_nothing(
    tmp_path: Path, reconnect: bool, end: float
) -> None:
    lines = held(reconnect=reconnect)
    lines.stop(19, BLUE)
    lines.opened(1, 1)
    lines.closed(20, 1, 1012)
    lines.observe(end, "hold.completed", summary={})

    assert judged(lines, tmp_path)["survival.moved"].status == "inconclusive"


def test_a_refusal_counts_although_the_next_dial_got_in(tmp_path: Path) -> None:
    lines = held()
    lines.observe(1, "refused", call=1, status=503, code="draining", message="The relay is draining.", retry_after_s=1)
    lines.opened(2, 1)

    refused = judged(lines, tmp_path)["survival.refused"]

    assert (refused.status, refused.measured) == ("fail", "1")
    assert refused.sentence == "At a dial, 1 call refused HTTP 503 draining (The relay is draining.)."
