"""What callers hear, judged: faults that the hold noted, and every byte against the model's own record."""

from pathlib import Path
from typing import Any

import pytest

from clients.judging import judge
from clients.judging.answer import verdict
from clients.reading import read
from tests.clients.lines import BLUE, GREEN, Lines, judged

SHIFT_AT = 30.0
HEARING = ("hearing.cross_talk", "hearing.events", "hearing.session", "hearing.audio")
CHUNK = {"deltas": 4, "audio_bytes": 9600, "audio_sha256": "aa"}
SENT = {"audio_bytes_sent": 96_000, "audio_sha256_sent": "bb"}
HEARD = {"audio_bytes_heard": 96_000, "audio_sha256_heard": "bb", "closed_by": "client", "code": 1001}


class Held:
    """A call on blue from before the shift, one on green since: ``answers`` of each, and the model's record of them."""

    def __init__(self, answers: int = 8, recorded: bool = True) -> None:
        self.lines = lines = Lines()
        self.recorded = recorded
        self.answered = 0
        lines.weights(-1, blue=100)
        lines.hold(kinds=["vad"])
        lines.opened(0, 1, BLUE, kind="vad")
        lines.weights(SHIFT_AT, green=100)
        lines.opened(SHIFT_AT + 2, 2, GREEN, kind="vad")
        for index in range(answers):
            for at, call in ((1, 1), (SHIFT_AT + 1, 1), (SHIFT_AT + 5, 2)):
                self.answer(at + index, call)

    def answer(self, at: float, call: int, status: str = "completed", loudness: float = 0.1, **heard: Any) -> str:
        self.answered += 1
        name = f"resp_{self.answered}"
        responses = [{"id": name, **CHUNK, "audio_tokens": 4} | heard]
        self.lines.placed_turn(at, call, status, responses=responses, loudness=loudness)
        if self.recorded:
            session = f"sess_{call}"
            self.lines.model(at, "response", session, response=name, status="completed", **CHUNK)
        return name

    def hang_up(self, ended: dict[int, dict[str, Any]] | None = None, **more: Any) -> Lines:
        """Both calls end at 60 s; ``ended`` has what the model heard of one otherwise."""
        for call in (1, 2):
            self.lines.closed(60, call, **SENT | more)
            if self.recorded:
                self.lines.model(60, "session.ended", f"sess_{call}", **HEARD | (ended or {}).get(call, {}))
        return self.lines


def test_calls_that_hear_their_own_answers_pass(tmp_path: Path) -> None:
    checks = judged(Held().hang_up(), tmp_path)

    assert {name: checks[name].status for name in HEARING} == dict.fromkeys(HEARING, "pass")
    assert checks["hearing.audio"].sentence == (
        "24 answers reached the callers, and the speech of 2 calls the model, byte for byte."
    )


def test_cross_talk_is_called_by_its_name(tmp_path: Path) -> None:
    held = Held()
    for at in (50, 51):
        held.lines.fault(at, 2, "cross_talk", "response.output_audio.delta with response resp_9 of call 1")

    check = judged(held.hang_up(), tmp_path)["hearing.cross_talk"]

    assert (check.status, check.measured) == ("fail", "2")
    assert "cross-talk" in check.sentence
    assert f"1 call on {GREEN} heard what belongs to another call (2 times; the first: response" in check.sentence


def test_an_answer_that_the_models_record_has_in_another_session_is_cross_talk(tmp_path: Path) -> None:
    held = Held()
    name = held.answer(50, 2)
    held.lines.of_model[-1]["session"] = "sess_1"

    check = judged(held.hang_up(), tmp_path)["hearing.cross_talk"]

    assert (check.status, f"response {name}, or its sound, is another session's" in check.sentence) == ("fail", True)


def test_the_sound_of_another_calls_answer_under_the_own_name_is_cross_talk(tmp_path: Path) -> None:
    held = Held()
    held.answer(49, 1, audio_sha256="of call 1")
    held.lines.of_model[-1]["audio_sha256"] = "of call 1"
    held.answer(50, 2, audio_sha256="of call 1")

    check = judged(held.hang_up(), tmp_path)["hearing.cross_talk"]

    assert (check.status, f"1 call on {GREEN} heard what belongs to another" in check.sentence) == ("fail", True)


