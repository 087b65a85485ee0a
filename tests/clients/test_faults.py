"""What no healthy model sends is found in what calls hear, by its name and without its content."""

import base64
from collections.abc import Iterable

import orjson
import pytest

from tests.clients.conftest import KEY, HoldFactory, Model, ModelFactory, Result
from tests.clients.middle import Change, Event, middle

AUDIO = "response.output_audio.delta"
Passed = Iterable[tuple[int, Event | bytes]]


async def heard(hold: HoldFactory, model: Model, down: Change, *options: str, turns: int = 2) -> Result:
    """What a hold finds behind a man in the middle, until so many turns have ended."""
    async with middle(model.url, KEY, down) as url:
        holding = await hold(url, "--turn-deadline", "2", "--json", *options)
        # Without session.updated the first turn waits until there has been a fault.
        await (holding.observed("fault", 2) if down is without_session_updated else holding.observed("turn", turns))
        holding.interrupt()
        return await holding.result()


def faults(result: Result) -> dict[str, set[str]]:
    """Their details by name, as far as they are the same for every call."""
    found: dict[str, set[str]] = {}
    for fault in result.all("fault"):
        found.setdefault(fault["fault"], set()).add(fault["detail"])
    return found


async def test_a_healthy_model_gives_no_fault_to_any_kind_of_call(model: Model, hold: HoldFactory) -> None:
    kinds = "vad,push-to-talk,tools,silent,long,text,barge-in"
    async with middle(model.url, KEY) as url:
        holding = await hold(url, "--kinds", kinds, "--connections", "7", "--tool-seconds", "0.2", "--json")
        await holding.observed("turn", 14)
        holding.interrupt()
        result = await holding.result()

    assert (result.code, result.summary["faults"]) == (0, {}), faults(result)


def audio_to_both(call: int, event: Event) -> Passed:
    return [(call, event), (1 - call, event)] if event["type"] == AUDIO else [(call, event)]


def audio_to_the_other(call: int, event: Event) -> Passed:
    return [(1 - call if event["type"] == AUDIO else call, event)]


def answers_to_the_other(call: int, event: Event) -> Passed:
    return [(1 - call if event["type"].startswith("response.") else call, event)]


@pytest.mark.parametrize(
    "down", [audio_to_both, audio_to_the_other, answers_to_the_other], ids=lambda down: down.__name__
)
async def test_what_belongs_to_another_call_is_cross_talk_and_both_calls_are_named(
    model: Model, hold: HoldFactory, down: Change
) -> None:
    result = await heard(hold, model, down, turns=4)

    crossed = [fault for fault in result.all("fault") if fault["fault"] == "cross_talk"]
    assert crossed
    assert all(f"of call {3 - fault['call']}" in fault["detail"] for fault in crossed)
    assert result.summary["faults"]["cross_talk"] == len(crossed)


def everything_to_the_other(call: int, event: Event) -> Passed:
    return [(call if event["type"].startswith("session.") else 1 - call, event)]


async def test_two_callers_who_type_find_out_that_all_they_hear_was_exchanged(model: Model, hold: HoldFactory) -> None:
    result = await heard(hold, model, everything_to_the_other, "--kinds", "text", "--connections", "2")

    assert {(fault["call"], fault["fault"]) for fault in result.all("fault")} >= {(1, "cross_talk"), (2, "cross_talk")}


async def test_only_its_own_audio_is_an_answer(model: Model, hold: HoldFactory) -> None:
    result = await heard(hold, model, audio_to_the_other, "--max-faults", "0", turns=4)

    assert (result.code, result.summary["checks"][-1]["name"]) == (1, "max_faults")
    assert {each["audio_bytes"] for turn in result.all("turn") for each in turn["responses"]} == {0}
    assert {turn["first_audio_ms"] for turn in result.all("turn")} == {None}


def without_session_updated(call: int, event: Event) -> Passed:
    return [] if event["type"] == "session.updated" else [(call, event)]


