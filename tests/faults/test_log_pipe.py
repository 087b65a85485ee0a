"""Stdout is a pipe, and whoever reads it may stop: that costs lines at most, and never a call."""

import asyncio
import fcntl

import aiohttp

from stage.rawpeer import CLOSE, close_payload
from tests.conftest import DEADLINE_S
from tests.faults.conftest import Held, Line
from tests.standstill import within

PAGE = 4096
"""The smallest pipe there is."""
FILLS = 8
"""Calls, of four lines and about a KiB each: twice what that takes."""


async def refuse(line: Line, times: int) -> None:
    """Asks so often, and each time it is answered and logged."""
    async with aiohttp.ClientSession() as http:
        for _ in range(times):
            async with http.get(f"{line.replica.url}/ws") as answer:
                assert answer.status == 426


async def fill(line: Line) -> list[str]:
    """Has the relay log more than a pipe takes, which nobody reads: the calls that ended."""
    line.replica.stop_reading()
    fcntl.fcntl(line.replica._pipe().get_extra_info("pipe").fileno(), fcntl.F_SETPIPE_SZ, PAGE)
    held = await line.calls(FILLS)
    for each in held:
        await end(each)
    return [each.session for each in held]


async def end(held: Held) -> None:
    await held.client.send(CLOSE, close_payload(1000))
    assert (await held.model.read_until(CLOSE)).code == 1000
    await held.model.send(CLOSE, close_payload(1000))
    assert (await held.client.read_until(CLOSE)).code == 1000


async def test_calls_come_talk_and_go_when_nobody_reads_the_log_and_its_lines_come_late(line: Line) -> None:
    async with asyncio.timeout(DEADLINE_S), line.neighbour():
        filled = await fill(line)
        held = await line.call()
        await end(held)
        assert (await line.get("/readyz"))[0] == 200
    assert "connection.closed" not in {event["event"] for event in line.replica.events}
    line.replica.read_on()
    assert await line.closed(held) == ("client", 1000, 1000)
    assert line.summaries() == [*filled, held.session]
    assert not [event for event in line.replica.events if "lost" in event]


async def test_a_drain_ends_in_its_window_with_exit_0_when_nobody_reads_the_log(line: Line) -> None:
    held = await line.call()
    await fill(line)
    stopping = asyncio.create_task(line.stop())
    assert (await held.client.read_until(CLOSE)).code == 1012
    assert (await held.model.read_until(CLOSE)).code == 1001
    for each in held:
        each.hang_up()
    async with within(3):
        await line.replica.process.wait()
    line.replica.read_on()
    code, took_s = await stopping
    assert (code, took_s < 2 + 1.5) == (0, True)


async def test_calls_go_on_and_a_drain_ends_when_the_reader_of_the_log_is_gone(line: Line) -> None:
    async with line.neighbour():
        line.replica.stop_listening()
        await refuse(line, 10)
        await end(await line.call())
    code, took_s = await line.stop()
    assert (code, took_s < 2 + 1.5) == (0, True)