@pytest.mark.parametrize(
    ("fault", "check", "words"),
    [
        ("unknown_response", "hearing.events", "heard of a response that was not theirs"),
        ("broken_json", "hearing.events", "got a message that is no JSON event"),
        ("out_of_order", "hearing.events", "heard events in the wrong order"),
        ("repeated_id", "hearing.events", "heard an event twice"),
        ("error_event", "hearing.events", "got an error from the model"),
        ("no_session_updated", "hearing.session", "had no answer to session.update"),
        ("session_differs", "hearing.session", "got another session than the one asked for"),
        ("audio_length", "hearing.audio", "heard audio of another length"),
        ("silent_audio", "hearing.audio", "heard an answer without a sound"),
    ],
)
def test_each_fault_fails_its_check_and_says_where(tmp_path: Path, fault: str, check: str, words: str) -> None:
    held = Held()
    held.lines.fault(50, 2, fault, "some id")

    checks = judged(held.hang_up(), tmp_path)

    assert {name for name in HEARING if checks[name].status == "fail"} == {check}
    assert f"1 call on {GREEN} {words}" in checks[check].sentence
    assert "(some id)" in checks[check].sentence


@pytest.mark.parametrize(
    ("heard", "words"),
    [
        ({"audio_bytes": 4800}, "heard 4800 bytes of response resp_25, which has 9600"),
        ({"audio_sha256": "other"}, "heard other bytes of response resp_25"),
    ],
)
def test_an_answer_that_arrives_otherwise_than_the_model_sent_it_fails(
    tmp_path: Path, heard: dict[str, Any], words: str
) -> None:
    held = Held()
    held.answer(50, 2, **heard)

    check = judged(held.hang_up(), tmp_path)["hearing.audio"]

    assert (check.status, check.measured) == ("fail", "1 otherwise")
    assert "Callers heard other audio than the model sent in 1 of 25 cases" in check.sentence
    assert words in check.sentence


def test_an_answer_that_was_broken_off_is_not_compared(tmp_path: Path) -> None:
    held = Held()
    held.answer(50, 2, status="unanswered", audio_bytes=100)

    assert judged(held.hang_up(), tmp_path)["hearing.audio"].status == "pass"


@pytest.mark.parametrize("heard", [{"audio_bytes_heard": 48_000}, {"audio_sha256_heard": "other"}])
def test_speech_that_arrives_otherwise_than_the_caller_sent_it_fails(tmp_path: Path, heard: dict[str, Any]) -> None:
    check = judged(Held().hang_up({2: heard}), tmp_path)["hearing.audio"]

    assert check.status == "fail"
    assert "The model heard other audio than callers sent in 1 of 2 cases, the first: of call 2" in check.sentence


def test_speech_behind_the_other_sides_close_is_left_out_and_said(tmp_path: Path) -> None:
    held = Held()
    held.lines.stop(40, BLUE, after_s=25)
    held.lines.opened(0, 3, BLUE, kind="vad")
    held.lines.closed(45, 3, 1012, **SENT)
    held.lines.model(45, "session.ended", "sess_3", **HEARD | {"audio_bytes_heard": 90_000})

    check = judged(held.hang_up(), tmp_path)["hearing.audio"]

    assert check.status == "pass"
    assert "1 call that ended in a turn, by a move or not at all could not be compared in full" in check.sentence


def test_more_speech_than_the_caller_sent_is_never_right(tmp_path: Path) -> None:
    held = Held()
    held.lines.opened(0, 3, BLUE, kind="vad")
    held.lines.closed(45, 3, 1012, **SENT)
    held.lines.model(45, "session.ended", "sess_3", **HEARD | {"audio_bytes_heard": 99_000})

    check = judged(held.hang_up(), tmp_path)["hearing.audio"]

    assert (check.status, "twice or some of another call's (cross-talk)" in check.sentence) == ("fail", True)


