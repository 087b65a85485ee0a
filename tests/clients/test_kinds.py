"""The kinds of call that a hold can hold, each against the simulated model."""

import re
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest

from clients.kinds import KINDS
from clients.observations import FaultName
from tests.clients.conftest import HoldFactory, Model, ModelFactory, Result

DOCS = Path(__file__).parents[2] / "docs"
TALKING = [name for name, kind in KINDS.items() if kind.talks]
SPOKEN = [name for name in TALKING if name != "text"]


@pytest.mark.parametrize("page", ["clients.md", "clients.ja.md"])
def test_the_page_lists_every_kind_and_every_fault(page: str) -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|", (DOCS / page).read_text(), re.M)
    assert rows == [*KINDS, *get_args(FaultName)]


async def held(hold: HoldFactory, model: Model, kinds: str, *options: str, turns: int = 1) -> Result:
    """A hold of one call of each kind, until there were so many turns."""
    count = str(len(kinds.split(",")))
    holding = await hold(model.url, "--kinds", kinds, "--connections", count, "--tool-seconds", "0.3", *options)
    await holding.observed("turn", turns)
    holding.interrupt()
    return await holding.result()


async def events_of(model: Model) -> dict[str, Any]:
    (session,) = await model.sessions()
    heard: dict[str, Any] = session["events_received"]
    return heard


@pytest.mark.parametrize("kind", TALKING)
async def test_each_kind_that_talks_completes_turns_and_the_record_says_what_was_heard(
    model_for: ModelFactory, hold: HoldFactory, tmp_path: Path, kind: str
) -> None:
    record = tmp_path / "model.jsonl"
    model = await model_for(record=record, answer_seconds=1)

    result = await held(hold, model, kind, turns=2)

    assert (result.code, result.all("fault")) == (0, [])
    model_said = {
        line["response"]: line for line in map(orjson.loads, record.read_bytes().splitlines()) if "response" in line
    }
    (opened,), (closed,) = result.all("opened"), result.all("closed")
    for turn in result.all("turn")[:2]:
        assert (turn["kind"], turn["status"], turn["code"]) == (kind, "completed", None)
        assert {name: turn[name] for name in ("session", "revision", "replica")} == {
            name: opened[name] for name in ("session", "revision", "replica")
        }
        for response in turn["responses"]:
            said = model_said[response["id"]]
            assert response["deltas"] == said["deltas"] > 0
            assert (response["audio_bytes"], response["audio_sha256"]) == (said["audio_bytes"], said["audio_sha256"])
            assert abs(response["audio_tokens"] * 2400 - response["audio_bytes"]) < 2 * 2400
        assert 0 < turn["worst_gap_ms"] < 5000
        assert 0.02 < turn["loudness"] < 0.5
    assert (opened["kind"], closed["kind"]) == (kind, kind)
    assert (closed["audio_bytes_sent"] > 0) == (kind in SPOKEN)


async def test_what_a_call_sent_is_what_the_model_heard(model: Model, hold: HoldFactory) -> None:
    result = await held(hold, model, "push-to-talk,silent", "--talk-every", "100", "--turn-deadline", "5")

    heard = {session["id"]: session for session in await model.sessions()}
    for closed in result.all("closed"):
        session = heard[closed["upstream_session"]]
        assert closed["audio_bytes_sent"] == session["audio_bytes_heard"]
        assert closed["audio_sha256_sent"] == session["audio_sha256_heard"]


async def test_kinds_are_dealt_to_the_calls_in_turn(model: Model, hold: HoldFactory) -> None:
    holding = await hold(model.url, "--kinds", "silent,silent,text", "--connections", "5")
    opened = await holding.observed("opened", 5)
    holding.interrupt()
    result = await holding.result()

    kinds = {each["call"]: each["kind"] for each in opened}
    assert kinds == {1: "silent", 2: "silent", 3: "text", 4: "silent", 5: "silent"}
    assert result.only("hold.started")["arguments"]["kinds"] == ["silent", "silent", "text"]


