"""A turn as the client sees it: order, numbers, interruptions."""

import asyncio
import base64
from itertools import groupby

import pytest

from stage.gpt.options import Unverified
from tests.stage.conftest import Caller, LiveModel, ModelFactory, silence, speech

TURN = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
]


async def test_a_spoken_turn_has_the_documented_order_when_the_user_speaks_and_falls_silent(caller: Caller) -> None:
    await caller.append(silence(400), speech(300), silence(300))

    events = await caller.until("rate_limits.updated")

    kinds = ["delta" if event["type"].endswith(".delta") else event["type"] for event in events]
    assert [kind for kind, _ in groupby(kinds)] == TURN


async def test_vad_reports_audio_time_and_one_item_when_padding_and_silence_are_set(caller: Caller) -> None:
    detection = {"type": "server_vad", "prefix_padding_ms": 100, "silence_duration_ms": 240}
    await caller.update(audio={"input": {"turn_detection": detection}})

    await caller.append(silence(400), speech(300), silence(500))

    events = await caller.until("conversation.item.done")
    started, stopped, committed, _, done = events
    assert started["audio_start_ms"] == 400 - 100
    assert stopped["audio_end_ms"] == 400 + 300 + 240
    assert {started["item_id"], stopped["item_id"], committed["item_id"], done["item"]["id"]} == {started["item_id"]}


async def test_padding_never_reaches_into_the_turn_before_when_turns_are_close(caller: Caller) -> None:
    detection = {"type": "server_vad", "silence_duration_ms": 200, "create_response": False}
    await caller.update(audio={"input": {"turn_detection": detection}})

    await caller.append(speech(300), silence(200), speech(100))

    stopped = await caller.last("input_audio_buffer.speech_stopped")
    started = await caller.last("input_audio_buffer.speech_started")
    assert started["audio_start_ms"] == stopped["audio_end_ms"] == 500


async def test_nothing_is_heard_when_the_threshold_is_above_the_voice(caller: Caller) -> None:
    await caller.update(audio={"input": {"turn_detection": {"type": "server_vad", "threshold": 9}}})

    await caller.append(speech(300), silence(300))
    await caller.send("input_audio_buffer.clear")

    assert [event["type"] for event in await caller.until("input_audio_buffer.cleared")] == [
        "input_audio_buffer.cleared"
    ]


