"""What the model will not do: each time an `error` event that names the client's, and a session that goes on."""

from contextlib import suppress
from typing import Any

import pytest

from tests.stage.conftest import Caller, LiveModel, ModelFactory, speech

TEXT = [{"type": "input_text", "text": "hello"}]


def item(**fields: Any) -> dict[str, Any]:
    return {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": TEXT, **fields}}


def session(**fields: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": {"type": "realtime", **fields}}


def detection(**fields: Any) -> dict[str, Any]:
    return session(audio={"input": {"turn_detection": fields}})


@pytest.mark.parametrize(
    ("event", "code", "param"),
    [
        ({}, "missing_required_parameter", "type"),
        ({"type": "foo"}, "invalid_value", "type"),
        ({"type": 7}, "invalid_type", "type"),
        ({"type": "session.update"}, "missing_required_parameter", "session"),
        ({"type": "session.update", "session": {}}, "missing_required_parameter", "session.type"),
        ({"type": "session.update", "session": {"type": "other"}}, "invalid_value", "session.type"),
        (session(modalities=["text"]), "unknown_parameter", "session.modalities"),
        (session(mood="sunny"), "unknown_parameter", "session.mood"),
        (session(audio={"input": {"gain": 2}}), "unknown_parameter", "session.audio.input.gain"),
        (session(tools=[{"type": "telepathy"}]), "invalid_value", "session.tools[0].type"),
        (session(tools=[{"type": "mcp"}]), "missing_required_parameter", "session.tools[0].server_label"),
        (session(parallel_tool_calls="yes"), "invalid_type", "session.parallel_tool_calls"),
        (session(output_modalities=["text", "audio"]), "invalid_value", "session.output_modalities"),
        (session(audio="loud"), "invalid_type", "session.audio"),
        (session(audio={"output": {"format": {"type": "mp3"}}}), "invalid_value", "session.audio.output.format"),
        (detection(type="psychic"), "invalid_value", "session.audio.input.turn_detection.type"),
        (detection(threshold="high"), "invalid_value", "session.audio.input.turn_detection.threshold"),
        (
            detection(type="semantic_vad", eagerness="very"),
            "invalid_value",
            "session.audio.input.turn_detection.eagerness",
        ),
        ({"type": "input_audio_buffer.append"}, "missing_required_parameter", "audio"),
        ({"type": "input_audio_buffer.append", "audio": 5}, "invalid_type", "audio"),
        ({"type": "input_audio_buffer.append", "audio": "no base64!"}, "invalid_value", "audio"),
        ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty", None),
        ({"type": "response.cancel"}, "response_cancel_not_active", None),
        ({"type": "response.create", "response": "now"}, "invalid_type", "response"),
        ({"type": "response.create", "response": {"tools": "all"}}, "invalid_type", "response.tools"),
        ({"type": "response.create", "response": {"voice": "ash"}}, "unknown_parameter", "response.voice"),
        ({"type": "response.create", "response": {"mood": "sunny"}}, "unknown_parameter", "response.mood"),
        ({"type": "response.create", "response": {"tool_choice": "maybe"}}, "invalid_value", "response.tool_choice"),
        (
            {"type": "response.create", "response": {"max_output_tokens": "many"}},
            "invalid_value",
            "response.max_output_tokens",
        ),
        (item(role="narrator"), "invalid_value", "item.role"),
        (item(content=[{"type": "output_text", "text": "x"}]), "invalid_value", "item.content[0].type"),
        (item(content=["x"]), "invalid_value", "item.content[0].type"),
        (item(content=[{"type": "input_text"}]), "missing_required_parameter", "item.content[0].text"),
        (item(type="letter"), "invalid_value", "item.type"),
        (item(id="x" * 33), "string_above_max_length", "item.id"),
        (item() | {"previous_item_id": "nowhere"}, "item_create_invalid_previous_item_id", "previous_item_id"),
        (item(type="function_call_output", call_id="call_1", output="1"), "invalid_value", "item.call_id"),
        ({"type": "conversation.item.delete", "item_id": "gone"}, "item_delete_invalid_item_id", "item_id"),
        (
            {"type": "conversation.item.truncate", "item_id": "gone", "content_index": 0, "audio_end_ms": 1},
            "item_truncate_invalid_item_id",
            "item_id",
        ),
    ],
)
async def test_an_error_names_the_fault_and_the_session_goes_on_when_an_event_is_wrong(
    caller: Caller, event: dict[str, Any], code: str, param: str | None
) -> None:
    await caller.socket.send_json({"event_id": "event_of_mine", **event})

    error = await caller.rejection()

    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)
    assert error["event_id"] == "event_of_mine"
    await caller.say("still there?")


@pytest.mark.parametrize("text", ["{", "null", "[]", '"hello"', "\x00"])
async def test_an_error_comes_back_when_a_frame_is_no_json_object(caller: Caller, text: str) -> None:
    await caller.socket.send_str(text)

    assert (await caller.rejection())["event_id"] is None
    await caller.say("still there?")


async def test_an_error_comes_back_when_a_frame_is_binary(caller: Caller) -> None:
    await caller.socket.send_bytes(b"\x00\x01")

    assert "Binary" in (await caller.rejection())["message"]
    await caller.say("still there?")


async def test_a_second_response_is_refused_when_one_is_active(model_for: ModelFactory) -> None:
    caller = await (await model_for(answer_seconds=60, pace=4)).call()
    await caller.send("response.create")
    active = (await caller.last("response.created"))["response"]["id"]

    await caller.send("response.create")

    error = await caller.rejection()
    assert error["code"] == "conversation_already_has_active_response"
    assert active in error["message"]


async def test_an_item_is_refused_when_its_id_is_taken(caller: Caller) -> None:
    await caller.socket.send_json(item(id="one"))
    await caller.until("conversation.item.done")

    await caller.socket.send_json(item(id="one"))

    assert (await caller.rejection())["code"] == "item_create_duplicate_item_id"


async def test_the_voice_is_fixed_when_it_has_been_heard(caller: Caller) -> None:
    await caller.update(audio={"output": {"voice": "marin"}})
    await caller.send("response.create")
    await caller.until("rate_limits.updated")

    await caller.socket.send_json(session(audio={"output": {"voice": "cedar"}}))

    assert (await caller.rejection())["code"] == "cannot_update_voice"


async def test_a_session_update_changes_nothing_when_one_field_is_unknown(caller: Caller) -> None:
    await caller.socket.send_json(session(instructions="Be brief.", colour="green"))
    assert (await caller.rejection())["param"] == "session.colour"

    await caller.socket.send_json(session(tracing="auto"))

    updated = (await caller.last("session.updated"))["session"]
    assert updated["tracing"] == "auto"
    assert updated["instructions"] != "Be brief."


async def test_an_append_of_15_mib_is_taken_when_sent_in_one_frame(caller: Caller) -> None:
    await caller.send("input_audio_buffer.append", audio="A" * (15 * 1024 * 1024))
    await caller.send("input_audio_buffer.clear")

    assert (await caller.next())["type"] == "input_audio_buffer.cleared"


async def test_the_model_hangs_up_with_1009_when_a_frame_is_far_too_big(model: LiveModel, caller: Caller) -> None:
    with suppress(ConnectionError):  # the rest of the frame meets a closed socket
        await caller.socket.send_str("A" * (17 * 1024 * 1024))

    record = await model.ended()
    assert (record["ended_by"], record["close_code_sent"]) == ("model", 1009)


async def test_audio_kept_from_before_is_dropped_when_the_buffer_is_cleared(caller: Caller) -> None:
    await caller.update(audio={"input": {"turn_detection": None}})
    await caller.append(speech(500))
    await caller.send("input_audio_buffer.clear")
    await caller.until("input_audio_buffer.cleared")

    await caller.send("input_audio_buffer.commit")

    assert "0.00ms" in (await caller.rejection())["message"]
