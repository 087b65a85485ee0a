"""Calls that come back after a cut."""

from itertools import islice

from clients.call import LONGEST_BACKOFF_S, backoff
from tests.clients.conftest import HoldFactory, Model


async def test_a_cut_call_comes_back_and_tells_the_gap_but_counts_as_cut(model: Model, hold: HoldFactory) -> None:
    holding = await hold(model.url, "--reconnect", "--max-cut", "2", "--json")
    await holding.observed("opened", 2)
    await model.fault("close", code=1012, reason="draining")
    await holding.observed("opened", 4)
    holding.interrupt()

    result = await holding.result()

    assert result.code == 0
    assert {each["call"] for each in result.all("reconnecting")} == {1, 2}
    gaps = [each["gap_ms"] for each in result.all("opened")]
    assert gaps[:2] == [None, None]
    assert all(100 < gap < 1000 for gap in gaps[2:])
    sessions = result.summary["sessions"]
    assert (sessions["survived"], sessions["cut"], sessions["reconnected"]) == (0, 2, 2)
    assert result.summary["gap_ms"]["count"] == 2
    assert result.summary["checks"] == [{"name": "max_cut", "limit": 2, "measured": 2, "held": True}]


async def test_a_call_waits_as_long_as_retry_after_asks(model: Model, hold: HoldFactory) -> None:
    holding = await hold(model.url, "--reconnect", "--connections", "1")
    await holding.observed("opened")
    await model.fault("refuse", status=429, retry_after=1, times=1)
    await model.fault("reset")

    _, again = await holding.observed("opened", 2)

    (refused,) = await holding.observed("refused")
    assert (refused["status"], refused["retry_after_s"]) == (429, 1)
    assert (await holding.observed("reconnecting"))[1]["delay_ms"] == 1000
    assert again["gap_ms"] > 1000


def test_backoff_grows_with_jitter_up_to_its_cap() -> None:
    delays = list(islice(backoff(), 30))

    assert 0.125 <= delays[0] <= 0.25
    assert all(LONGEST_BACKOFF_S / 2 <= delay <= LONGEST_BACKOFF_S for delay in delays[10:])
    assert len(set(delays[10:])) > 1
