"""What the model says moves the turn, however its events are written, cut into chunks or fragments."""

import orjson
import pytest

from rtproxy.model.events import COLLECT_LIMIT, INNER_LIMIT, ModelEvents
from rtproxy.model.turns import QUIET, RESPONDING, SPEAKING, WAITING, Turns
from stage.rawpeer import BINARY, PING, TEXT, frame
from tests.rtproxy.goes import a_walker

CREATED = b'{"type":"response.created","event_id":"event_1","response":{"id":"resp_1"}}'
STARTED = b'{"type":"input_audio_buffer.speech_started","event_id":"event_2","item_id":"item_1"}'
STOPPED = b'{"type":"input_audio_buffer.speech_stopped","event_id":"event_3","item_id":"item_1"}'
COMMITTED = b'{"type":"input_audio_buffer.committed","event_id":"event_5","item_id":"item_1"}'


def done(response: object) -> bytes:
    return b'{"type":"response.done","event_id":"event_4","response":' + orjson.dumps(response) + b"}"


def used(tokens_in: object, tokens_out: object) -> bytes:
    return done({"usage": {"input_tokens": tokens_in, "output_tokens": tokens_out}})


def text(event: bytes) -> bytes:
    return frame(TEXT, event, masked=False)


class Listening:
    """The turns of a call, hearing frames through the walker of the upstream leg."""

    def __init__(self, *events: bytes) -> None:
        self.turns = Turns()
        self._walker = a_walker(masked=False, finder=ModelEvents((self.turns,)))
        self.hears(*(text(event) for event in events))

    def hears(self, *chunks: bytes) -> None:
        for chunk in chunks:
            self._walker.feed(chunk)
        assert not self._walker.halt, "the test's own frames are sound"


def after(*events: bytes) -> Turns:
    return Listening(*events).turns


def test_a_call_is_quiet_before_anything_is_said() -> None:
    assert after().state == QUIET
    assert after().quiet


def test_a_call_is_speaking_when_the_user_is_heard() -> None:
    turns = after(STARTED)
    assert (turns.state, turns.quiet) == (SPEAKING, False)


def test_a_call_is_responding_from_created_to_done() -> None:
    call = Listening(CREATED)
    assert (call.turns.state, call.turns.quiet) == (RESPONDING, False)
    call.hears(text(done({})))
    assert (call.turns.state, call.turns.responses) == (QUIET, 1)


def test_a_call_is_responding_until_the_last_of_two_responses_is_done() -> None:
    call = Listening(CREATED, CREATED, done({}))
    assert call.turns.state == RESPONDING
    call.hears(text(done({})))
    assert call.turns.state == QUIET


def test_a_call_is_speaking_when_the_user_broke_into_a_response() -> None:
    call = Listening(CREATED, STARTED)
    assert call.turns.state == RESPONDING
    call.hears(text(done({"status": "cancelled"})))
    assert call.turns.state == SPEAKING


def test_a_done_without_a_created_does_not_hide_the_next_response() -> None:
    assert after(done({}), CREATED).state == RESPONDING


def test_an_answer_is_owed_from_the_end_of_speech_until_a_response_begins() -> None:
    call = Listening(STARTED, STOPPED, COMMITTED)
    assert (call.turns.state, call.turns.settling_s() <= 0) == (WAITING, True), "for as long as it takes"
    call.hears(text(CREATED), text(done({})))
    assert call.turns.quiet


def test_a_turn_is_over_at_once_when_a_response_called_nothing() -> None:
    turns = after(CREATED, done({"output": [{"type": "message", "role": "assistant"}]}))
    assert turns.quiet
    assert turns.settling_s() <= 0


@pytest.mark.parametrize(
    "event",
    [
        b'{"type":"response.created","event_id":"event_1"}',
        b'{"event_id":"event_1","type":"response.created"}',
        b'{ "event_id" : "event_1", "type" : "response.created" }',
        b'{\n  "type"\t:\n  "response.created"\n}',
        b'{"event_id":"' + b"x" * 90 + b'","type":"response.created"}',
    ],
)
def test_an_event_is_known_however_it_is_written(event: bytes) -> None:
    assert after(event).state == RESPONDING