async def test_without_kinds_calls_are_spoken(model: Model, hold: HoldFactory) -> None:
    holding = await hold(model.url)
    opened = await holding.observed("opened", 2)
    holding.interrupt()

    assert {each["kind"] for each in opened} == {"vad"}
    assert (await holding.result()).only("hold.started")["arguments"]["kinds"] == ["vad"]


async def test_a_silent_call_says_nothing_and_stays_open(model: Model, hold: HoldFactory) -> None:
    holding = await hold(model.url, "--kinds", "silent", "--connections", "1", "--call-seconds", "30")
    await holding.observed("pong", 3)
    holding.interrupt()
    result = await holding.result()

    assert (result.code, result.all("turn")) == (0, [])
    assert await events_of(model) == {"session.update": 1}
    assert all(pong["rtt_ms"] is not None for pong in result.all("pong")[:-1])


async def test_a_long_call_outlasts_all_others(model: Model, hold: HoldFactory) -> None:
    holding = await hold(model.url, "--kinds", "long,vad", "--connections", "2", "--call-seconds", "0.4")
    await holding.observed("closed", 3)
    holding.interrupt()
    result = await holding.result()

    assert [opened["kind"] for opened in result.all("opened")].count("long") == 1
    assert {closed["kind"] for closed in result.all("closed")[:3]} == {"vad"}


async def test_push_to_talk_ends_its_turn_itself(model: Model, hold: HoldFactory) -> None:
    result = await held(hold, model, "push-to-talk", "--talk-every", "100")

    assert result.all("turn")[0]["first_audio_ms"] < result.all("turn")[0]["duration_ms"]
    heard = await events_of(model)
    assert (heard["input_audio_buffer.commit"], heard["response.create"]) == (1, 1)


async def test_text_is_typed_and_asked_for(model: Model, hold: HoldFactory) -> None:
    await held(hold, model, "text", "--talk-every", "100")

    heard = await events_of(model)
    assert heard == {"session.update": 1, "conversation.item.create": 1, "response.create": 1}


async def test_tools_answer_every_function_call_and_ask_once(model: Model, hold: HoldFactory) -> None:
    result = await held(hold, model, "tools", "--talk-every", "100")

    (turn,) = result.all("turn")
    assert len(turn["responses"]) == 2, "a preamble with two calls, then the answer"
    assert turn["function_calls"] == 2
    assert result.all("fault") == []
    assert turn["duration_ms"] > turn["first_audio_ms"]
    heard = await events_of(model)
    assert (heard["conversation.item.create"], heard["response.create"]) == (2, 1)


async def test_a_call_whose_tool_runs_is_waiting(model: Model, hold: HoldFactory) -> None:
    holding = await hold(model.url, "--kinds", "tools", "--connections", "1", "--tool-seconds", "30")
    await holding.observed("opened")
    await waiting(model)
    await model.fault("reset")
    result = await holding.result()

    closed = result.only("closed")
    assert (closed["turn"], closed["early"]) == ("waiting", True)
    assert result.only("turn")["status"] == "cut"
    assert "while the model waited for the caller" in result.stdout


async def waiting(model: Model) -> None:
    """Until the model has ended a response and nobody has answered it."""
    while True:
        (session,) = await model.sessions()
        if session["responses"]:
            return


async def test_the_time_of_a_tool_is_not_held_against_the_model(model: Model, hold: HoldFactory) -> None:
    result = await held(hold, model, "tools", "--tool-seconds", "2", "--turn-deadline", "1")

    turn = result.all("turn")[0]
    assert turn["status"] == "completed"
    assert turn["duration_ms"] > 1500


async def test_barging_in_cancels_the_answer_and_gets_another(model_for: ModelFactory, hold: HoldFactory) -> None:
    model = await model_for(answer_seconds=20)  # at ten times the speed of speech: it is not over in 0.8 s

    result = await held(hold, model, "barge-in", "--talk-every", "100")

    (turn,) = result.all("turn")
    interrupted, answer = turn["responses"]
    assert interrupted["audio_bytes"] < answer["audio_bytes"] == 20 * 48000
    assert (await events_of(model))["conversation.item.truncate"] == 1
    assert (turn["status"], result.all("fault")) == ("completed", [])


