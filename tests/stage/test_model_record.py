"""What the simulated model writes down about itself, against what its callers sent and heard, byte for byte."""

import base64
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stage.conftest import KEY, Caller, LiveModel, ModelFactory, silence, speech

Lines = Callable[..., list[dict[str, Any]]]
NOTHING = hashlib.sha256().hexdigest()


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "model.jsonl"


@pytest.fixture
def lines(record: Path) -> Lines:
    """The record's lines of one kind, or of all."""

    def read(kind: str = "") -> list[dict[str, Any]]:
        every = [json.loads(text) for text in record.read_text().splitlines()]
        return [line for line in every if kind in ("", line["model"])]

    return read


def pcm(events: list[dict[str, Any]]) -> list[bytes]:
    return [base64.b64decode(event["delta"]) for event in events if event["type"] == "response.output_audio.delta"]


def sha256(*pieces: bytes) -> str:
    return hashlib.sha256(b"".join(pieces)).hexdigest()


async def spoken(caller: Caller) -> list[dict[str, Any]]:
    await caller.append(speech(300), silence(300))
    return await caller.until("response.done")


async def left(model: LiveModel, caller: Caller, code: int = 1000) -> dict[str, Any]:
    await caller.socket.close(code=code)
    return await model.ended()


async def test_each_response_is_recorded_as_its_caller_heard_it(
    model_for: ModelFactory, record: Path, lines: Lines
) -> None:
    model = await model_for(record=record)
    caller = await model.call()
    answers = [await spoken(caller) for _ in range(2)]

    for answer, line in zip(answers, lines("response"), strict=True):
        heard = pcm(answer)
        assert line["response"] == answer[-1]["response"]["id"]
        assert (line["status"], line["deltas"]) == ("completed", len(heard))
        assert (line["audio_bytes"], line["audio_sha256"]) == (sum(map(len, heard)), sha256(*heard))
    assert {line["session"] for line in lines("response")} == {(await left(model, caller))["id"]}


async def test_no_two_deltas_are_the_same_and_all_are_as_loud_as_a_voice(model_for: ModelFactory) -> None:
    model = await model_for()
    first, second = await model.call(), await model.call()

    deltas = [pcm(await spoken(caller)) for caller in (first, first, second)]

    assert len({piece for answer in deltas for piece in answer}) == sum(map(len, deltas))
    for answer in deltas:
        samples = memoryview(b"".join(answer)).cast("h")
        assert 0.03 < math.sqrt(sum(each * each for each in samples) / len(samples)) / 32768 < 0.3


async def test_a_call_is_recorded_with_all_that_was_appended_in_it(
    model_for: ModelFactory, record: Path, lines: Lines
) -> None:
    model = await model_for(record=record)
    caller = await model.call()
    sent = [speech(40), silence(20), speech(60)]
    await caller.append(sent[0], "no base64!", sent[1])
    await caller.send("input_audio_buffer.clear")
    await caller.append(sent[2])
    await left(model, caller, code=4001)

    (ended,) = lines("session.ended")
    heard = list(map(base64.b64decode, sent))
    assert (ended["audio_bytes_heard"], ended["audio_sha256_heard"]) == (sum(map(len, heard)), sha256(*heard))
    assert (ended["closed_by"], ended["code"], ended["owed"]) == ("client", 4001, ["speech"])


async def test_a_call_that_was_cut_off_is_recorded_with_what_the_model_owed(
    model_for: ModelFactory, record: Path, lines: Lines
) -> None:
    model = await model_for(record=record, answer_seconds=60, pace=4)
    caller = await model.call()
    await caller.append(speech(300), silence(300))
    heard = pcm(await caller.until("response.output_audio.delta"))

    await model.fault("drop")
    await model.ended()

    (response,), (ended,) = lines("response"), lines("session.ended")
    assert response["status"] == "abandoned"
    assert response["deltas"] >= len(heard) == 1
    assert (ended["closed_by"], ended["code"], ended["owed"]) == ("model", None, ["response"])


async def test_the_models_own_close_is_recorded_with_its_code(
    model_for: ModelFactory, record: Path, lines: Lines
) -> None:
    model = await model_for(record=record)
    await model.call()

    await model.fault("expire")
    await model.ended()

    (ended,) = lines("session.ended")
    assert (ended["closed_by"], ended["code"], ended["audio_sha256_heard"]) == ("model", 1001, NOTHING)


async def test_a_live_call_shows_what_the_model_owes_at_this_moment(model_for: ModelFactory) -> None:
    model = await model_for(answer_seconds=60, pace=4)
    caller = await model.call()
    await caller.append(speech(300))
    await caller.until("input_audio_buffer.speech_started")
    assert (await model.sessions())[0]["owed"] == ["speech"]

    await caller.append(silence(300))
    await caller.until("response.output_audio.delta")

    (live,) = await model.sessions()
    assert (live["owed"], live["audio_bytes_heard"]) == (["response"], 600 * 48)
    await caller.send("response.cancel")
    await caller.until("response.done")
    assert (await model.sessions())[0]["owed"] == []


async def test_nothing_that_was_said_stands_in_the_record(model_for: ModelFactory, record: Path, lines: Lines) -> None:
    model = await model_for(record=record)
    caller = await model.call()
    await caller.update(tools=[{"type": "function", "name": "get_weather"}])
    await caller.say("My secret: call get_weather")
    await caller.send("response.create")
    await caller.until("response.done")
    await left(model, caller)

    written = lines()
    assert [line["model"] for line in written] == ["response", "session.ended"]
    assert not [word for word in ("secret", "get_weather", "Certainly", KEY) if word in str(written)]
