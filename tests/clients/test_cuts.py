"""Cut sessions: each kind is told apart, at once, and fails the hold."""

import signal
from typing import Any

from tests.clients.conftest import HoldFactory, Model, ModelFactory
from tests.conftest import KEY as RELAY_KEY
from tests.conftest import ReplicaFactory
from tests.standstill import within

KINDS: list[tuple[dict[str, Any], str, int, str]] = [
    ({"name": "reset"}, "dropped", 1006, ""),
    ({"name": "drop"}, "dropped", 1006, ""),
    ({"name": "close", "code": 1012, "reason": "revision draining"}, "remote", 1012, "revision draining"),
    ({"name": "close", "code": 1000}, "remote", 1000, ""),
    ({"name": "expire"}, "remote", 1001, "Your session hit the maximum duration of 60 minutes."),
]


async def test_each_kind_of_cut_is_told_apart_with_code_side_and_age(model: Model, hold: HoldFactory) -> None:
    holding = await hold(model.url, "--connections", str(len(KINDS)))
    opened = await holding.observed("opened", len(KINDS))
    for session, (fault, *_) in zip(opened, KINDS, strict=True):
        await model.fault(**fault, session=session["upstream_session"])

    result = await holding.result()

    closes = {closed["call"]: closed for closed in result.all("closed")}
    for session, (_, closed_by, code, reason) in zip(opened, KINDS, strict=True):
        closed = closes[session["call"]]
        assert (closed["closed_by"], closed["code"], closed["reason"]) == (closed_by, code, reason)
        assert closed["upstream_session"] == session["upstream_session"]
        assert closed["early"]
        assert 0 < closed["age_s"] < 60, "the duration"
        assert f"cut: call {closed['call']}, session {closed['upstream_session']}" in result.stdout
        assert f"code {code}{f' {reason!r}' if reason else ''}" in result.stdout
    assert result.code == 1
    assert "0 of 5 sessions held for 60 s" in result.stdout
    assert "FAILED --max-cut 0: measured 5, 5 over" in result.stdout


async def test_a_close_is_seen_at_once_while_the_caller_talks(model: Model, hold: HoldFactory) -> None:
    holding = await hold(model.url, "--utterance", "30", "--connections", "1")
    await holding.observed("opened")
    await model.hearing()
    async with within(1):
        await model.fault("close", code=1012, reason="draining")

        (closed,) = await holding.observed("closed")

    assert closed["turn"] == "speaking"
    assert (await holding.observed("turn"))[0]["status"] == "cut"


async def test_a_close_right_behind_an_answer_is_between_turns(
    model_for: ModelFactory, hold: HoldFactory, replica_for: ReplicaFactory
) -> None:
    model = await model_for(key="model-key")
    relay = await replica_for(int(model.url.rpartition(":")[2]), RTPROXY_DRAIN_SECONDS="8")
    options = ("--connections", "5", "--talk-every", "0.4", "--utterance", "0.8")
    holding = await hold(relay.url, *options, key=RELAY_KEY)
    await holding.observed("opened", 5)
    await model.hearing()
    relay.signal(signal.SIGTERM)

    result = await holding.result()

    assert {closed["code"] for closed in result.all("closed")} == {1012}
    assert [closed["turn"] for closed in result.all("closed")] == ["idle"] * 5
    assert {turn["status"] for turn in result.all("turn")} == {"completed"}


async def test_a_session_that_only_looks_open_is_dropped(model: Model, hold: HoldFactory) -> None:
    mute = ("--talk-every", "0")
    pinging = await hold(model.url, *mute)
    closing = await hold(model.url, *mute, "--ping-interval", "0", "--duration", "4")
    await pinging.observed("pong", 2)
    await closing.observed("opened", 2)
    await model.fault("stall")

    silent, unanswered = await pinging.result(), await closing.result()

    assert (silent.code, unanswered.code) == (1, 1)
    for closed in (*silent.all("closed"), *unanswered.all("closed")):
        assert (closed["closed_by"], closed["code"], closed["early"]) == ("dropped", 1006, True)
    assert {closed["reason"] for closed in silent.all("closed")} == {"nothing heard over three pings"}
    assert {closed["reason"] for closed in unanswered.all("closed")} == {"our Close was not answered"}
    assert [pong["rtt_ms"] for pong in silent.all("pong")[-2:]] == [None, None]


async def test_a_call_that_never_got_in_while_others_did_fails_the_hold(
    model_for: ModelFactory, hold: HoldFactory
) -> None:
    model = await model_for(max_sessions=1)

    result = await (await hold(model.url, "--duration", "0.5", "--json")).result()

    assert result.code == 1
    assert result.summary["sessions"]["never_opened"] == 1
    assert result.summary["sessions"]["survived"] == 1
    assert result.only("refused")["status"] == 429
    assert result.summary["checks"][0]["measured"] == 1


async def test_a_turn_without_an_end_times_out(model: Model, hold: HoldFactory) -> None:
    holding = await hold(model.url, "--turn-deadline", "1", "--max-failed-turns", "0")
    await holding.observed("opened", 2)
    await model.fault("never_done")
    await holding.observed("turn")
    holding.interrupt()

    result = await holding.result()

    assert result.code == 1
    assert result.all("turn")[0]["status"] == "timeout"
    assert "FAILED --max-failed-turns 0" in result.stdout
    assert "2 of 2 sessions held" in result.stdout, "a late answer is no cut"


async def test_malformed_events_are_survived(model: Model, hold: HoldFactory) -> None:
    holding = await hold(model.url)
    await holding.observed("opened", 2)
    await model.fault("malformed")
    await holding.observed("turn")
    holding.interrupt()

    assert (await holding.result()).code == 0
