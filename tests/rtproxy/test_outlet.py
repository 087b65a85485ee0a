"""A log line goes out at once and whole while somebody reads; otherwise it waits, or is lost and counted."""

import asyncio
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from rtproxy.carry import LOG
from rtproxy.log import Log, Outlet
from stage.rawpeer import RawServer
from tests.conftest import RelayFactory
from tests.rtproxy.test_metrics import samples

PAGE = 4096


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The two ends of the smallest pipe there is."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PAGE)
    os.set_blocking(reading, False)
    yield reading, writing
    for each in (reading, writing):
        os.close(each)


def read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 20)
    except BlockingIOError:
        return b""


async def test_a_line_is_in_the_pipe_when_its_write_returns(pipe: tuple[int, int]) -> None:
    outlet = Outlet(pipe[1])
    assert outlet.write(b"one\n") == 4
    assert read(pipe[0]) == b"one\n"
    outlet.finish()


async def test_what_waited_comes_whole_and_in_order_when_somebody_reads_again(pipe: tuple[int, int]) -> None:
    outlet = Outlet(pipe[1])
    lines = [b"%04d".ljust(200, b".") % number + b"\n" for number in range(500)]
    assert {outlet.write(line) for line in lines} == {len(lines[0])}
    seen = b""
    while len(seen) < sum(map(len, lines)):
        news = read(pipe[0])
        assert not news or news.endswith(b"\n"), "no line is cut in two"
        seen += news
        await _turn_of_the_loop()
    assert seen == b"".join(lines)
    outlet.write(b"next\n")
    assert read(pipe[0]) == b"next\n"
    outlet.finish()


async def _turn_of_the_loop() -> None:
    await asyncio.sleep(0)


async def test_lines_beyond_what_may_wait_are_lost_and_the_next_one_says_how_many(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtproxy.log.WAITING_BYTES", 2 * PAGE)
    outlet = Outlet(pipe[1])
    log = Log("app--blue", "app--blue-1", outlet)
    for number in range(100):
        log("drain.progress", sessions=number)
    assert log.lost > 0
    seen = b""
    while news := read(pipe[0]):
        seen += news
        await _turn_of_the_loop()
    log("proxy.stopped", code=0)
    *kept, last = [orjson.loads(line) for line in (seen + read(pipe[0])).splitlines()]
    assert [line["sessions"] for line in kept] == list(range(100 - log.lost)), "the newest are lost"
    assert (last["event"], last["lost"]) == ("proxy.stopped", log.lost)
    assert not any("lost" in line for line in kept)
    log("proxy.started")
    assert b"lost" not in read(pipe[0]), "it is said once"
    outlet.finish()


async def test_what_is_left_at_the_end_is_given_up_after_half_a_second(pipe: tuple[int, int]) -> None:
    outlet = Outlet(pipe[1])
    for _ in range(100):
        outlet.write(b"." * 199 + b"\n")
    outlet.finish()
    assert len(read(pipe[0])) <= PAGE


async def test_a_pipe_is_left_as_it_is_for_others_who_have_it(pipe: tuple[int, int]) -> None:
    outlet = Outlet(pipe[1])
    for _ in range(100):
        outlet.write(b"." * 199 + b"\n")
    assert os.get_blocking(pipe[1])
    outlet.finish()


async def test_a_pipe_without_a_reader_costs_nothing_but_lines() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    outlet = Outlet(writing)
    assert outlet.write(b"one\n") == 4
    outlet.finish()
    os.close(writing)


async def test_a_file_takes_every_line(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        outlet = Outlet(file.fileno())
        for _ in range(1000):
            outlet.write(b"." * 199 + b"\n")
        outlet.finish()
    assert (tmp_path / "log").stat().st_size == 200_000


def test_a_file_takes_lines_again_when_its_full_disk_has_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtproxy.log.WAITING_BYTES", 1000)
    line = b"." * 199 + b"\n"
    with Path("/dev/full").open("wb", buffering=0) as disk, (tmp_path / "log").open("wb") as room:
        outlet = Outlet(disk.fileno())
        assert [outlet.write(line) for _ in range(7)] == [200] * 5 + [0] * 2
        os.dup2(room.fileno(), disk.fileno())
        assert [outlet.write(line) for _ in range(3)] == [0, 200, 200]
        outlet.finish()
    assert (tmp_path / "log").read_bytes() == line * 7


async def test_lost_lines_are_in_the_metrics(relay_for: RelayFactory, upstream: RawServer) -> None:
    relay = await relay_for(upstream.port)
    relay.app[LOG].lost = 3
    assert (await samples(relay))["rtproxy_log_lines_lost_total"] == 3
