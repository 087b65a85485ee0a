"""What one side still owes keeps a turn open, whoever announces it and whoever does not."""

from __future__ import annotations

from typing import Any, get_args

import orjson
import pytest
from openai.types.beta.realtime.realtime_client_event import RealtimeClientEvent as BetaClientEvent
from openai.types.beta.realtime.realtime_server_event import RealtimeServerEvent as BetaServerEvent
from openai.types.realtime.realtime_client_event import RealtimeClientEvent
from openai.types.realtime.realtime_server_event import RealtimeServerEvent

from rtproxy.model.events import READ_LIMIT, ClientEvents, ModelEvents
from rtproxy.model.turns import APPEND, DEBTS_LIMIT, QUIET, REQUESTS, RESPONDING, SPEAKING, TABLE, WAITING, Turns
from rtproxy.wire.flow import SHORTEST_FRAME, SIZE_TOLERANCE
from stage.rawpeer import BINARY, PING, PONG, TEXT, frame
from tests.rtproxy.goes import a_walker

PCM = "A" * 6400
"""100 ms of silence, as a client says it."""


NOW = [1000.0]


class Call:
    """A call as the relay sees it: what its sides say, in frames, through the walkers of both legs."""

    def __init__(self, *, reading: bool = False, **session: Any) -> None:
        self.turns = Turns(lambda: NOW[0])
        self.moves = 0
        self._caller = ClientEvents((self.turns,))
        self._up = a_walker(masked=True, finder=self._caller)
        self._down = a_walker(masked=False, finder=ModelEvents((self.turns,)))
        self._reads = reading
        self._audio = 0
        self._caller.on_audio = self._expect
        self.turns.messages = self._up.count.messages
        self.turns.on_change = self._moved
        self.model("session.created", session={"id": "sess_1", "type": "realtime", **session})

    def _expect(self, size: int) -> None:
        self._audio = size + 8

    def _moved(self) -> None:
        self.moves += 1

    def model(self, kind: str, **fields: Any) -> Call:
        self._down.feed(frame(TEXT, orjson.dumps({"type": kind, "event_id": "event_1", **fields}), masked=False))
        return self

    def client(self, kind: str, **fields: Any) -> Call:
        """As `flow` has it: a usual frame passes unseen, unless somebody reads on."""
        said = frame(TEXT, orjson.dumps({"type": kind, **fields}), masked=True)
        unseen = max(SHORTEST_FRAME, self._audio - SIZE_TOLERANCE) < len(said) < self._audio + SIZE_TOLERANCE
        if not self._reads and self._up.fast and unseen:
            self._up.count.frames += 1
        else:
            self._up.feed(said)
        return self

    def says(self, *chunks: bytes) -> Call:
        """Frames of the client that do not come alone."""
        for chunk in chunks:
            self._up.feed(chunk)
        return self

    def speaks(self, chunks: int = 3) -> Call:
        for _ in range(chunks):
            self.client("input_audio_buffer.append", audio=PCM)
        return self

    def responds(self, *output: dict[str, Any], status: str = "completed", **more: Any) -> Call:
        response = {"id": "resp_1", "conversation_id": "conv_1", **more}
        self.model("response.created", response=response)
        return self.model("response.done", response=response | {"status": status, "output": list(output)})

    def commits(self, item: str = "item_1") -> Call:
        self.client("input_audio_buffer.commit")
        return self.model("input_audio_buffer.committed", item_id=item)

    @property
    def state(self) -> str:
        return self.turns.state


def manual(**more: Any) -> dict[str, Any]:
    return {"audio": {"input": {"turn_detection": None, **more}}}


def detected(**more: Any) -> dict[str, Any]:
    return {"audio": {"input": {"turn_detection": {"type": "server_vad", "create_response": True, **more}}}}


@pytest.fixture
def clock() -> list[float]:
    """The time that every turn here goes by: a test moves it."""
    return NOW


FUNCTION = {"type": "function_call", "status": "completed", "call_id": "call_1", "id": "item_f"}


def output_of(call_id: str = "call_1") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": "{}"}


# Turn detection that is off: what the client sends is the caller holding the floor.


@pytest.mark.parametrize("reading", [False, True])
@pytest.mark.parametrize("terms", [manual(), {"turn_detection": None}])
def test_a_caller_without_turn_detection_holds_the_floor_from_the_first_audio_to_the_commit(
    terms: dict[str, Any], reading: bool
) -> None:
    call = Call(reading=reading, **terms)
    assert call.state == QUIET
    assert call.speaks(1).state == SPEAKING
    assert call.speaks(50).state == SPEAKING
    assert call.commits().state == WAITING
    assert call.client("response.create").state == WAITING
    assert call.responds().state == QUIET


