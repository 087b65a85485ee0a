"""What a healthy service may send is no fault, however rare it is; the same events out of their place are."""

import base64
from typing import Any

import orjson
import pytest

from clients.hearing import REMEMBERED, Hearing, Ids, Owner

Event = dict[str, Any]


class Listener:
    """One session, which hears what it is told; events get an id unless they have one, or are to have none."""

    def __init__(self, ids: Ids | None = None, call: int = 1) -> None:
        self.call = call
        self.faults: list[tuple[str, str]] = []
        self.hearing = Hearing(
            Owner(call, f"s{call}"), ids or Ids(), lambda fault, detail: self.faults.append((fault, detail))
        )
        self._count = 0

    def hear(self, kind: str, **fields: Any) -> Event | None:
        self._count += 1
        event = {"type": kind, "event_id": f"event_{self.call}_{self._count}"} | fields
        return self.hearing.hear(orjson.dumps({name: it for name, it in event.items() if it != "absent"}))

    def greet(self) -> None:
        self.hear("session.created", session={"id": f"sess_{self.call}", "type": "realtime"})

    def begin(self, response: str, item: str = "item_A", **about: Any) -> None:
        self.hear("response.created", response={"id": response, "status": "in_progress"} | about)
        self.hear("response.output_item.added", response_id=response, output_index=0, item={"id": item})

    def say(self, response: str, item: str = "item_A", pcm: bytes = b"\1\1" * 2400, kind: str = "output_audio") -> None:
        place = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
        self.hear(f"response.{kind}.delta", **place, delta=base64.b64encode(pcm).decode())

    def end(self, response: str, **about: Any) -> None:
        self.hear("response.done", response={"id": response, "status": "completed", "output": []} | about)


@pytest.fixture
def listener() -> Listener:
    found = Listener()
    found.greet()
    return found


def test_a_model_that_speaks_unasked_is_healthy(listener: Listener) -> None:
    listener.hear("input_audio_buffer.timeout_triggered", audio_start_ms=0, audio_end_ms=6000, item_id="item_U")
    listener.hear("input_audio_buffer.committed", item_id="item_U", previous_item_id=None)
    listener.begin("resp_1")
    listener.say("resp_1")
    listener.end("resp_1")

    assert listener.faults == []


def test_an_mcp_call_outlives_its_response(listener: Listener) -> None:
    listener.begin("resp_1", "item_M")
    place = {"response_id": "resp_1", "item_id": "item_M", "output_index": 0}
    listener.hear("response.mcp_call_arguments.delta", **place, delta='{"q"', obfuscation=None)
    listener.hear("response.mcp_call_arguments.done", **place, arguments='{"q":1}')
    listener.hear("response.mcp_call.in_progress", item_id="item_M", output_index=0)
    listener.end("resp_1")
    listener.hear("response.mcp_call.completed", item_id="item_M", output_index=0)
    listener.hear("response.output_item.done", response_id="resp_1", output_index=0, item={"id": "item_M"})

    assert listener.faults == []


def test_responses_may_run_beside_each_other(listener: Listener) -> None:
    listener.begin("resp_1", "item_A", conversation_id="conv_1")
    listener.begin("resp_2", "item_B", conversation_id=None)
    for response, item in (("resp_1", "item_A"), ("resp_2", "item_B")) * 2:
        listener.say(response, item)
    listener.end("resp_2", status="cancelled")
    listener.say("resp_1")
    listener.end("resp_1")

    assert listener.faults == []


def test_the_beta_names_and_an_event_without_an_id_are_healthy(listener: Listener) -> None:
    listener.hear("input_audio_buffer.dtmf_event_received", event_id="absent", event="9", received_at=1)
    listener.hear("conversation.item.created", previous_item_id="root", item={"id": "item_U"})
    listener.begin("resp_1")
    listener.say("resp_1", kind="audio")
    listener.hear("response.audio.done", response_id="resp_1", item_id="item_A", content_index=0)
    listener.hear("response.audio_transcript.delta", response_id="resp_1", item_id="item_A", content_index=0, delta="a")
    listener.end("resp_1")

    assert listener.faults == []