async def test_usage_adds_up_and_the_cache_grows_when_turns_follow_each_other(caller: Caller) -> None:
    cached = []
    for _ in range(3):
        await caller.append(speech(1000), silence(200))
        usage = (await caller.last("response.done"))["response"]["usage"]
        read, written = usage["input_token_details"], usage["output_token_details"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
        assert usage["input_tokens"] == read["text_tokens"] + read["audio_tokens"]
        assert usage["output_tokens"] == written["text_tokens"] + written["audio_tokens"]
        assert written["audio_tokens"] == 12  # 0.6 s at 20 a second
        assert read["cached_tokens"] <= usage["input_tokens"]
        assert read["cached_tokens"] == sum(read["cached_tokens_details"].values())
        cached.append(read["cached_tokens"])
    assert cached[0] == 0
    assert cached[0] < cached[1] <= cached[2]


async def test_the_audio_is_loud_and_as_long_as_asked_when_an_answer_is_spoken(model_for: ModelFactory) -> None:
    caller = await (await model_for(answer_seconds=1.23)).call()
    await caller.send("response.create")

    events = await caller.until("response.done")

    audio = [base64.b64decode(e["delta"]) for e in events if e["type"] == "response.output_audio.delta"]
    assert sum(map(len, audio)) == 1230 * 48
    assert all(4800 <= len(piece) <= 12000 for piece in audio[:-1])
    assert max(memoryview(b"".join(audio)).cast("h")) > 3000


async def test_new_speech_cancels_the_response_when_the_user_barges_in(model_for: ModelFactory) -> None:
    caller = await (await model_for(answer_seconds=60, pace=4)).call()
    await caller.append(speech(300), silence(200))
    await caller.until("response.output_audio.delta")

    await caller.append(speech(100))

    events = await caller.until("response.done")
    kinds = [event["type"] for event in events if not event["type"].endswith(".delta")]
    assert kinds == ["input_audio_buffer.speech_started", *TURN[10:16]]
    response = events[-1]["response"]
    assert response["status"] == "cancelled"
    assert response["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert response["output"][0]["status"] == "incomplete"
    assert 0 < response["usage"]["output_token_details"]["audio_tokens"] < 1200


async def test_the_response_goes_on_when_interrupt_response_is_off(model_for: ModelFactory) -> None:
    caller = await (await model_for(answer_seconds=2, pace=10)).call()
    detection = {"type": "server_vad", "interrupt_response": False, "create_response": False}
    await caller.update(audio={"input": {"turn_detection": detection}})
    await caller.send("response.create")
    await caller.until("response.output_audio.delta")

    await caller.append(speech(100))

    assert (await caller.last("response.done"))["response"]["status"] == "completed"


async def test_no_response_comes_when_create_response_is_off(caller: Caller) -> None:
    detection = {"type": "server_vad", "silence_duration_ms": 200, "create_response": False}
    await caller.update(audio={"input": {"turn_detection": detection}})

    await caller.append(speech(200), silence(200))
    await caller.until("conversation.item.done")
    await caller.send("response.cancel")

    assert (await caller.next())["type"] == "error"


async def test_a_client_cancels_with_a_reason_when_it_has_heard_enough(model_for: ModelFactory) -> None:
    caller = await (await model_for(answer_seconds=60, pace=4)).call()
    await caller.send("response.create")
    await caller.until("response.output_audio.delta")

    await caller.send("response.cancel")

    response = (await caller.last("response.done"))["response"]
    assert response["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}


async def test_a_response_is_empty_when_cancelled_before_its_first_word(caller: Caller) -> None:
    await caller.send("response.create")
    await caller.send("response.cancel")

    events = await caller.until("response.done")
    assert [event["type"] for event in events] == ["response.created", "response.done"]
    assert events[-1]["response"]["output"] == []
    assert events[-1]["response"]["usage"]["output_tokens"] == 0


async def test_manual_commit_takes_the_audio_and_waits_when_turn_detection_is_null(caller: Caller) -> None:
    await caller.update(audio={"input": {"turn_detection": None}})

    await caller.append(speech(300), silence(900))
    await caller.send("input_audio_buffer.commit")

    assert [event["type"] for event in await caller.until("conversation.item.done")] == TURN[2:5]
    await caller.send("response.create")
    assert (await caller.next())["type"] == "response.created"


async def test_nothing_is_owed_to_a_client_that_clears_what_it_said(caller: Caller) -> None:
    await caller.update(audio={"input": {"turn_detection": None}})
    await caller.append(speech(300))

    await caller.send("input_audio_buffer.clear")
    assert (await caller.next())["type"] == "input_audio_buffer.cleared"
    await caller.append(speech(99))
    await caller.send("input_audio_buffer.commit")

    assert (await caller.rejection())["code"] == "input_audio_buffer_commit_empty"


@pytest.mark.parametrize(("eagerness", "waits_ms"), [("low", 8000), ("medium", 4000), ("auto", 4000), ("high", 2000)])
async def test_semantic_vad_waits_as_long_as_it_may(caller: Caller, eagerness: str, waits_ms: int) -> None:
    await caller.update(audio={"input": {"turn_detection": {"type": "semantic_vad", "eagerness": eagerness}}})

    await caller.append(speech(300), silence(waits_ms - 20))
    await caller.say("not yet")
    await caller.append(silence(20))

    events = await caller.until("response.created")
    stopped = next(event for event in events if event["type"] == "input_audio_buffer.speech_stopped")
    assert stopped["audio_end_ms"] == 300 + waits_ms


async def test_the_model_speaks_unasked_when_nobody_did_after_its_last_answer(model_for: ModelFactory) -> None:
    caller = await (await model_for(answer_seconds=0.3)).call()
    detection = {"type": "server_vad", "silence_duration_ms": 200, "idle_timeout_ms": 300}
    await caller.update(audio={"input": {"turn_detection": detection}})
    await caller.append(speech(300), silence(200))
    clock = asyncio.get_running_loop().time
    await caller.until("response.done")
    answered_at = clock()

    events = await caller.until("response.done")

    assert clock() - answered_at > 0.3 + 0.3
    kinds = [event["type"] for event in events if not event["type"].endswith(".delta")]
    assert kinds == ["rate_limits.updated", "input_audio_buffer.timeout_triggered", *TURN[2:9], *TURN[10:16]]
    idle, committed = events[1:3]
    assert idle["item_id"] == committed["item_id"]
    assert idle["audio_start_ms"] == idle["audio_end_ms"] == 500, "the client sent nothing more"


@pytest.mark.parametrize("repeats", [True, False])
async def test_the_idle_timeout_repeats_as_it_is_guessed_to(model_for: ModelFactory, repeats: bool) -> None:
    caller = await (await model_for(answer_seconds=0.1, unverified=Unverified(idle_timeout_repeats=repeats))).call()
    await caller.update(audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 100}}})
    await caller.send("response.create")
    await caller.until("input_audio_buffer.timeout_triggered")
    await caller.until("rate_limits.updated")

    if repeats:
        await caller.until("input_audio_buffer.timeout_triggered")
    else:
        with pytest.raises(TimeoutError):
            await caller.socket.receive(timeout=1)