@pytest.mark.parametrize("reading", [False, True])
def test_it_is_learned_from_an_update_and_forgotten_by_the_next(reading: bool) -> None:
    call = Call(reading=reading, **detected())
    assert call.speaks().state == QUIET
    call.model("session.updated", session={"type": "realtime", **manual()})
    assert call.state == QUIET, "what came before is the business of the model"
    assert call.speaks().state == SPEAKING
    call.model("session.updated", session={"type": "realtime", **detected()})
    assert call.state == QUIET


def test_what_was_being_said_when_turn_detection_went_off_is_still_in_the_buffer() -> None:
    call = Call(**detected()).model("input_audio_buffer.speech_started", item_id="item_1")
    call.model("session.updated", session={"type": "realtime", **manual()})
    assert call.state == SPEAKING
    assert call.model("input_audio_buffer.cleared").state == QUIET


@pytest.mark.parametrize("reading", [False, True])
def test_a_buffer_that_is_cleared_or_too_short_to_commit_frees_the_floor(reading: bool) -> None:
    call = Call(reading=reading, **manual()).speaks()
    call.client("input_audio_buffer.clear").model("input_audio_buffer.cleared")
    assert call.state == QUIET
    call.speaks(1).client("input_audio_buffer.commit")
    call.model("error", error={"type": "invalid_request_error", "code": "input_audio_buffer_commit_empty"})
    assert call.state == QUIET


@pytest.mark.parametrize("reading", [False, True])
def test_requests_that_are_answered_do_not_hold_the_floor(reading: bool) -> None:
    call = Call(reading=reading, **manual())
    call.client("session.update", session={"instructions": "x" * 4000}).model("session.updated", session={})
    call.client("conversation.item.create", item={"type": "message", "role": "system", "content": ["x" * 400]})
    call.model("conversation.item.added", item={"id": "item_9", "type": "message", "role": "system"})
    call.client("conversation.item.truncate", item_id="item_9" * 30).model("conversation.item.truncated")
    call.client("conversation.item.delete", item_id="item_9").model("conversation.item.deleted", item_id="item_9")
    call.client("conversation.item.retrieve", item_id="x" * 200).model("error", error={"code": "item_not_found"})
    call.turns._settle_until = 0.0
    assert call.state == QUIET
    assert call.speaks(1).state == SPEAKING


def test_a_pong_and_a_ping_of_the_client_are_no_speech() -> None:
    call = Call(**manual()).says(frame(PONG, b"rtproxy", masked=True), frame(PING, b"", masked=True))
    assert call.state == QUIET


def test_a_caller_who_speaks_into_an_answer_holds_the_floor_behind_it() -> None:
    call = Call(**manual()).speaks().commits()
    call.model("response.created", response={"id": "resp_1"}).speaks(2)
    assert call.state == RESPONDING
    assert call.model("response.done", response={"status": "completed"}).state == SPEAKING


@pytest.mark.parametrize("reading", [False, True])
def test_a_caller_who_speaks_again_before_the_answer_keeps_the_floor_through_it(reading: bool) -> None:
    call = Call(reading=reading, **manual()).speaks().client("input_audio_buffer.commit").client("response.create")
    call.speaks(1).model("input_audio_buffer.committed", item_id="item_1")
    assert call.state == SPEAKING, "what came behind the commit is not in it"
    assert call.responds().state == SPEAKING
    call.client("input_audio_buffer.clear")
    assert call.state == WAITING
    assert call.model("input_audio_buffer.cleared").state == QUIET


@pytest.mark.parametrize("reading", [False, True])
def test_a_long_request_for_an_answer_is_no_audio_once_it_is_answered(reading: bool) -> None:
    call = Call(reading=reading, **manual()).speaks().commits()
    call.client("response.create", response={"instructions": "x" * 4000})
    assert call.responds().state == QUIET


def test_the_client_owes_a_request_behind_its_commit_for_as_long_as_it_takes(clock: list[float]) -> None:
    call = Call(**manual()).speaks().commits()
    clock[0] += 3600
    assert call.state == WAITING


def test_a_request_that_is_refused_is_asked_again_soon_or_never(clock: list[float]) -> None:
    call = Call(**manual()).speaks().commits().client("response.create")
    call.model("error", error={"code": "invalid_value", "type": "invalid_request_error"})
    assert call.state == WAITING
    clock[0] += 3.1
    assert call.state == QUIET