@pytest.mark.parametrize(
    ("code", "sent", "heard", "status"),
    [
        (1000, 96_000, 90_000, "pass"),
        (1000, 200_000, 96_000, "fail"),
        (1012, 96_000, 90_000, "pass"),
        (1012, 200_000, 96_000, "fail"),
    ],
)
def test_speech_that_was_under_way_at_the_end_of_a_call_may_be_lost_and_no_more(
    tmp_path: Path, code: int, sent: int, heard: int, status: str
) -> None:
    held = Held()
    held.lines.stop(40, BLUE, after_s=25)
    held.lines.opened(0, 3, BLUE, kind="vad")
    turn = "idle" if code == 1012 else "speaking"
    held.lines.closed(45, 3, code, turn=turn, **SENT | {"audio_bytes_sent": sent})
    held.lines.opened(45.2, 3, GREEN, kind="vad", gap_ms=200.0)
    held.lines.model(45, "session.ended", "sess_3", **HEARD | {"audio_bytes_heard": heard})

    assert judged(held.hang_up(), tmp_path)["hearing.audio"].status == status


def test_a_quieter_green_is_found(tmp_path: Path) -> None:
    held = Held(answers=0)
    for index in range(6):
        held.answer(1 + index, 1)
        held.answer(SHIFT_AT + 5 + index, 2, loudness=0.04)

    check = judged(held.hang_up(), tmp_path)["hearing.audio"]

    assert (check.status, f"0.040 on {GREEN}, 0.100 before" in check.sentence) == ("fail", True)


@pytest.mark.parametrize(("audio_bytes", "status"), [(9600, "pass"), (9400, "pass"), (8640, "fail"), (10_560, "fail")])
def test_answers_that_are_longer_or_shorter_for_their_usage_than_before_are_found_without_a_record_of_the_model(
    tmp_path: Path, audio_bytes: int, status: str
) -> None:
    held = Held(recorded=False)
    for index in range(30):
        held.answer(SHIFT_AT + 15 + index / 2, 2, audio_bytes=audio_bytes)

    check = judged(held.hang_up(), tmp_path)["hearing.audio"]

    assert (check.status, f"on {GREEN}, 2400 before" in check.sentence) == (status, status == "fail")


def test_without_the_models_record_length_and_loudness_decide_and_the_sentence_says_so(tmp_path: Path) -> None:
    check = judged(Held(recorded=False).hang_up(), tmp_path)["hearing.audio"]

    assert (check.status, "There is no record of the model" in check.sentence) == ("pass", True)


def test_a_record_of_the_model_that_has_not_these_calls_decides_nothing(tmp_path: Path) -> None:
    lines = Held().hang_up()
    lines.of_model = [line | {"response": "resp_other", "session": "sess_other"} for line in lines.of_model]

    check = judged(lines, tmp_path)["hearing.audio"]

    assert (check.status, "has too little of" in check.sentence) == ("inconclusive", True)


def test_too_few_answers_on_green_decide_nothing(tmp_path: Path) -> None:
    checks = judged(Held(answers=4).hang_up(), tmp_path)

    for name in ("hearing.cross_talk", "hearing.events", "hearing.audio"):
        assert (checks[name].status, f"4 on {GREEN}" in checks[name].sentence) == ("inconclusive", True)


def test_one_call_alone_cannot_hear_another(tmp_path: Path) -> None:
    lines = Lines()
    lines.hold(kinds=["vad"])
    lines.opened(0, 1, kind="vad")
    for index in range(8):
        lines.placed_turn(1 + index, 1, responses=[{"id": f"resp_{index}", **CHUNK}])

    checks = judged(lines, tmp_path)

    assert (checks["hearing.cross_talk"].status, checks["hearing.events"].status) == ("inconclusive", "pass")


def test_a_record_of_an_older_hold_leaves_open_what_was_heard_and_nobody_says_that_nobody_noticed(
    tmp_path: Path,
) -> None:
    lines = Lines()
    lines.hold()
    lines.opened(0, 1)
    for index in range(8):
        lines.turn(1 + index, 1)
    lines.closed(20, 1)
    evidence = read([lines.write(tmp_path)])
    checks = judge(evidence)

    found = verdict(evidence, checks, {})

    assert {check.status for check in checks if check.name in HEARING} == {"inconclusive"}
    assert found["exit_code"] == 0
    assert found["headline"].startswith("Nobody was cut: 1 call, but not everything was seen")
