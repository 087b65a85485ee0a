"""The load itself: what it says can be measured, and it knows when it is too slow to measure."""

import asyncio
import time
from typing import cast

import pytest

from bench.load.end import End
from bench.load.generator import LAG_LIMIT_US, SLOT_S, Load, Pace
from bench.load.wire import DOWN, TEXT, UP, Speech, frame


@pytest.mark.parametrize("speech", [UP, DOWN])
def test_a_frame_tells_how_long_ago_it_was_sent(speech: Speech) -> None:
    said = speech.frame_now()
    time.sleep(0.002)
    assert len(said) == speech.size
    assert 2_000_000 <= speech.age_ns(said) < 1_000_000_000


def test_a_peer_may_mask_a_frame_with_a_key_of_its_own() -> None:
    said = UP.frame_now()
    payload = bytes(byte ^ said[4 + i % 4] for i, byte in enumerate(said[8:]))
    assert payload.startswith(b'{"event_id":"ev_')
    other = said[:4] + b"\1\2\3\4" + bytes(byte ^ (1, 2, 3, 4)[i % 4] for i, byte in enumerate(payload))
    assert 0 <= UP.age_ns(other) < 1_000_000_000


async def test_calls_without_a_peer_are_counted_frame_by_frame() -> None:
    load = Load()
    await load.listen(None)
    calls = await load.call(load.port, 10)
    found = await load.window(calls.ends, 50, asyncio.sleep(0.4), None)
    await calls.hang_up()
    load.stop()
    assert found.frames is not None
    assert found.p50_us is not None
    assert found.cpu_us_per_frame is None
    assert 200 <= found.frames < 2000  # 20 ends, 50 a second, 0.4 s, and later on a busy machine
    assert 0 < found.p50_us < 1_000_000


async def test_a_window_in_which_the_load_lagged_is_void() -> None:
    load = Load()
    await load.listen(None)
    calls = await load.call(load.port, 2)

    async def busy() -> None:
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            time.sleep(2 * LAG_LIMIT_US / 1e6)  # noqa: ASYNC251 - to be late is the point
            await asyncio.sleep(0)

    found = await load.window(calls.ends, 50, busy(), None)
    await calls.hang_up()
    load.stop()
    assert found.void is not None
    assert "lagged" in found.void


async def test_a_load_that_cannot_keep_up_comes_to_the_end_of_its_window() -> None:
    class Slow:
        def send(self) -> None:
            time.sleep(2 * SLOT_S)  # twice as long as there is

    pace = Pace([cast("End", Slow())] * 20, 50)
    sending = asyncio.create_task(pace.run())
    async with asyncio.timeout(5):
        await asyncio.sleep(0.05)
    sending.cancel()
    assert max(pace.lags_us) > 0


async def test_frames_of_other_sizes_pass_and_pings_are_answered() -> None:
    load = Load()
    await load.listen(None)
    calls = await load.call(load.port, 1)
    caller, model = calls.callers[0], calls.models[0]
    received = model.received[0]
    caller.transport.write(frame(TEXT, b"x" * 300_000, masked=True) + frame(0x89, b"hey", masked=True))
    caller.send()
    async with asyncio.timeout(5):
        while received.frames < 2:  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(0.01)
    assert len(received.ages_ns) == 1
    await said_goodbye(caller)
    load.stop()


async def said_goodbye(end: End) -> None:
    end.close()
    async with asyncio.timeout(5):
        assert await end.closed == 1000