async def test_the_idle_timeout_starts_anew_when_somebody_speaks(model_for: ModelFactory) -> None:
    caller = await (await model_for(answer_seconds=0.1)).call()
    detection = {"type": "server_vad", "silence_duration_ms": 200, "idle_timeout_ms": 700, "create_response": False}
    await caller.update(audio={"input": {"turn_detection": detection}})
    await caller.send("response.create")
    await caller.until("response.done")

    await caller.append(speech(300))

    await caller.until("input_audio_buffer.speech_started")
    with pytest.raises(TimeoutError):
        await caller.socket.receive(timeout=1.5)


async def test_a_transcript_arrives_beside_the_answer_when_transcription_is_on(caller: Caller) -> None:
    await caller.update(audio={"input": {"transcription": {"model": "my-transcribe"}}})
    await caller.append(speech(500), silence(200))

    events = await caller.until("conversation.item.input_audio_transcription.completed")

    deltas = [e["delta"] for e in events if e["type"] == "conversation.item.input_audio_transcription.delta"]
    assert "".join(deltas) == events[-1]["transcript"]
    usage = events[-1]["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


async def test_a_transcript_arrives_after_the_answer_when_it_takes_long(model_for: ModelFactory) -> None:
    caller = await (await model_for(transcription_seconds=1, answer_seconds=0.1)).call()
    await caller.update(audio={"input": {"transcription": {"model": "my-transcribe"}}})
    await caller.append(speech(500), silence(200))

    await caller.until("response.done")

    await caller.until("conversation.item.input_audio_transcription.completed")


async def test_the_model_thinks_before_it_speaks_as_long_as_it_is_told(model_for: ModelFactory) -> None:
    caller = await (await model_for(thinking_seconds=0.5)).call()
    clock = asyncio.get_running_loop().time
    began_at = clock()
    await caller.send("response.create")

    await caller.until("response.output_item.added")

    assert clock() - began_at >= 0.5


async def test_rate_limits_come_before_the_words_when_set_to_the_start(model_for: ModelFactory) -> None:
    caller = await (await model_for(rate_limits="start")).call()
    await caller.send("response.create")

    assert [event["type"] for event in await caller.until("rate_limits.updated")] == [
        "response.created",
        "rate_limits.updated",
    ]


async def test_text_is_streamed_when_the_session_asks_for_text(caller: Caller) -> None:
    await caller.update(output_modalities=["text"])
    await caller.say("What time does the train leave?")
    await caller.send("response.create")

    events = await caller.until("response.done")

    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert text.startswith("Certainly")
    assert events[-1]["response"]["output"][0]["content"] == [{"type": "output_text", "text": text}]
    assert [e["type"] for e in events[-6:-1]] == [
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
    ]


async def test_an_answer_is_incomplete_when_it_reaches_max_output_tokens(caller: Caller) -> None:
    await caller.send("response.create", response={"max_output_tokens": 5})

    response = (await caller.last("response.done"))["response"]
    assert response["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}


async def test_an_out_of_band_response_leaves_no_item_when_conversation_is_none(caller: Caller) -> None:
    await caller.send("response.create", response={"conversation": "none", "metadata": {"topic": "summary"}})

    events = await caller.until("response.done")

    assert not [event for event in events if event["type"].startswith("conversation.item")]
    assert events[-1]["response"]["conversation_id"] is None
    assert events[-1]["response"]["metadata"] == {"topic": "summary"}


async def test_a_tool_is_called_and_its_output_spoken_about_when_the_user_asks_for_it(caller: Caller) -> None:
    properties = {"city": {"type": "string"}, "unit": {"enum": ["celsius"]}}
    tool = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": properties}}
    await caller.update(tools=[tool])
    await caller.say("Please call get_weather for me")
    await caller.send("response.create")

    events = await caller.until("response.done")

    done = next(event for event in events if event["type"] == "response.function_call_arguments.done")
    deltas = [e["delta"] for e in events if e["type"] == "response.function_call_arguments.delta"]
    assert "".join(deltas) == done["arguments"] == '{"city": "example", "unit": "celsius"}'
    preamble, item = events[-1]["response"]["output"]
    assert (preamble["type"], preamble["phase"]) == ("message", "commentary")
    assert (item["type"], item["name"], item["status"]) == ("function_call", "get_weather", "completed")

    output = {"type": "function_call_output", "call_id": item["call_id"], "output": "12 degrees"}
    await caller.send("conversation.item.create", item=output)
    await caller.until("conversation.item.done")
    await caller.send("response.create")
    assert (await caller.last("response.done"))["response"]["output"][0]["content"][0]["type"] == "output_audio"


async def test_a_tool_is_called_when_the_choice_is_forced(model: LiveModel) -> None:
    tools = [{"type": "function", "name": name, "parameters": {"type": "object"}} for name in ("one", "two")]
    for choice, expected in (("required", "one"), ({"type": "function", "name": "two"}, "two")):
        caller = await model.call()
        await caller.update(tools=tools, tool_choice=choice)
        await caller.append(speech(200), silence(200))
        assert (await caller.last("response.done"))["response"]["output"][0]["name"] == expected


async def test_truncating_shortens_what_is_remembered_when_the_user_heard_only_part(caller: Caller) -> None:
    await caller.send("response.create")
    item = (await caller.last("response.done"))["response"]["output"][0]
    await caller.until("rate_limits.updated")

    await caller.send("conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=200)

    assert (await caller.next())["audio_end_ms"] == 200
    await caller.send("conversation.item.retrieve", item_id=item["id"])
    assert (await caller.next())["item"]["content"] == [{"type": "output_audio", "transcript": ""}]
    await caller.send("conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=900)
    assert (await caller.rejection())["message"] == "Audio content of 200ms is already shorter than 900ms"


async def test_a_deleted_item_is_gone_when_asked_for_again(caller: Caller) -> None:
    await caller.say("Hello")
    item = {"type": "message", "id": "mine", "role": "system", "content": [{"type": "input_text", "text": "Be kind"}]}
    await caller.send("conversation.item.create", item=item, previous_item_id="root")
    assert (await caller.last("conversation.item.done"))["previous_item_id"] is None

    await caller.send("conversation.item.delete", item_id="mine")

    assert (await caller.next())["type"] == "conversation.item.deleted"
    await caller.send("conversation.item.retrieve", item_id="mine")
    assert (await caller.rejection())["code"] == "item_retrieve_invalid_item_id"


async def test_a_noisy_model_begins_its_answers_later_by_chance(model_for: ModelFactory) -> None:
    caller = await (await model_for(thinking_seconds=0, noise_seconds=0.5, answer_seconds=0.1)).call()
    clock = asyncio.get_running_loop().time
    waited = []
    for _ in range(8):
        await caller.send("response.create")
        await caller.until("response.created")
        created_at = clock()
        await caller.until("response.output_item.added")
        waited.append(clock() - created_at)
        await caller.until("response.done")

    # Chance makes eight such waits shorter, or as equal, once in a million runs.
    assert sum(waited) > 0.2
    assert max(waited) - min(waited) > 0.05