async def test_a_muted_call_holds_the_floor_until_it_ends_its_sentence(model: Model, hold: HoldFactory) -> None:
    holding = await hold(model.url, "--kinds", "mute", "--connections", "2", "--utterance", "1", "--talk-every", "100")
    await holding.observed("opened", 2)
    first, _ = await model.sessions()
    await quiet_after_speech(model, first["id"])
    await model.fault("reset", session=first["id"])
    (turn,) = [each for each in await holding.observed("turn", 2) if each["status"] != "cut"]
    holding.interrupt()
    result = await holding.result()

    assert turn["status"] == "completed"
    (cut,) = [closed for closed in result.all("closed") if closed["early"]]
    assert (cut["turn"], cut["upstream_session"]) == ("speaking", first["id"])


async def quiet_after_speech(model: Model, session: str) -> None:
    """Until the model has heard half a sentence of it, and then nothing for as long as a piece of audio lasts."""
    while next(each for each in await model.sessions() if each["id"] == session)["audio_bytes_heard"] < 5 * 4800:
        pass  # asking is waiting


async def test_a_throttled_response_is_asked_for_again(model: Model, hold: HoldFactory) -> None:
    holding = await hold(model.url, "--connections", "1", "--talk-every", "100", "--utterance", "1")
    await holding.observed("opened")
    await model.fault("throttle", responses=2)
    (turn,) = await holding.observed("turn")
    holding.interrupt()

    assert (turn["status"], turn["code"]) == ("completed", "inference_rate_limit_exceeded")
    assert len(turn["responses"]) == 3
    assert turn["first_audio_ms"] < 1000 < 2000 < turn["duration_ms"], "1 to 1.5 s before each"
    assert (await events_of(model))["response.create"] == 2
    assert (await holding.result()).code == 0


async def test_a_turn_that_stays_throttled_is_counted_apart(model: Model, hold: HoldFactory) -> None:
    options = ("--connections", "1", "--utterance", "1", "--json", "--max-failed-turns", "0")
    holding = await hold(model.url, *options)
    await holding.observed("opened")
    await model.fault("throttle", responses=4)
    throttled, completed = await holding.observed("turn", 2)
    holding.interrupt()
    result = await holding.result()

    assert (throttled["status"], throttled["code"]) == ("failed", "inference_rate_limit_exceeded")
    assert (completed["status"], completed["code"]) == ("completed", None)
    assert result.summary["turns"]["throttled"] == 1
    assert result.code == 0, "it is no failed turn"


async def test_a_turn_that_is_open_at_our_hang_up_is_unanswered(model: Model, hold: HoldFactory) -> None:
    holding = await hold(model.url, "--connections", "1", "--utterance", "30")
    await holding.observed("opened")
    await model.hearing()
    holding.interrupt()
    result = await holding.result()

    turn, closed = result.only("turn"), result.only("closed")
    assert (turn["status"], turn["duration_ms"], turn["responses"]) == ("unanswered", None, [])
    assert (closed["turn"], closed["early"], result.code) == ("speaking", False, 0)


@pytest.mark.parametrize(
    ("status", "options"),
    [
        ("unanswered", ("--duration", "4", "--turn-deadline", "20")),
        ("timeout", ("--duration", "4", "--turn-deadline", "1")),
    ],
)
async def test_a_hold_in_which_no_turn_is_completed_ends_with_1(
    model: Model, hold: HoldFactory, status: str, options: tuple[str, ...]
) -> None:
    holding = await hold(model.url, *options)
    await holding.observed("opened", 2)
    await model.fault("no_answer", on=True)
    result = await holding.result()

    assert result.code == 1
    assert "2 of 2 sessions held" in result.stdout
    assert "clients.hold: turns were taken and none was completed: " in result.stderr
    assert status in {turn["status"] for turn in result.all("turn")}


async def test_a_hold_that_was_too_short_for_an_answer_proves_nothing(model: Model, hold: HoldFactory) -> None:
    holding = await hold(model.url, "--duration", "1.5")
    await holding.observed("opened", 2)
    await model.fault("no_answer", on=True)
    result = await holding.result()

    assert result.code == 0
    assert {turn["status"] for turn in result.all("turn")} == {"unanswered"}
