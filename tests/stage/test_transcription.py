"""Sessions that only write down what they hear, and calls that are listened to from beside."""

import asyncio
from typing import Any

import aiohttp
import pytest

from stage.gpt.options import Unverified
from tests.stage.conftest import GA, PREVIEW, Caller, LiveModel, ModelFactory, silence, speech

INTENT = "/openai/v1/realtime?intent=transcription"
COMPLETED = "conversation.item.input_audio_transcription.completed"


async def writer(model: LiveModel, path: str = INTENT) -> Caller:
    """A transcription session that was greeted."""
    caller = Caller(await model.knock(path), GA)
    greeting = await caller.next()
    assert (greeting["type"], greeting["session"]["type"]) == ("session.created", "transcription")
    assert not {"model", "instructions", "tools"} & greeting["session"].keys()
    return caller


async def update(caller: Caller, **hearing: Any) -> None:
    await caller.send("session.update", session={"type": "transcription", "audio": {"input": hearing}})


@pytest.mark.parametrize("path", [INTENT, f"{INTENT}&model=gpt-realtime", f"/v1{INTENT.removeprefix('/openai/v1')}"])
async def test_what_was_said_is_written_down_and_never_answered(model: LiveModel, path: str) -> None:
    caller = await writer(model, path)
    await update(caller, transcription={"model": "my-transcribe"})
    await caller.last("session.updated")

    await caller.append(speech(300), silence(200))

    events = await caller.until(COMPLETED)
    assert [event["type"] for event in events if not event["type"].endswith(".delta")] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        COMPLETED,
    ]
    assert events[-1]["usage"]["type"] == "tokens"
    await caller.send("response.create")
    error = await caller.rejection()
    assert (error["code"], error["param"]) == ("invalid_value", "type")


async def test_a_model_that_hears_no_turns_is_committed_to_by_hand_and_billed_by_duration(model: LiveModel) -> None:
    caller = await writer(model)
    whisper = {"model": "gpt-realtime-whisper"}
    await update(caller, transcription=whisper)
    assert (await caller.rejection())["param"] == "session.audio.input.turn_detection"
    await update(caller, transcription=whisper, turn_detection=None)
    await caller.last("session.updated")

    await caller.append(speech(1500))
    await caller.send("input_audio_buffer.commit")

    assert (await caller.last(COMPLETED))["usage"] == {"type": "duration", "seconds": 1.5}


async def test_the_model_owes_a_transcript_until_it_is_complete(model: LiveModel) -> None:
    caller = await writer(model)
    await update(caller, transcription={"model": "my-transcribe"}, turn_detection=None)
    await caller.append(speech(300))
    await caller.send("input_audio_buffer.commit")
    await caller.last("conversation.item.done")
    assert (await model.sessions())[0]["owed"] == ["transcription"]

    await caller.last(COMPLETED)
    async with asyncio.timeout(5):
        while (await model.sessions())[0]["owed"]:
            pass


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"type": "realtime"}, "session.type"),
        ({"type": "transcription", "instructions": "Be brief."}, "session.instructions"),
        ({"type": "transcription", "audio": {"output": {"voice": "ash"}}}, "session.audio.output"),
    ],
)
async def test_what_belongs_to_a_conversation_is_refused(model: LiveModel, session: dict[str, Any], param: str) -> None:
    caller = await writer(model)

    await caller.send("session.update", session=session)

    assert (await caller.rejection())["param"] == param


async def test_a_conversation_does_not_turn_into_a_transcription(caller: Caller) -> None:
    await caller.send("session.update", session={"type": "transcription"})

    assert (await caller.rejection())["param"] == "session.type"


@pytest.mark.parametrize("path", [f"{GA}&intent=realtime", "/openai/v1/realtime?call_id=rtc_u1"])
async def test_a_conversation_is_held_where_it_is_asked_for_or_listened_to(model: LiveModel, path: str) -> None:
    socket = await model.knock(path)

    assert (await socket.receive_json(timeout=10))["session"]["type"] == "realtime"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{GA}&intent=nonsense", 400),
        ("/openai/v1/realtime?intent=realtime", 404),
        (f"{INTENT}&model=other", 404),
        ("/openai/v1/realtime?call_id=nobody", 404),
        (f"{INTENT}&call_id=rtc_u1", 400),
        (f"{PREVIEW}gpt-realtime&intent=transcription", 400),
        (f"{PREVIEW}gpt-realtime&call_id=rtc_u1", 400),
    ],
)
async def test_what_cannot_be_had_is_refused_before_the_101(model: LiveModel, path: str, status: int) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await model.knock(path)

    assert refused.value.status == status


async def test_one_of_model_and_intent_is_asked_for_where_both_are_too_many(model_for: ModelFactory) -> None:
    model = await model_for(unverified=Unverified(transcription_may_name_a_model=False))
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await model.knock(f"{INTENT}&model=gpt-realtime")

    await writer(model)