# Turn detection that is on.


@pytest.mark.parametrize("create_response", [True, False])
def test_speech_is_answered_or_asked_about_however_long_it_takes(create_response: bool, clock: list[float]) -> None:
    call = Call(**detected(create_response=create_response)).model("input_audio_buffer.speech_started", item_id="i")
    assert call.state == SPEAKING
    call.model("input_audio_buffer.speech_stopped", item_id="i").model("input_audio_buffer.committed", item_id="i")
    clock[0] += 600
    assert call.state == WAITING
    assert call.responds().state == QUIET


def test_speech_that_never_stops_ends_with_a_clear_or_a_commit() -> None:
    started = Call(**detected()).model("input_audio_buffer.speech_started", item_id="item_1")
    assert started.model("input_audio_buffer.cleared").state == QUIET
    started.model("input_audio_buffer.speech_started", item_id="item_1")
    assert started.commits().state == WAITING, "a commit of the client's own makes no response"


def test_speech_goes_on_while_the_caller_sends_nothing(clock: list[float]) -> None:
    call = Call(**detected()).model("input_audio_buffer.speech_started", item_id="item_1")
    clock[0] += 600
    assert call.state == SPEAKING


def test_a_model_that_speaks_unasked_begins_a_turn_with_the_timeout() -> None:
    call = Call(**detected(idle_timeout_ms=6000))
    call.model("input_audio_buffer.timeout_triggered", item_id="item_1")
    assert call.state == WAITING
    assert call.model("input_audio_buffer.committed", item_id="item_1").state == WAITING
    assert call.responds().state == QUIET


# Requests.


@pytest.mark.parametrize("terms", [detected(), manual()])
def test_an_answer_is_owed_from_the_request_on(terms: dict[str, Any], clock: list[float]) -> None:
    call = Call(**terms).client("response.create")
    clock[0] += 600
    assert call.state == WAITING
    assert call.responds().state == QUIET


def typed(role: str) -> dict[str, Any]:
    return {"id": "item_t", "type": "message", "role": role}


@pytest.mark.parametrize("kind", ["added", "created"])
def test_a_typed_message_is_asked_about_however_long_that_takes(kind: str, clock: list[float]) -> None:
    call = Call(**detected()).model(f"conversation.item.{kind}", item=typed("user"))
    clock[0] += 600
    assert call.state == WAITING
    assert call.client("response.create").responds().state == QUIET


def test_a_conversation_that_is_rebuilt_up_to_an_answer_owes_nothing() -> None:
    call = Call(**detected())
    for role in ("system", "user", "assistant", "user", "assistant"):
        call.model("conversation.item.added", item=typed(role))
    assert call.state == QUIET
    assert call.model("conversation.item.added", item=typed("user")).state == WAITING


def test_two_answers_that_were_asked_for_are_both_waited_for() -> None:
    call = Call(**detected()).client("response.create").client("response.create", response={"conversation": "none"})
    assert call.responds().state == WAITING
    assert call.responds(conversation_id=None).state == QUIET


def test_an_answer_that_comes_by_itself_is_not_the_one_that_was_asked_for() -> None:
    call = Call(**detected()).client("response.create", response={"conversation": "none"})
    call.model("input_audio_buffer.speech_started", item_id="i").model("input_audio_buffer.speech_stopped", item_id="i")
    assert call.responds().state == WAITING
    assert call.responds(conversation_id=None).state == QUIET


def test_speech_that_is_taken_back_leaves_an_answer_owed() -> None:
    call = Call(**detected()).speaks().client("response.create")
    call.model("input_audio_buffer.speech_started", item_id="i").client("input_audio_buffer.clear")
    assert call.model("input_audio_buffer.cleared").state == WAITING


def test_a_request_that_came_too_early_is_made_again_behind_the_response(clock: list[float]) -> None:
    call = Call(**detected()).model("response.created", response={"id": "resp_1"}).client("response.create")
    call.model("error", error={"code": "conversation_already_has_active_response"})
    clock[0] += 10
    call.model("response.done", response={"status": "completed"})
    assert call.state == WAITING
    clock[0] += 3.1
    assert call.state == QUIET


@pytest.mark.parametrize("length", [1, 300, 4000, 40_000])
def test_a_request_is_known_however_long_it_is(length: int) -> None:
    call = Call(**detected()).speaks()
    assert call.client("response.create", response={"instructions": "x" * length}).state == WAITING


