"""Who was cut, moved and refused; and the cause of each cut, told from three kinds of lines."""

from pathlib import Path
from typing import Any

import pytest

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
    lines.opened(1, 1)
    lines.closed(20, 1, 1012)
    lines.opened(1, 2)
    lines.closed(60, 2)

    moved = judged(lines, tmp_path)["survival.moved"]

    assert (moved.status, moved.measured) == ("fail", "0 of 1 back")
    assert "did not come back, the first of them call 1" in moved.sentence


@pytest.mark.parametrize(("reconnect", "end"), [(False, 60), (True, 22)])
def test_a_moved_call_that_had_no_chance_to_come_back_proves_nothing(
    tmp_path: Path, reconnect: bool, end: float
) -> None:
    lines = held(reconnect=reconnect)
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
