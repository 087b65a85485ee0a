"""The suite's own clock: what a paused machine takes is forgiven, what a relay or this process takes is not."""

import asyncio
import os
import time

import pytest

from tests.standstill import standstill, within

PAUSE_S = 0.6


async def test_a_pause_of_the_machine_is_counted_and_forgiven() -> None:
    stopped_and_continued = f"sleep 0.1; kill -STOP {os.getpid()}; sleep {PAUSE_S}; kill -CONT {os.getpid()}"
    with standstill() as machine:
        somebody = await asyncio.create_subprocess_exec("/bin/sh", "-c", stopped_and_continued)
        async with within(0.5):
            await somebody.wait()
            await asyncio.sleep(0.05)
    assert machine.lost_s > PAUSE_S - 0.1


async def test_the_work_of_this_process_is_not_forgiven() -> None:
    async def work() -> None:
        async with within(0.2):
            began = time.process_time()
            while time.process_time() - began < 0.4:
                pass
            await asyncio.sleep(0.05)

    with pytest.raises(TimeoutError):
        await work()


async def test_waiting_in_vain_ends_in_time() -> None:
    async def wait() -> None:
        async with within(0.1):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await wait()