def test_an_answer_out_of_band_pays_no_other_debt() -> None:
    call = Call(**detected()).model("input_audio_buffer.speech_started", item_id="i")
    call.model("input_audio_buffer.speech_stopped", item_id="i")
    call.model("response.created", response={"id": "resp_2", "conversation_id": None})
    assert call.state == RESPONDING
    call.model("response.done", response={"status": "completed", "conversation_id": None, "output": [FUNCTION]})
    assert call.state == WAITING
    assert call.responds().state == QUIET


def test_a_client_may_ask_again_behind_a_response_that_failed(clock: list[float]) -> None:
    call = Call(**detected()).responds(status="failed")
    clock[0] += 2.0
    assert call.state == WAITING
    assert call.responds().state == QUIET


@pytest.mark.parametrize("status", ["cancelled", "incomplete"])
def test_a_response_that_was_cancelled_or_cut_short_ends_its_turn_at_once(status: str) -> None:
    assert Call(**detected()).responds(status=status).state == QUIET


@pytest.mark.parametrize(
    "error",
    [
        {"code": "response_cancel_not_active"},
        {"code": "invalid_value", "param": "session.audio.output.voice"},
        {"code": "item_truncate_invalid_item_id", "param": None},
    ],
)
def test_an_error_about_something_else_leaves_an_answer_owed(error: dict[str, Any], clock: list[float]) -> None:
    call = Call(**detected()).client("response.create").client("conversation.item.truncate", item_id="item_1")
    call.model("error", error=error)
    clock[0] += 600
    assert call.state == WAITING


# Tools.


def test_a_tool_is_waited_for_and_so_is_the_answer_to_its_output(clock: list[float]) -> None:
    call = Call(**detected()).responds(FUNCTION)
    clock[0] += 600
    assert call.state == WAITING
    call.model("conversation.item.added", item=output_of())
    clock[0] += 1.0
    assert call.state == WAITING
    assert call.responds().state == QUIET


def test_each_of_several_tools_is_waited_for(clock: list[float]) -> None:
    call = Call(**detected()).responds({"type": "message"}, FUNCTION, FUNCTION | {"call_id": "call_2"})
    call.model("conversation.item.added", item=output_of("call_2"))
    clock[0] += 600
    assert call.state == WAITING
    call.model("conversation.item.created", item=output_of("call_1"))
    clock[0] += 3.1
    assert call.state == QUIET, "a silent tool: nothing is said behind its output"


def test_a_model_that_talks_on_leaves_the_tool_open() -> None:
    call = Call(**detected()).responds(FUNCTION).responds({"type": "message"})
    assert call.state == WAITING


def test_an_output_that_is_faster_than_the_end_of_its_response_counts(clock: list[float]) -> None:
    call = Call(**detected()).model("response.created", response={"id": "resp_1"})
    call.model("conversation.item.added", item=output_of())
    clock[0] += 10
    call.model("response.done", response={"status": "completed", "output": [FUNCTION]})
    assert call.state == WAITING, "the client asks when the response is over"
    clock[0] += 3.1
    assert call.state == QUIET


def test_a_call_that_was_cut_off_is_not_waited_for(clock: list[float]) -> None:
    call = Call(**detected()).responds(FUNCTION | {"status": "incomplete"}, status="cancelled")
    clock[0] += 3.1
    assert call.state == QUIET


def test_a_call_without_an_id_is_waited_for_all_the_same() -> None:
    assert Call(**detected()).responds({"type": "function_call"}).state == WAITING


MCP = {"type": "mcp_call", "id": "item_m"}


@pytest.mark.parametrize("end", ["completed", "failed"])
def test_an_mcp_call_outlives_its_response_and_the_client_asks_for_the_answer(end: str, clock: list[float]) -> None:
    call = Call(**detected()).model("response.created", response={"id": "resp_1"})
    call.model("response.mcp_call.in_progress", item_id="item_m")
    call.model("response.done", response={"status": "completed", "output": [MCP]})
    clock[0] += 15
    assert call.state == WAITING
    call.model(f"response.mcp_call.{end}", item_id="item_m")
    clock[0] += 1
    assert call.state == WAITING
    assert call.responds().state == QUIET


