"""The preview URL speaks the beta dialect: its names, its session, its content types."""

from tests.stage.conftest import PREVIEW, LiveModel, silence, speech


async def test_a_spoken_turn_has_beta_names_when_called_on_the_preview_url(model: LiveModel) -> None:
    caller = await model.call(PREVIEW)
    await caller.append(speech(300), silence(300))

    events = await caller.until("rate_limits.updated")

    assert [e["type"] for e in events if not e["type"].endswith(".delta")] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.created",
        "response.created",
        "response.output_item.added",
        "conversation.item.created",
        "response.content_part.added",
        "response.audio.done",
        "response.audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    deltas = {event["type"] for event in events if event["type"].endswith(".delta")}
    assert deltas == {"response.audio.delta", "response.audio_transcript.delta"}
    response = events[-2]["response"]
    assert response["output"][0]["content"][0]["type"] == "audio"
    assert response["modalities"] == ["text", "audio"]
    assert "output_modalities" not in response


async def test_beta_session_fields_are_understood_and_shown_when_updated(model: LiveModel) -> None:
    caller = await model.call(PREVIEW)
    detection = {"type": "server_vad", "silence_duration_ms": 300}

    change = {"modalities": ["text"], "voice": "ash", "temperature": 0.7, "turn_detection": detection}
    await caller.send("session.update", session=change)

    session = (await caller.last("session.updated"))["session"]
    assert (session["modalities"], session["voice"], session["temperature"]) == (["text"], "ash", 0.7)
    assert session["turn_detection"]["silence_duration_ms"] == 300
    assert session["input_audio_format"] == "pcm16"
    assert not {"type", "audio", "output_modalities"} & session.keys()
    await caller.send("response.create")
    response = (await caller.last("response.done"))["response"]
    assert response["output"][0]["content"][0]["type"] == "text"


async def test_assistant_text_can_be_replayed_when_written_in_beta(model: LiveModel) -> None:
    caller = await model.call(PREVIEW)
    item = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "As I said"}]}

    await caller.send("conversation.item.create", item=item)

    assert (await caller.next())["item"]["content"] == [{"type": "text", "text": "As I said"}]


async def test_a_function_call_has_the_beta_shape_when_forced_by_the_response(model: LiveModel) -> None:
    caller = await model.call(PREVIEW)
    tool = {"type": "function", "name": "look", "parameters": {"type": "object"}}

    await caller.send("response.create", response={"tools": [tool], "tool_choice": "required", "modalities": ["text"]})

    events = await caller.until("response.done")
    done = next(event for event in events if event["type"] == "response.function_call_arguments.done")
    assert done["arguments"] == "{}"


async def test_nothing_of_ga_shows_when_a_function_is_called_behind_a_preamble(model: LiveModel) -> None:
    caller = await model.call(PREVIEW)
    tools = [{"type": "function", "name": "look", "parameters": {"type": "object"}}]
    await caller.send("session.update", session={"tools": tools})
    session = (await caller.last("session.updated"))["session"]
    assert not {"reasoning", "parallel_tool_calls"} & session.keys()
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "call look"}]}
    await caller.send("conversation.item.create", item=item)
    await caller.send("response.create")

    events = await caller.until("response.done")

    assert [item["type"] for item in events[-1]["response"]["output"]] == ["message", "function_call"]
    assert not [event for event in events if "phase" in event.get("item", {})]


async def test_mcp_servers_are_refused_when_called_on_the_preview_url(model: LiveModel) -> None:
    caller = await model.call(PREVIEW)
    tools = [{"type": "mcp", "server_label": "docs", "server_url": "https://docs.invalid/mcp"}]

    await caller.send("session.update", session={"tools": tools})

    assert (await caller.rejection())["param"] == "session.tools[0].type"


async def test_a_ga_session_is_refused_when_sent_to_the_preview_url(model: LiveModel) -> None:
    caller = await model.call(PREVIEW)

    await caller.send("session.update", session={"type": "realtime"})

    assert (await caller.rejection())["code"] == "unknown_parameter"
