"""Ctrl-C and SIGTERM."""

import asyncio
import signal

import pytest

from tests.clients.conftest import HoldFactory, Model
from tests.standstill import within


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_hold_closes_its_sessions_and_reports(
    model: Model, hold: HoldFactory, stop: signal.Signals
) -> None:
    holding = await hold(model.url)
    await holding.observed("opened", 2)
    holding.process.send_signal(stop)

    result = await holding.result()

    assert result.code == 0
    assert {(each["code"], each["closed_by"], each["early"]) for each in result.all("closed")} == {
        (1000, "local", False)
    }
    assert "2 of 2 sessions held for" in result.stdout
    assert "until the interrupt" in result.stdout
    assert result.only("hold.completed")["summary"]["interrupted"] is True
    assert {session["close_code_received"] for session in await model.sessions()} == {1000}


async def test_a_cut_before_the_interrupt_still_fails_the_hold(model: Model, hold: HoldFactory) -> None:
    holding = await hold(model.url)
    await holding.observed("opened", 2)
    await model.fault("reset", session=(await model.sessions())[0]["id"])
    await holding.observed("closed")
    holding.interrupt()

    assert (await holding.result()).code == 1


async def test_an_interrupt_before_any_session_ends_with_130(model: Model, hold: HoldFactory) -> None:
    await model.fault("slow_handshake", seconds=30)
    holding = await hold(model.url)
    await holding.observed("hold.started")
    holding.interrupt()

    result = await holding.result()

    assert (result.code, result.stdout, result.stderr) == (130, "", "")


async def test_a_second_interrupt_ends_at_once(model: Model, hold: HoldFactory) -> None:
    holding = await hold(model.url)
    await holding.observed("opened", 2)
    await model.fault("stall")

    async with within(3):  # the goodbyes alone would take 5 s
        while holding.process.returncode is None:
            holding.interrupt()
            await asyncio.sleep(0.05)

    assert holding.process.returncode == 130
