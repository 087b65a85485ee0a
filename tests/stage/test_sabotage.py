"""Bad releases on the stage: some rows of the table as they are run, and what its command line promises."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

import pytest

from stage.sabotage.__main__ import Places, as_it_should_be, main
from stage.sabotage.middle import KNOWN, words
from stage.sabotage.rollout import Result
from stage.sabotage.row import Row
from stage.sabotage.rows import ROWS

QUICK = (("resets",), pytest.param(("hangs-up", "no-upgrade"), marks=pytest.mark.nightly))
"""The smoke test finds these, so they end early."""
LONGEST_S = 180
DEADLINE_S = 30.0


def _started(out: Path, *options: str) -> Popen[str]:
    command = (sys.executable, "-m", "stage.sabotage", "--out", str(out), *options)
    return Popen(command, stdout=PIPE, stderr=STDOUT, text=True, start_new_session=True)


def _only(*names: str) -> list[str]:
    return [word for name in names for word in ("--only", name)]


@pytest.mark.timeout(LONGEST_S)
@pytest.mark.parametrize("names", QUICK, ids=" and ".join)
def test_the_quick_rows_are_as_they_should_be(names: tuple[str, ...], tmp_path: Path) -> None:
    running = _started(tmp_path / "out", "--jobs", str(len(names)), *_only(*names))
    said, _ = running.communicate(timeout=LONGEST_S)
    assert running.returncode == 0, said
    assert {line.split()[1] for line in said.splitlines() if line.startswith("ok ")} == set(names)


@pytest.mark.timeout(120)
def test_an_interrupted_run_leaves_nothing_running(tmp_path: Path) -> None:
    timeline = tmp_path / "out" / "good" / "timeline.jsonl"
    running = _started(tmp_path / "out", *_only("good"))
    end = time.monotonic() + DEADLINE_S
    while not (timeline.exists() and "replica.ready" in timeline.read_text()):
        assert time.monotonic() < end
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=DEADLINE_S)
    assert (running.returncode, "Traceback" in said) == (130, False), said
    acts = [json.loads(line) for line in timeline.read_text().splitlines()]
    pids = {act["pid"] for act in acts if act["act"] == "replica.started"}
    assert pids
    assert not [pid for pid in pids if "rtproxy" in _command(pid)]
    assert not [path for path in Path("/proc").glob("[0-9]*") if str(tmp_path) in _command(path.name)]


def _command(pid: object) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:  # it has ended
        return ""


def test_the_table_has_forty_rows_and_every_fault_is_in_one() -> None:
    assert len(ROWS) >= 40
    used = {name for row in ROWS.values() for name in (*words(row.green), *words(row.blue))}
    assert used == KNOWN
    assert all(bool(row.must) is not row.good for row in ROWS.values())


@pytest.mark.parametrize(
    ("by", "result", "right"),
    [
        ("play", Result(stopped_at="smoke", by_play=["quality.turns"]), True),
        ("play", Result(stopped_at="smoke", by_play=["survival.cut"]), False),
        ("play", Result(by_verdict=["quality.turns"]), False),
        ("verdict", Result(by_verdict=["quality.turns"]), True),
        ("verdict", Result(stopped_at="smoke", by_play=["survival.cut"], by_verdict=["quality.turns"]), True),
        ("verdict", Result(stopped_at="smoke", by_play=["quality.turns"]), False),
        ("verdict", Result(), False),
        ("nobody", Result(), True),
        ("nobody", Result(by_verdict=["quality.turns"]), False),
        ("nobody", Result(stopped_at="smoke", by_play=["quality.turns"]), False),
    ],
)
def test_a_row_is_right_where_it_is_found_by_whom_it_must_and_by_the_check_it_must(
    by: str, result: Result, right: bool
) -> None:
    row = Row(name="a", about="b", by=by, must=() if by == "nobody" else ("quality",))  # type: ignore[arg-type]
    assert as_it_should_be(row, result) is right


async def test_a_row_with_many_calls_takes_the_place_of_several_and_waits_for_them() -> None:
    few, many = (Row(name=name, about="", connections=calls) for name, calls in (("few", 8), ("many", 150)))
    places, running, most = Places(8), 0, []

    async def run(row: Row) -> None:
        nonlocal running
        async with places.taken(row):
            running += 1
            most.append((row.name, running))
            await asyncio.sleep(0)
            running -= 1

    async with asyncio.TaskGroup() as group:
        for row in [few] * 6 + [many] + [few] * 6:
            group.create_task(run(row))
    assert [name for name, _ in most] == ["few"] * 6 + ["many"] + ["few"] * 6
    assert max(count for name, count in most if name == "many") <= 4
    async with asyncio.timeout(1), Places(2).taken(many):  # more than there are: all of them
        pass


def test_the_list_says_what_every_row_is_about() -> None:
    command = (sys.executable, "-m", "stage.sabotage", "--list")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for row in ROWS.values():
        assert row.name in done.stdout
        assert row.about in done.stdout


@pytest.mark.parametrize("options", [("--only", "godo"), ("--jobs", "0"), ("--out", "."), ("--frob",)])
def test_bad_arguments_end_it_with_2(
    options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["sabotage", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert options[-1] in capsys.readouterr().err
