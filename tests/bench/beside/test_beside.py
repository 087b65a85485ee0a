"""A run beside a commit as a person starts it: what it prints, writes and ends with, and that nothing of it stays."""

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import Process
from pathlib import Path

import orjson
import pytest

from bench.arguments import parse_arguments
from tests.bench.beside.conftest import Repository
from tests.bench.conftest import Start
from tests.bench.test_run import children

DEADLINE_S = 150.0
"""Two environments are made before anything is measured: seconds, or a minute where everybody else builds, too."""
pytestmark = pytest.mark.timeout(2 * DEADLINE_S + 20)


async def ran(process: Process) -> tuple[int | None, str, str]:
    async with asyncio.timeout(DEADLINE_S):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def nothing_stays(repository: Repository, temporary: Path) -> None:
    assert repository.worktrees == 0
    assert list(temporary.iterdir()) == []
    assert repository.git("status", "--porcelain", "--ignored=no") == ""


async def test_a_run_beside_head_measures_both_in_turn_and_writes_each_window(
    start: Start, whole: Repository, temporary: Path, tmp_path: Path
) -> None:
    asked = (
        "--beside",
        "HEAD",
        "--shapes",
        "steady-tls",
        "--windows",
        "1",
        "--seconds",
        "0.2",
        "--out",
        str(tmp_path / "found"),
    )
    code, out, err = await ran(await start(*asked))
    # One window decides nothing, whatever it is.
    assert code == 1, err
    found = orjson.loads((tmp_path / "found" / "beside.json").read_bytes())
    assert found["command"] == "nox -s bench -- --beside HEAD --shapes steady-tls --windows 1 --seconds 0.2"
    head = whole.git("rev-parse", "HEAD")[:10]
    assert (found["before"], found["ours"]) == (f"{head} (Relay what is said)", head)
    assert re.match(r"CPython 3\.\d+\.\d+, built with(out)? optimisation", found["interpreter"])
    assert found["held"] is False
    assert [shape["name"] for shape in found["shapes"]] == ["steady-tls"]
    for shape in found["shapes"]:
        windows = shape["windows"]
        counted = [each for each in windows if not each["void"]]
        # On a busy machine the load lags: a window of that kind is taken again, up to three times as many in all.
        assert len(counted) == 1 or len(windows) == 3
        for each in windows:
            # Where no frame arrived at all, none cost anything.
            assert min(each["ours_us"], each["before_us"]) > 1 or each["void"]
            assert each["ratio"] == (None if each["void"] else each["ours_us"] / each["before_us"])
        assert {each["first"] for each in windows} == {"ours"}
        assert f"{shape['name']}: not decided: {len(counted)} windows counted, 30 are needed" in out
    assert (tmp_path / "found" / "beside.png").exists() == ("beside.png" in err)
    nothing_stays(whole, temporary)


@pytest.mark.parametrize(
    ("number", "when"),
    [
        pytest.param(signal.SIGINT, b"ours: an environment", id="Ctrl-C while it installs", marks=pytest.mark.nightly),
        pytest.param(signal.SIGTERM, b"steady-tls: ", id="SIGTERM while it measures"),
    ],
)
async def test_an_interrupted_run_leaves_no_relay_no_worktree_and_no_file(
    start: Start, whole: Repository, temporary: Path, tmp_path: Path, number: signal.Signals, when: bytes
) -> None:
    shape = ("--shapes", "steady-tls", "--windows", "99")
    process = await start("--beside", "HEAD", *shape, "--out", str(tmp_path / "found"))
    assert process.stderr is not None
    async with asyncio.timeout(DEADLINE_S):
        while when not in await process.stderr.readline():
            pass
    started = children(process.pid)
    process.send_signal(number)
    code, _, err = await ran(process)
    assert code == 130, err
    assert "interrupted" in err
    for child in started:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
    assert not (tmp_path / "found").exists()
    nothing_stays(whole, temporary)


async def test_a_commit_that_is_none_ends_with_2(start: Start, whole: Repository, temporary: Path) -> None:
    code, _, err = await ran(await start("--beside", "nosuch"))
    assert code == 2
    assert err == "bench: there is no commit 'nosuch' here\n"
    nothing_stays(whole, temporary)


async def test_a_commit_whose_relay_does_not_start_ends_with_3_and_its_last_words(
    start: Start, whole: Repository, temporary: Path
) -> None:
    program = whole.root / "rtproxy" / "__main__.py"
    good = program.read_text()
    program.write_text("raise SystemExit('no voice')\n")
    broken = whole.commit("Say nothing")
    program.write_text(good)
    whole.commit("Say it again")
    code, _, err = await ran(await start("--beside", broken, "--shapes", "steady"))
    assert code == 3
    assert err.splitlines()[-1] == "bench: a relay did not start: before does not listen: no voice"
    nothing_stays(whole, temporary)


async def test_a_commit_without_a_lock_file_ends_with_3_and_says_so(
    start: Start, whole: Repository, temporary: Path
) -> None:
    whole.git("rm", "--quiet", "requirements/relay.txt")
    unlocked = whole.commit("Install whatever there is")
    whole.git("checkout", "--quiet", "HEAD~1", "--", ".")
    whole.commit("Install what is locked")
    code, _, err = await ran(await start("--beside", unlocked))
    assert code == 3
    assert "a relay did not start: before: it has no requirements/relay.txt" in err
    nothing_stays(whole, temporary)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--beside HEAD --quick", "--beside does not go with --quick"),
        ("--beside HEAD --peers nginx --keep", "--beside does not go with --peers, --keep"),
        ("--beside HEAD --shapes steady,held", "--beside measures steady, steady-tls, not held"),
        ("--beside HEAD --windows 0", "at least one window"),
        ("--windows 30", "--windows is for --beside"),
    ],
)
def test_arguments_that_do_not_go_together_end_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: str, said: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *given.split()])
    with pytest.raises(SystemExit) as ended:
        parse_arguments()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