@pytest.mark.parametrize("code", ["session_expired", "rate_limit_exceeded", "inference_rate_limit_exceeded"])
def test_an_old_call_and_a_busy_deployment_are_healthy(listener: Listener, code: str) -> None:
    listener.hear("error", error={"type": "invalid_request_error", "code": code})

    assert listener.faults == []


def test_a_refusal_after_the_101_is_an_error_and_no_disorder() -> None:
    listener = Listener()
    listener.hear("error", error={"type": "invalid_request_error", "code": "invalid_api_key"})

    assert [fault for fault, _ in listener.faults] == ["error_event"]


@pytest.mark.parametrize("status", ["cancelled", "incomplete", "failed"])
def test_only_a_completed_answer_has_its_whole_length(listener: Listener, status: str) -> None:
    listener.begin("resp_1")
    listener.end("resp_1", status=status, usage={"output_token_details": {"audio_tokens": 100}})

    assert listener.faults == []


@pytest.mark.parametrize(("tokens", "faults"), [(10, []), (20, []), (40, ["audio_length"]), (None, [])])
def test_the_length_of_an_answer_is_held_against_its_tokens(
    listener: Listener, tokens: int | None, faults: list[str]
) -> None:
    listener.begin("resp_1")
    listener.say("resp_1", pcm=b"\1\1" * 20 * 1200)
    listener.end("resp_1", usage={"output_token_details": {"audio_tokens": tokens}})

    assert [fault for fault, _ in listener.faults] == faults


def words(listener: Listener, kind: str, *deltas: str, said: str, status: str = "completed") -> list[str]:
    """The faults of an answer whose words came in ``deltas`` and whose response.done has ``said``."""
    place = {"response_id": "resp_1", "item_id": "item_A", "output_index": 0, "content_index": 0}
    listener.begin("resp_1")
    for delta in deltas:
        listener.hear(f"response.{kind}.delta", **place, delta=delta)
    part = {"type": kind, "text": said} if kind.endswith("text") else {"type": "output_audio", "transcript": said}
    listener.end("resp_1", status=status, output=[{"id": "item_A", "type": "message", "content": [part]}])
    return [fault for fault, _ in listener.faults]


WORDS = ["output_audio_transcript", "audio_transcript", "output_text", "text"]


@pytest.mark.parametrize("kind", WORDS)
def test_the_words_of_an_answer_are_those_of_its_end(listener: Listener, kind: str) -> None:
    assert words(listener, kind, "Good ", "morn", "ing", said="Good morning") == []


@pytest.mark.parametrize("kind", WORDS)
@pytest.mark.parametrize("deltas", [("Good ", "ing"), (), ("morn", "Good ", "ing"), ("Good ", "morn", "morn", "ing")])
def test_lost_doubled_and_swapped_words_are_a_fault(listener: Listener, kind: str, deltas: tuple[str, ...]) -> None:
    assert words(listener, kind, *deltas, said="Good morning") == ["other_words"]


@pytest.mark.parametrize("status", ["cancelled", "incomplete", "failed"])
def test_an_answer_that_was_broken_off_may_have_other_words(listener: Listener, status: str) -> None:
    assert words(listener, "output_audio_transcript", "Good ", said="Good morning", status=status) == []


def test_other_words_are_told_by_their_number_only(listener: Listener) -> None:
    words(listener, "output_text", "Good ", said="Good morning")

    assert "morning" not in listener.faults[0][1]
    assert "Good" not in listener.faults[0][1]


def test_anything_before_session_created_is_out_of_order() -> None:
    listener = Listener()
    listener.hear("session.updated", session={})
    listener.greet()
    listener.hear("session.created", session={"id": "sess_2"})

    assert [fault for fault, _ in listener.faults] == ["out_of_order"] * 2


