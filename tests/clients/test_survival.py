"""Holds in which nothing is cut: what they observe, print and record."""

import asyncio
from pathlib import Path

import orjson

from stage.rawpeer import CLOSE, RawServer, close_payload
from tests.clients.conftest import KEY, HoldFactory, Model, ModelFactory
from tests.conftest import KEY as RELAY_KEY
from tests.conftest import RelayFactory
from tests.standstill import standstill


async def test_a_hold_without_cuts_ends_with_0_and_records_every_observation(model: Model, hold: HoldFactory) -> None:
    with standstill() as machine:
        result = await (await hold(model.url, "--duration", "1.4", "--json")).result()

    assert (result.code, result.stderr) == (0, "")
    assert result.summary["sessions"] == {
        "planned": 2,
        "held": 2,
        "opened": 2,
        "survived": 2,
        "cut": 0,
        "never_opened": 0,
        "reconnected": 0,
    }
    assert result.summary["closes"] == [{"closed_by": "local", "code": 1000, "count": 2}]
    assert result.summary["turns"]["completed"] >= 2
    assert result.summary["checks"] == [{"name": "max_cut", "limit": 0, "measured": 0, "held": True}]
    assert {session["close_code_received"] for session in await model.sessions()} == {1000}

    names = {each["observation"] for each in result.observations}
    assert names == {"hold.started", "opened", "pong", "turn", "closed", "hold.completed"}
    assert len({each["hold"] for each in result.observations}) == 1
    assert all(each["ts"].endswith("Z") for each in result.observations)
    assert result.only("hold.started")["arguments"]["connections"] == 2
    assert result.only("hold.completed")["summary"] == result.summary
    sessions = {session["id"] for session in await model.sessions()}
    assert {each["upstream_session"] for each in result.all("opened")} == sessions
    assert all(each["connect_ms"] > 0 and each["gap_ms"] is None for each in result.all("opened"))
    lost_ms = machine.lost_s * 1000
    assert all(0 < each["rtt_ms"] < 500 + lost_ms for each in result.all("pong"))
    completed = [turn for turn in result.all("turn") if turn["status"] == "completed"]
    assert {turn["status"] for turn in result.all("turn")} <= {"completed", "unanswered"}
    for turn in completed:
        assert 400 < turn["first_audio_ms"] <= turn["duration_ms"] < 2000 + lost_ms, "the model waits 500 ms of silence"
    for closed in result.all("closed"):
        assert (closed["code"], closed["closed_by"], closed["early"]) == (1000, "local", False)
        assert 1.2 < closed["age_s"] < 4 + machine.lost_s


async def test_a_record_is_appended_to(model: Model, hold: HoldFactory, tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    path.write_text('{"of": "another hold"}\n')

    await (await hold(model.url, "--duration", "0.1", record=str(path))).result()

    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert lines[0] == {"of": "another hold"}
    assert (lines[1]["observation"], lines[-1]["observation"]) == ("hold.started", "hold.completed")


async def test_the_relays_revision_is_observed_and_its_pings_are_answered(
    model_for: ModelFactory, hold: HoldFactory, relay_for: RelayFactory
) -> None:
    model = await model_for(key="model-key")
    relay = await relay_for(int(model.url.rpartition(":")[2]), RTPROXY_HEARTBEAT_SECONDS="0.3")

    # Nothing but the answers to the relay's pings tells it that the caller lives.
    mute = ("--talk-every", "0", "--ping-interval", "0", "--duration", "1.2")
    result = await (await hold(relay.url, *mute, key=RELAY_KEY)).result()

    assert result.code == 0, result.stdout
    for opened in result.all("opened"):
        assert (opened["revision"], opened["replica"]) == ("app--blue", "app--blue-1")
    served = {event["session"] for event in relay.events if event["event"] == "client.connected"}
    assert {opened["session"] for opened in result.all("opened")} == served
    assert "2 on app--blue" in result.stdout
    for closed in result.all("closed"):
        assert closed["pings_heard"] >= 1
        assert 0.2 < closed["longest_unpinged_s"] < closed["age_s"]


async def test_a_revision_that_no_record_can_hold_ends_no_hold(hold: HoldFactory) -> None:
    async with RawServer() as relay:
        holding = await hold(f"ws://127.0.0.1:{relay.port}", "--connections", "1", "--duration", "0.3")
        peer = await relay.request()
        await peer.answer(headers={"x-rtproxy-revision": "bl\udcfcu"})
        await peer.read_until(CLOSE)
        await peer.send(CLOSE, close_payload(1000))

        result = await holding.result()

    assert (result.code, result.stderr) == (0, "")
    assert result.only("opened")["revision"] == result.only("closed")["revision"] == "bl u"


async def test_first_audio_is_measured_by_its_beta_name_too(model: Model, hold: HoldFactory) -> None:
    preview = "/openai/realtime?api-version=2025-04-01-preview&deployment=gpt-realtime"

    holding = await hold(model.url + preview, "--key-header", "api-key", "--connections", "1")
    (turn, *_) = await holding.observed("turn")

    assert turn["status"] == "completed"
    assert turn["first_audio_ms"] > 0
    holding.interrupt()
    assert (await holding.result()).all("fault") == []


async def test_two_hundred_sessions_are_held_by_one_process(model: Model, hold: HoldFactory) -> None:
    many = ("--connections", "200", "--ramp", "0.5", "--duration", "5", "--talk-every", "1", "--json")
    # Three pings of the brisk 0.2 s are a silence that a busy machine makes by itself.
    many += ("--ping-interval", "1")

    result = await (await hold(model.url, *many)).result()

    assert result.code == 0, result.stdout
    assert result.summary["sessions"]["survived"] == 200
    assert result.summary["turns"].keys() <= {"completed", "unanswered"}
    assert result.summary["turns"]["completed"] >= 200
    assert result.summary["faults"] == {}


async def test_ramp_spreads_the_connects(model: Model, hold: HoldFactory) -> None:
    holding = await hold(model.url, "--connections", "4", "--ramp", "1")
    await holding.observed("opened", 1)
    first = asyncio.get_running_loop().time()
    await holding.observed("opened", 4)
    last = asyncio.get_running_loop().time()

    assert 0.65 < last - first < 0.95, "the fourth dials three quarters of the ramp after the first"


async def test_the_key_is_nowhere_even_when_the_other_side_quotes_it(model: Model, hold: HoldFactory) -> None:
    holding = await hold(model.url)
    await holding.observed("opened", 2)
    await model.fault("close", code=4001, reason=f"no more of {KEY}")

    result = await holding.result()

    assert result.all("closed")[0]["reason"] == "no more of [key]"
    assert "no more of [key]" in result.stdout
    assert KEY not in result.stdout + result.stderr + str(result.observations)