def test_an_mcp_call_that_is_over_before_its_response_is_asked_about(clock: list[float]) -> None:
    call = Call(**detected()).model("response.created", response={"id": "resp_1"})
    call.model("response.mcp_call.in_progress", item_id="item_m")
    call.model("response.mcp_call.completed", item_id="item_m")
    clock[0] += 10
    call.model("response.done", response={"status": "completed", "output": [MCP | {"output": "[]"}]})
    assert call.state == WAITING
    clock[0] += 3.1
    assert call.state == QUIET


def test_a_person_may_take_long_to_approve(clock: list[float]) -> None:
    call = Call(**detected()).model("conversation.item.added", item={"id": "mcpr_1", "type": "mcp_approval_request"})
    call.responds({"id": "mcpr_1", "type": "mcp_approval_request"})
    clock[0] += 600
    assert call.state == WAITING
    answer = {"id": "item_a", "type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
    call.model("conversation.item.added", item=answer)
    call.model("response.mcp_call.in_progress", item_id="item_m").model("response.mcp_call.completed", item_id="item_m")
    clock[0] += 3.1
    assert call.state == QUIET


# Transcripts.


@pytest.mark.parametrize("end", ["completed", "failed"])
@pytest.mark.parametrize("kind", ["session", "transcription_session"])
def test_a_transcription_session_owes_a_transcript_of_what_was_committed(kind: str, end: str) -> None:
    call = Call()
    call.model(f"{kind}.updated", session={"type": "transcription", "turn_detection": None, **manual()})
    assert call.speaks().state == SPEAKING
    assert call.commits("item_1").state == WAITING
    call.model(f"conversation.item.input_audio_transcription.{end}", item_id="item_1")
    assert call.state == QUIET


def test_a_transcription_session_that_detects_turns_owes_no_answer() -> None:
    call = Call(**detected()).model("session.updated", session={"type": "transcription", **detected()})
    call.model("input_audio_buffer.speech_started", item_id="i").model("input_audio_buffer.speech_stopped", item_id="i")
    assert call.state == WAITING
    assert call.model("input_audio_buffer.committed", item_id="i").state == WAITING
    call.model("conversation.item.input_audio_transcription.completed", item_id="i", transcript="...")
    assert call.state == QUIET


def test_a_transcript_that_was_asked_for_is_owed_behind_the_answer_too() -> None:
    transcribed = {
        "audio": {"input": {"turn_detection": {"type": "server_vad"}, "transcription": {"model": "whisper-1"}}}
    }
    call = Call(**transcribed).model("input_audio_buffer.speech_started", item_id="i")
    call.model("input_audio_buffer.speech_stopped", item_id="i").model("input_audio_buffer.committed", item_id="i")
    assert call.responds().state == WAITING
    call.model("conversation.item.input_audio_transcription.failed", item_id="i")
    assert call.state == QUIET


# What the client says is found however it is written and cut.


@pytest.mark.parametrize(
    "event",
    [
        b'{"type":"response.create"}',
        b'{"event_id":"event_1", "type" : "response.create"}',
        b'{"response":{"tools":[{"type":"function"}]},"type":"response.create"}',
        b'{"response":{"instructions":"' + b"x" * 170 + b'"},"type":"response.create"}',
    ],
)
def test_a_request_is_found_however_it_is_written_and_cut(event: bytes) -> None:
    whole = frame(TEXT, event, masked=True)
    for at in range(len(whole)):
        assert Call(**detected()).says(whole[:at], whole[at:]).state == WAITING, at
    assert Call(**detected()).says(*(whole[at : at + 1] for at in range(len(whole)))).state == WAITING
    for at in range(0, len(event), 7):
        parts = frame(TEXT, event[:at], masked=True, fin=False), frame(PING, b"", masked=True)
        assert Call(**detected()).says(*parts, frame(0, event[at:], masked=True)).state == WAITING, at
        assert Call(**detected()).says(b"".join(parts) + frame(0, event[at:], masked=True)).state == WAITING, at


@pytest.mark.parametrize(
    "event", [b"", b"{", b"[]", b'{"type":7}', b'{"item":{"type":"response.create"}}', b'{"a":"type"}', b"\xff" * 99]
)
def test_what_is_no_event_of_the_client_asks_for_nothing(event: bytes) -> None:
    if event != b'{"item":{"type":"response.create"}}':  # the first type of a message is taken for its own
        assert Call(**detected()).says(frame(TEXT, event, masked=True)).state == QUIET
    assert Call(**detected()).says(frame(BINARY, b'{"type":"response.create"}', masked=True)).state == QUIET


def test_a_message_is_kept_only_up_to_a_bound_whoever_reads_on() -> None:
    call = Call(reading=True, **detected())
    call.says(frame(TEXT, b'{"a":"' + b"x" * 100, masked=True, fin=False))
    for _ in range(100):
        call.says(frame(0, b"x" * 1000, masked=True, fin=False))
        assert len(call._caller._text or b"") <= READ_LIMIT + 2000
    assert call.says(frame(0, b'"}', masked=True)).state == QUIET


def test_ids_that_a_model_makes_up_take_no_memory_without_a_bound() -> None:
    call = Call(**detected())
    for number in range(2 * DEBTS_LIMIT):
        call.model("response.mcp_call.in_progress", item_id=f"item_{number}" * 50)
    assert len(call.turns._debts) == DEBTS_LIMIT
    assert max(len(name or "") for _, name in call.turns._debts) <= 128


# What a call used.


def test_tokens_are_told_apart_and_transcriptions_count_by_themselves() -> None:
    given = {"text_tokens": 119, "audio_tokens": 13, "cached_tokens": 64}
    made = {"text_tokens": 30, "audio_tokens": 91}
    used = {"input_tokens": 132, "output_tokens": 121, "input_token_details": given, "output_token_details": made}
    call = Call(**detected()).responds(usage=used).responds(usage=used | {"input_token_details": None})
    transcribed = "conversation.item.input_audio_transcription.completed"
    call.model(transcribed, item_id="i", usage={"type": "tokens", "total_tokens": 48, "input_tokens": 38})
    for seconds in (3.4, "3.4", -1, True, None, float(10**9)):
        call.model(transcribed, item_id="i", usage={"type": "duration", "seconds": seconds})
    assert call.turns.usage.tokens() == {
        "tokens_in": 264,
        "tokens_out": 242,
        "tokens_in_text": 119,
        "tokens_in_audio": 13,
        "tokens_in_cached": 64,
        "tokens_out_text": 60,
        "tokens_out_audio": 182,
        "transcription_tokens": 48,
    }
    assert call.turns.usage.transcription_s == 3.4


# The table is whole.

SERVER_EVENTS_WITHOUT_A_TURN = {
    "conversation.created",  # beta
    "conversation.item.done",  # the item was added before
    "conversation.item.input_audio_transcription.delta",
    "conversation.item.input_audio_transcription.segment",
    "input_audio_buffer.dtmf_event_received",  # SIP: a key of the telephone
    "mcp_list_tools.in_progress",  # listing tools needs no turn and blocks none
    "mcp_list_tools.completed",
    "mcp_list_tools.failed",
    "output_audio_buffer.started",  # WebRTC and SIP
    "output_audio_buffer.stopped",
    "output_audio_buffer.cleared",
    "rate_limits.updated",
    # Parts of a response, which is not over before its response.done.
    "response.audio.delta",
    "response.audio.done",
    "response.audio_transcript.delta",
    "response.audio_transcript.done",
    "response.content_part.added",
    "response.content_part.done",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.mcp_call_arguments.delta",
    "response.mcp_call_arguments.done",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.delta",
    "response.output_audio_transcript.done",
    "response.output_item.added",
    "response.output_item.done",
    "response.output_text.delta",
    "response.output_text.done",
    "response.text.delta",
    "response.text.done",
}


def types_of(union: Any) -> set[str]:
    """The types of the events of one of the SDK's unions."""
    return {kind for each in get_args(get_args(union)[0]) for kind in get_args(each.model_fields["type"].annotation)}


def test_every_event_of_the_sdk_is_in_the_table_or_known_to_move_no_turn() -> None:
    known = types_of(RealtimeServerEvent) | types_of(BetaServerEvent)
    moving = {kind.decode() for kind in TABLE}
    assert not moving & SERVER_EVENTS_WITHOUT_A_TURN
    assert known - moving == SERVER_EVENTS_WITHOUT_A_TURN & known
    assert SERVER_EVENTS_WITHOUT_A_TURN - known == set()
    assert moving - known <= {"transcription_session.created"}, "said by the preview, in no union"


def test_every_event_of_a_client_is_audio_or_a_request() -> None:
    asked = {kind.decode() for kind in REQUESTS | {APPEND}}
    assert types_of(RealtimeClientEvent) | types_of(BetaClientEvent) == asked


def test_time_passes_unheard_where_nothing_settles() -> None:
    call = Call(**detected())
    assert call.turns.settling_s() <= 0
    call.responds(status="failed")
    assert 0 < call.turns.settling_s() <= 3.0
    assert call.turns._settle_until > NOW[0]