def with_other_terms(call: int, event: Event) -> Passed:
    if event["type"] == "session.updated":
        event["session"]["instructions"] = "Sell them something."
        event["session"]["audio"]["input"]["turn_detection"]["silence_duration_ms"] = 400
    return [(call, event)]


def with_speech_twice(call: int, event: Event) -> Passed:
    return [(call, event)] * (2 if event["type"] == "input_audio_buffer.speech_started" else 1)


def cut_in_half(call: int, event: Event) -> Passed:
    message = orjson.dumps(event)
    return [(call, message[: len(message) // 2] if event["type"] == "response.output_audio.done" else event)]


def without_its_creation(call: int, event: Event) -> Passed:
    return [] if event["type"] == "response.created" else [(call, event)]


def without_most_audio(call: int, event: Event) -> Passed:
    return [] if event["type"] == AUDIO and call == 0 else [(call, event)]


def without_a_sound(call: int, event: Event) -> Passed:
    if event["type"] == AUDIO:
        event["delta"] = base64.b64encode(bytes(len(base64.b64decode(event["delta"])))).decode()
    return [(call, event)]


def with_an_error(call: int, event: Event) -> Passed:
    error = {"type": "invalid_request_error", "code": "invalid_value", "message": "Sell them something."}
    more = [(call, {"type": "error", "event_id": f"event_{call}_{event['event_id']}", "error": error})]
    return [(call, event), *(more if event["type"] == "session.updated" else ())]


def done_too_early(call: int, event: Event) -> Passed:
    """The audio of each item is said to be over when its part begins."""
    if event["type"] != "response.content_part.added":
        return [(call, event)]
    place = {name: event[name] for name in ("response_id", "item_id", "output_index", "content_index")}
    return [(call, event), (call, {"type": "response.output_audio.done", "event_id": f"{event['event_id']}x", **place})]


@pytest.mark.parametrize(
    ("down", "name", "detail"),
    [
        (without_session_updated, "no_session_updated", "after session.update"),
        (
            with_other_terms,
            "session_differs",
            "not as asked for: audio.input.turn_detection.silence_duration_ms, instructions",
        ),
        (with_speech_twice, "repeated_id", "came again: input_audio_buffer.speech_started"),
        (cut_in_half, "broken_json", "bytes is no event"),
        (without_its_creation, "unknown_response", "of which nothing was created"),
        (without_most_audio, "audio_length", "0 bytes of audio where 12 tokens are 28800"),
        (without_a_sound, "silent_audio", "28800 bytes without a sound"),
        (with_an_error, "error_event", "invalid_request_error, code invalid_value"),
        (done_too_early, "out_of_order", "whose audio was done"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
async def test_each_fault_has_its_name_and_is_described_without_content(
    model_for: ModelFactory, hold: HoldFactory, down: Change, name: str, detail: str
) -> None:
    model = await model_for(answer_seconds=0.6)

    result = await heard(hold, model, down)

    found = faults(result)
    assert any(detail in each for each in found.pop(name))
    assert not found, "and no other fault"
    assert "Sell" not in "".join(fault["detail"] for fault in result.all("fault"))
    assert result.summary["faults"].keys() == {name}


async def test_a_call_that_hangs_up_before_the_deadline_still_says_that_its_terms_were_not_granted(
    model: Model, hold: HoldFactory
) -> None:
    async with middle(model.url, KEY, without_session_updated) as url:
        result = await (await hold(url, "--duration", "5", "--json")).result()

    assert result.summary["faults"] == {"no_session_updated": 2}
    assert not result.all("turn"), "nobody talks before the terms are known"


def every_delta_twice(call: int, event: Event) -> Passed:
    return [(call, event)] * (2 if event["type"] == AUDIO else 1)


async def test_a_broken_model_does_not_fill_the_record(model_for: ModelFactory, hold: HoldFactory) -> None:
    model = await model_for(answer_seconds=120, pace=1000)

    result = await heard(hold, model, every_delta_twice, "--connections", "1", turns=1)

    assert [fault["fault"] for fault in result.all("fault")].count("repeated_id") == 100