def test_an_event_that_only_quotes_another_one_moves_nothing() -> None:
    said = orjson.dumps({"type": "response.output_text.delta", "delta": CREATED.decode()})
    assert after(said, b'{"type":"response.output_item.added","item":{"type":"error"}}').state == QUIET


def test_binary_messages_move_nothing() -> None:
    call = Listening()
    call.hears(frame(BINARY, CREATED, masked=False))
    assert call.turns.state == QUIET


@pytest.mark.parametrize("event", [CREATED, b'{ "event_id": "event_1", "type": "response.created", "response": {} }'])
def test_an_event_moves_the_turn_when_it_is_cut_in_two_anywhere(event: bytes) -> None:
    stream = text(event) + text(b'{"type":"rate_limits.updated"}')
    for at in range(len(stream)):
        call = Listening()
        call.hears(stream[:at], stream[at:])
        assert call.turns.state == RESPONDING, at


def test_an_event_moves_the_turn_when_it_comes_byte_by_byte() -> None:
    call = Listening()
    stream = text(CREATED) + text(used(7, 11)) + text(b'{"type":"session.updated"}') + text(CREATED)
    call.hears(*(stream[i : i + 1] for i in range(len(stream))))
    assert (call.turns.responses, call.turns.usage.tokens_in, call.turns.usage.tokens_out) == (1, 7, 11)
    assert call.turns.state == RESPONDING


@pytest.mark.parametrize("at", [0, 1, 10, 20, 40, len(CREATED)])
def test_an_event_moves_the_turn_when_it_is_fragmented(at: int) -> None:
    call = Listening()
    call.hears(
        frame(TEXT, CREATED[:at], masked=False, fin=False)
        + frame(PING, b"between", masked=False)
        + frame(0, CREATED[at:], masked=False)
    )
    assert call.turns.state == RESPONDING


def test_a_message_in_many_fragments_and_chunks_moves_the_turn() -> None:
    call = Listening()
    stream = frame(TEXT, b"", masked=False, fin=False)
    stream += b"".join(frame(0, CREATED[i : i + 1], masked=False, fin=False) for i in range(len(CREATED)))
    stream += frame(0, b"", masked=False) + text(used(1, 2))
    call.hears(*(stream[i : i + 2] for i in range(0, len(stream), 2)))
    assert (call.turns.responses, call.turns.usage.tokens_in, call.turns.state) == (1, 1, QUIET)


def test_the_turn_moves_only_when_its_event_is_whole() -> None:
    call = Listening()
    whole = text(CREATED)
    call.hears(whole[:-1])
    assert call.turns.state == QUIET
    call.hears(whole[-1:])
    assert call.turns.state == RESPONDING


def test_a_large_event_in_between_does_not_hide_the_next() -> None:
    call = Listening(CREATED)
    stream = text(b'{"type":"response.output_audio.delta","delta":"' + b"A" * 300_000 + b'"}') + text(done({}))
    call.hears(*(stream[i : i + 1000] for i in range(0, len(stream), 1000)))
    assert (call.turns.responses, call.turns.state) == (1, QUIET)


def test_a_done_too_long_to_be_read_still_ends_the_turn() -> None:
    call = Listening(CREATED)
    long = text(done({"output": ["x" * 2 * COLLECT_LIMIT], "usage": {"input_tokens": 1}}))
    call.hears(*(long[i : i + 65_536] for i in range(0, len(long), 65_536)))
    assert (call.turns.state, call.turns.responses, call.turns.usage.tokens_in) == (QUIET, 1, 0)


@pytest.mark.parametrize("kind", [b"response.created", b"input_audio_buffer.speech_started"])
def test_an_event_that_is_not_json_moves_the_turn_by_its_type(kind: bytes) -> None:
    assert not after(b'{"type":"' + kind + b'", broken').quiet