@pytest.mark.parametrize(
    "late", ["output_audio", "output_text", "output_audio_transcript", "function_call_arguments", "mcp_call_arguments"]
)
def test_no_delta_comes_outside_its_response_and_item(listener: Listener, late: str) -> None:
    listener.hear("response.created", response={"id": "resp_1"})
    listener.say("resp_1", kind=late)
    listener.hear("response.output_item.added", response_id="resp_1", item={"id": "item_A"})
    listener.say("resp_1", kind=late)
    listener.hear("response.output_item.done", response_id="resp_1", item={"id": "item_A"})
    listener.say("resp_1", kind=late)
    listener.end("resp_1")
    listener.say("resp_1", kind=late)
    listener.end("resp_1")

    assert [fault for fault, _ in listener.faults] == ["out_of_order"] * 4


def test_a_session_updated_of_another_session_is_no_answer_to_ours(listener: Listener) -> None:
    assert listener.hear("session.updated", session={"id": "sess_7"}) is None
    assert listener.faults == [("session_differs", "id is sess_7, not sess_1")]


@pytest.mark.parametrize(
    "event",
    [
        ("input_audio_buffer.speech_started", {"item_id": "item_1"}),
        ("conversation.item.added", {"item": {"id": "item_1"}, "previous_item_id": None}),
        ("conversation.item.done", {"item": {"id": "item_9"}, "previous_item_id": "item_1"}),
        ("response.created", {"response": {"id": "resp_1"}}),
        ("response.done", {"response": {"id": "resp_1"}}),
        ("response.output_audio.delta", {"response_id": "resp_1", "item_id": "item_9", "delta": ""}),
        ("response.output_item.added", {"response_id": "resp_1", "item": {"id": "item_9"}}),
        ("response.created", {"response": {"id": "resp_9", "conversation_id": "conv_1"}}),
        ("conversation.created", {"conversation": {"id": "conv_1"}}),
        ("session.updated", {"session": {"id": "sess_1"}}),
        ("rate_limits.updated", {"event_id": "event_1_1"}),
    ],
    ids=lambda event: event[0],
)
def test_any_id_of_another_call_is_cross_talk_and_its_event_is_not_heard(event: tuple[str, Event]) -> None:
    ids = Ids()
    one, other = Listener(ids, 1), Listener(ids, 2)
    one.greet()
    other.greet()
    one.hear("input_audio_buffer.speech_started", item_id="item_1")
    one.begin("resp_1", conversation_id="conv_1")

    assert other.hear(event[0], **event[1]) is None
    assert [fault for fault, _ in other.faults] == ["cross_talk"]
    assert "of call 1 (session s1)" in other.faults[0][1]
    assert one.faults == []


def test_what_the_other_end_calls_an_id_cannot_break_a_line_or_say_much(listener: Listener) -> None:
    listener.hear("response.done", response={"id": "\n\x1b[31m" + "x" * 500})
    listener.hear("response.created", response={"id": ["resp"]})
    listener.hear("response.output_audio.delta", response_id={"a": 1}, item_id=[], delta=7)
    listener.hear("error", error={"type": ["a"], "code": {"b": "c"}})

    assert {fault for fault, _ in listener.faults} == {"unknown_response", "error_event"}
    assert all(detail.isprintable() and len(detail) < 200 for _, detail in listener.faults)


def test_old_ids_are_forgotten_so_that_a_long_hold_needs_no_more_memory() -> None:
    ids, owner = Ids(), Owner(1, None)
    for number in range(3 * REMEMBERED):
        assert ids.claim(f"event_{number}", owner) is None

    assert ids.claim(f"event_{3 * REMEMBERED - REMEMBERED}", owner) is owner
    assert ids.claim("event_0", owner) is None


@pytest.mark.parametrize("event", ["conversation.item.added", "conversation.item.created"])
def test_what_a_caller_creates_stands_in_the_conversation_before_its_answer_ends(
    listener: Listener, event: str
) -> None:
    created, lost = listener.hearing.own_item(), listener.hearing.own_item()
    listener.hear(event, item={"id": created, "type": "function_call_output"}, previous_item_id=None)
    listener.begin("resp_1")
    listener.end("resp_1")
    assert listener.faults == []
    listener.hearing.answered()

    ((fault, detail),) = listener.faults
    assert fault == "lost_item"
    assert lost in detail
    listener.hearing.answered()
    assert len(listener.faults) == 1, "each is told once"
