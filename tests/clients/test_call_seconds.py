"""--call-seconds: calls that hang up by themselves between two turns, and the next ones in their places."""

from datetime import datetime, timedelta

from tests.clients.conftest import HoldFactory, Model, Observation, Result
from tests.standstill import standstill

SHORT = ("--call-seconds", "0.6", "--json")


def began(turn: Observation) -> datetime:
    """When the caller fell silent."""
    return datetime.fromisoformat(turn["ts"]) - timedelta(milliseconds=turn["duration_ms"])


def by_place(result: Result, name: str) -> dict[int, list[Observation]]:
    places: dict[int, list[Observation]] = {}
    for each in result.all(name):
        places.setdefault(each["call"], []).append(each)
    return places


async def test_calls_follow_each_other_in_a_place_and_none_is_cut(model: Model, hold: HoldFactory) -> None:
    with standstill() as machine:
        holding = await hold(model.url, *SHORT)
        await holding.observed("opened", 6)
        holding.interrupt()

        result = await holding.result()

    assert result.code == 0, result.stdout
    assert result.only("hold.started")["arguments"]["call_seconds"] == 0.6
    for closed in result.all("closed"):
        assert (closed["closed_by"], closed["early"], closed["code"]) == ("local", False, 1000)
    assert {opened["gap_ms"] for opened in result.all("opened")} == {None}
    assert not result.all("reconnecting")
    sessions = result.summary["sessions"]
    assert sessions["held"] == len(result.all("opened")) == len(await model.sessions()) >= 6
    assert (sessions["planned"], sessions["opened"], sessions["survived"], sessions["cut"]) == (2, 2, 2, 0)
    assert len({opened["upstream_session"] for opened in result.all("opened")}) == sessions["held"]
    closes = by_place(result, "closed")
    for place, opened in by_place(result, "opened").items():
        for before, after in zip(closes[place], opened[1:], strict=False):
            pause = datetime.fromisoformat(after["ts"]) - datetime.fromisoformat(before["ts"])
            assert 0.2 < pause.total_seconds() < 1.3 + machine.lost_s, "a short pause, as people make"


async def test_a_call_hangs_up_between_two_turns_and_soon(model: Model, hold: HoldFactory) -> None:
    # Two thirds of such a call are turns: a hang-up at any moment would meet one.
    with standstill() as machine:
        holding = await hold(model.url, "--call-seconds", "1", "--connections", "8", "--utterance", "0.4")
        await holding.observed("closed", 16)
        holding.interrupt()

        result = await holding.result()

    hung_up = result.all("closed")[:16]
    assert {closed["turn"] for closed in hung_up} == {"idle"}
    assert all(0.8 <= closed["age_s"] < 4 + machine.lost_s for closed in hung_up)
    assert len({closed["age_s"] for closed in hung_up}) > 8, "jittered"
    # Only the end of the hold waits for no turn.
    assert {turn["status"] for turn in result.all("turn")} <= {"completed", "unanswered"}


async def test_a_turn_without_an_end_is_waited_for_up_to_its_deadline(model: Model, hold: HoldFactory) -> None:
    holding = await hold(model.url, *SHORT, "--connections", "1", "--turn-deadline", "1")
    with standstill() as machine:
        await holding.observed("opened")
        await model.fault("never_done")
        (closed,) = await holding.observed("closed")
    (turn,) = await holding.observed("turn")
    holding.interrupt()

    assert (await holding.result()).code == 1, "no turn was completed"
    assert turn["status"] == "timeout"
    assert turn["ts"] <= closed["ts"]
    assert (closed["turn"], closed["early"]) == ("idle", False)
    assert closed["age_s"] < 3 + machine.lost_s


async def test_a_call_that_never_talks_hangs_up_too(model: Model, hold: HoldFactory) -> None:
    holding = await hold(model.url, *SHORT, "--connections", "1", "--talk-every", "0")
    with standstill() as machine:
        closed, _ = await holding.observed("closed", 2)
    holding.interrupt()

    assert (await holding.result()).code == 0
    assert 0.45 < closed["age_s"] < 1.5 + machine.lost_s


async def test_the_end_of_the_hold_waits_for_no_turn(model: Model, hold: HoldFactory) -> None:
    holding = await hold(model.url, "--call-seconds", "0.3", "--utterance", "30", "--connections", "1")
    await holding.observed("opened")
    await model.hearing()
    holding.interrupt()

    result = await holding.result()

    closed = result.only("closed")
    assert (result.code, closed["turn"], closed["early"]) == (0, "speaking", False)
    assert closed["age_s"] < 10


async def test_a_cut_call_is_lost_unless_it_may_reconnect(model: Model, hold: HoldFactory) -> None:
    long = ("--call-seconds", "60", "--connections", "1")
    lost, back = await hold(model.url, *long), await hold(model.url, *long, "--reconnect", "--max-cut", "1")
    await lost.observed("opened")
    await back.observed("opened")
    await model.fault("reset")
    gone = await lost.result()
    _, again = await back.observed("opened", 2)
    back.interrupt()

    assert (gone.code, len(gone.all("opened"))) == (1, 1)
    assert again["gap_ms"] > 0
    result = await back.result()
    assert result.code == 0
    assert "0 of 1 places held for" in result.stdout
    assert "2 sessions in all" in result.stdout


async def test_a_new_call_that_is_refused_fails_the_hold_and_the_place_tries_again(
    model: Model, hold: HoldFactory
) -> None:
    holding = await hold(model.url, *SHORT, "--connections", "1")
    await holding.observed("opened")
    await model.fault("refuse", status=429, retry_after=0, times=1)
    await holding.observed("opened", 2)
    holding.interrupt()

    result = await holding.result()

    assert result.code == 1
    assert result.only("refused")["status"] == 429
    sessions = result.summary["sessions"]
    assert (sessions["never_opened"], sessions["cut"], sessions["survived"]) == (1, 0, 1)
    assert result.summary["checks"][0]["measured"] == 1
    assert {opened["gap_ms"] for opened in result.all("opened")} == {None}


async def test_a_call_begun_right_before_the_end_is_not_held_against_the_target(
    model: Model, hold: HoldFactory
) -> None:
    holding = await hold(model.url, "--call-seconds", "0.3", "--duration", "2.2", "--connections", "1", "--json")
    await holding.observed("opened")
    await model.fault("slow_handshake", seconds=30)

    result = await holding.result()

    assert result.code == 0, result.stdout
    assert not result.all("refused")