@pytest.mark.parametrize("event", [b"", b"{}", b'"type"', b'{"type":', b'{"type":5}', b'[{"type":"x"}]', b"\xff" * 200])
def test_a_message_that_is_no_event_moves_nothing(event: bytes) -> None:
    call = Listening(event)
    assert call.turns.quiet
    call.hears(text(CREATED))
    assert call.turns.state == RESPONDING


def test_tokens_add_up_over_responses() -> None:
    turns = after(used(100, 20), used(5, 3))
    assert (turns.responses, turns.usage.tokens_in, turns.usage.tokens_out) == (2, 105, 23)


@pytest.mark.parametrize("count", [-1, True, "7", 1.5, None, [7], {"n": 7}, 2**60])
def test_a_count_that_cannot_be_one_adds_nothing(count: object) -> None:
    turns = after(used(count, count), used(2, 1))
    assert (turns.usage.tokens_in, turns.usage.tokens_out) == (2, 1)


@pytest.mark.parametrize("response", [None, [], "x", 7, {"usage": []}, {"output": {}}, {"output": [None, "x", []]}])
def test_a_done_of_another_shape_ends_the_turn_all_the_same(response: object) -> None:
    turns = after(CREATED, done(response))
    assert (turns.state, turns.responses) == (QUIET, 1)


def test_the_models_name_for_the_session_is_kept() -> None:
    assert after().upstream_session is None
    assert after(b'{"type":"session.created","session":{"id":"sess_42"}}').upstream_session == "sess_42"


@pytest.mark.parametrize("session", [b"null", b"[]", b'{"id":7}', b"{}"])
def test_a_session_without_a_name_has_none(session: bytes) -> None:
    assert after(b'{"type":"session.created","session":' + session + b"}").upstream_session is None


def test_the_code_of_the_last_error_is_kept() -> None:
    def error(code: bytes) -> bytes:
        return b'{"type":"error","error":{"type":"invalid_request_error","code":' + code + b"}}"

    assert after(error(b'"session_expired"')).error_code == "session_expired"
    assert after(error(b'"one"'), error(b'"two"')).error_code == "two"
    assert after(error(b"null")).error_code is None


def test_every_move_is_told() -> None:
    call = Listening()
    told: list[str] = []
    call.turns.on_change = lambda: told.append(call.turns.state)
    call.hears(text(STARTED) + text(b'{"type":"rate_limits.updated"}') + text(CREATED) + text(done({})))
    assert told == [SPEAKING, RESPONDING, SPEAKING]


@pytest.mark.parametrize("cut", [120, 130, 140, 150, 160])
def test_a_type_behind_a_long_event_id_is_found_wherever_the_chunk_ends(cut: int) -> None:
    turns = Turns()
    walker = a_walker(masked=False, finder=ModelEvents((turns,)))
    raw = frame(TEXT, b'{"event_id":"' + b"e" * 100 + b'","type":"response.created","response":{}}', masked=False)
    walker.feed(raw[:cut])
    walker.feed(raw[cut:])
    assert turns.active == 1


@pytest.mark.parametrize(
    "mark", ["\u2028", "\u2029", "\u202a", "\u202e", "\u2066", "\u2069", "\0", "\x1b", "\x85", "\n", "\ufeff"]
)
def test_what_the_model_says_is_logged_without_marks_that_end_or_turn_a_line(mark: str) -> None:
    turns = Turns()
    turns.model_event(b"session.created", {"session": {"id": f"sess{mark}1é"}})
    turns.model_event(b"error", {"error": {"code": f"quota{mark}gone"}})
    assert (turns.upstream_session, turns.error_code) == ("sess?1é", "quota?gone")


@pytest.mark.parametrize(("inner", "heard"), [(INNER_LIMIT - 10, 7), (INNER_LIMIT, 0)])
def test_an_event_of_thousands_of_objects_moves_the_turn_and_its_details_are_not_read(inner: int, heard: int) -> None:
    done = b'{"type":"response.done","response":{"usage":{"input_tokens":7,"output_tokens":0}},"x":['
    listening = Listening(b'{"type":"response.created","response":{}}', done + b"{}," * inner + b"0]}")
    assert listening.turns.active == 0
    assert listening.turns.usage.tokens()["tokens_in"] == heard
