"""A run as a person starts it: what it prints, writes and ends with, and what it leaves behind."""

import asyncio
import os
import re
import signal
from asyncio.subprocess import Process
from pathlib import Path

import pytest

from bench.targets import TARGETS
from tests.bench.conftest import Start
from tests.bench.reading import load
from tests.conftest import DEADLINE_S

SHORT = ("--rounds", "1", "--seconds", "0.3")


async def ran(process: Process) -> tuple[int | None, str, str]:
    async with asyncio.timeout(5 * DEADLINE_S):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_a_run_measures_our_relay_and_writes_a_table_a_page_and_a_picture(start: Start, tmp_path: Path) -> None:
    asked = ("--shapes", "steady,handshakes", "--peers", "aiohttp,rtproxy", "--out", str(tmp_path / "found"))
    code, out, err = await ran(await start(*asked, *SHORT))
    assert code == 0, err
    result = load(tmp_path / "found" / "bench.json")
    assert [shape.name for shape in result.shapes] == ["steady", "handshakes"]
    steady, handshakes = result.shapes
    for peer in ("aiohttp", "rtproxy"):
        (figures,) = (found[peer] for found in steady.rounds)
        assert handshakes.rounds[0][peer].handshakes_per_s
        if figures.void:  # a busy machine: the load lagged, or nothing came at all, and the bench says so itself
            continue
        # 100 calls, 50 frames a second each way for 0.3 s.
        assert figures.frames is not None
        assert figures.cpu_us_per_frame is not None
        assert 1000 < figures.frames < 12_000
        assert 1 < figures.cpu_us_per_frame < 1000
    assert "> rtproxy" in out
    assert "targets met" in out
    assert "steady: round 1 of 1: rtproxy" in err
    # On a busy machine the load may lag; then no window counts, and there is nothing to draw.
    counts = any(not steady.rounds[0][peer].void for peer in ("aiohttp", "rtproxy"))
    names = {"bench.json", "bench.html", "bench.md"} | ({"bench.png"} if counts else set())
    assert {file.name for file in (tmp_path / "found").iterdir()} == names
    assert set(re.findall(r"bench\.\w+", err.splitlines()[-1])) == names


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--peers", "nginx,apache"), "no apache; there are nginx"),
        (("--shapes", "round"), "no round; there are steady"),
        (("--rounds", "0"), "at least one round"),
        (("--seconds", "nan"), "a finite time"),
        (("--seconds", "inf"), "a finite time"),
        (("--out", __file__), "is no folder"),
        (("--check", "--keep"), "not allowed with"),
        (("--breakdown", "gdb"), "invalid choice"),
    ],
)
async def test_arguments_that_make_no_sense_end_with_2(start: Start, arguments: tuple[str, ...], said: str) -> None:
    code, _, err = await ran(await start(*arguments))
    assert code == 2
    assert said in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
async def test_an_interrupted_run_ends_its_peers_and_writes_nothing(
    start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    asked = ("--shapes", "steady-tls", "--peers", "rtproxy", "--rounds", "99", "--seconds", "1")
    process = await start(*asked, "--out", str(tmp_path / "out"))
    assert process.stderr is not None
    async with asyncio.timeout(3 * DEADLINE_S):
        while b"round 1 of 99: rtproxy" not in await process.stderr.readline():
            pass
    (relay,) = children(process.pid)
    process.send_signal(number)
    code, _, err = await ran(process)
    assert code == 130
    assert "interrupted" in err
    with pytest.raises(ProcessLookupError):
        os.kill(relay, 0)
    assert not (tmp_path / "out").exists()


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_every_target_is_of_a_shape_that_is_run() -> None:
    from bench.shapes import SHAPES

    assert {target.shape for target in TARGETS} <= {shape.name for shape in SHAPES}
    quick = {shape.name for shape in SHAPES if shape.quick}
    assert {target.shape for target in TARGETS} - quick == {"held"}


async def test_a_peer_that_does_not_start_costs_a_run_nothing_but_itself(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "haproxy"
    broken.write_text("#!/bin/sh\nif [ $1 = -v ]; then echo HAProxy version 9.9.9; else echo no room >&2; exit 1; fi\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    asked = ("--shapes", "handshakes", "--peers", "haproxy,aiohttp", "--out", str(tmp_path / "found"))
    code, _, err = await ran(await start(*asked, *SHORT))
    assert code == 1
    assert "handshakes: haproxy does not listen: no room" in err
    (shape,) = load(tmp_path / "found" / "bench.json").shapes
    assert shape.peers == ["aiohttp"]
