"""SIGTERM at the worst of times: in the middle of five hundred handshakes."""

import asyncio
import contextlib
import signal
from collections import Counter

from stage.rawpeer import CLOSE, RawPeer
from tests.conftest import DEADLINE_S, error
from tests.faults.conftest import LineFactory
from tests.standstill import within

CALLERS = 500
SLOW = 50
"""Those whose model answers only when nobody is let in any more."""
WINDOW_S = 5.0


async def hears_out(client: RawPeer) -> str:
    """What became of a caller, in a word; a connection that just ends has none."""
    if client.status != 101:
        told = await error(client)
        assert int(client.headers["retry-after"]) > 0
        return f"{client.status} {told['code']}"
    got = await client.read_until(CLOSE)
    with contextlib.suppress(ConnectionError):  # the relay waits half a second for it
        await client.send(CLOSE, got.payload)
    return f"{got.code}"


async def test_everybody_gets_an_answer_and_a_close_or_a_503_when_sigterm_comes_amid_five_hundred_handshakes(
    line_for: LineFactory,
) -> None:
    line = await line_for(RTPROXY_DRAIN_SECONDS=f"{WINDOW_S:g}")
    half = asyncio.Event()
    models: list[asyncio.Task[int | None]] = []

    async def answer(model: RawPeer, slow: bool) -> int | None:
        if slow:
            await line.replica.event("drain.progress")
            await asyncio.sleep(WINDOW_S / 2)  # across the end of the seconds in which calls are let in
        await model.answer()
        got = await model.read_until(CLOSE)
        with contextlib.suppress(ConnectionError):  # of a call that was refused, the relay has hung up
            await model.send(CLOSE, got.payload)
        return got.code

    async def answer_everybody() -> None:
        while True:
            slow = len(models) < SLOW
            models.append(asyncio.create_task(answer(await line.upstream.request(), slow)))
            if len(models) == CALLERS // 2:
                half.set()

    answering = asyncio.create_task(answer_everybody())
    calling = [asyncio.create_task(line.dial(line.replica.port)) for _ in range(CALLERS)]
    async with asyncio.timeout(2 * DEADLINE_S):
        await half.wait()
    assert not all(each.done() for each in calling), "there are handshakes on their way"
    line.replica.signal(signal.SIGTERM)
    async with asyncio.timeout(WINDOW_S + DEADLINE_S):
        clients = await asyncio.gather(*calling)
        became = Counter(await asyncio.gather(*map(hears_out, clients)))
        assert await line.replica.exited() == 0
    completed = await line.replica.event("drain.completed")
    assert (completed["sessions"], completed["duration_s"] < WINDOW_S) == (0, True)
    answering.cancel()
    assert became.keys() == {"1012", "503 draining"}
    assert became["1012"] >= CALLERS // 2
    assert {await model for model in models} == {1001}
    assert len(line.summaries()) == len({*line.summaries()}) == became["1012"]


async def test_a_second_sigterm_ends_every_call_at_once_with_its_close_and_its_summary(line_for: LineFactory) -> None:
    line = await line_for(RTPROXY_DRAIN_SECONDS="30")
    held = await line.calls(100)
    line.replica.signal(signal.SIGTERM)
    await line.replica.event("drain.started")
    line.replica.signal(signal.SIGTERM)
    async with within(3):
        assert {(await each.client.read_until(CLOSE)).code for each in held} == {1012}
        assert {(await each.model.read_until(CLOSE)).code for each in held} == {1001}
        assert await line.replica.exited() == 128 + signal.SIGTERM
    assert sorted(line.summaries()) == sorted(each.session for each in held)
    assert {await line.closed(each) for each in held} == {("drain", 1012, 1001)}
