"""Whole rehearsals: real az, real Ansible, real Envoy, and the verdict that the scenario should have."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

import pytest

from stage.rehearse import SCENARIOS, main
from tests.browser import CHROMIUM, picture, traces

TELLING = ("gateway-timeout",)
"""What every run of the suite rehearses; `nox -s nightly` rehearses the rest too."""
LONGEST_S = 900
DEADLINE_S = 30.0
NAMES = [pytest.param(name, marks=() if name in TELLING else pytest.mark.nightly) for name in SCENARIOS]


class Rehearsing:
    """A rehearsal as a person starts it."""

    def __init__(self, name: str, out: Path, *options: str) -> None:
        self.out = out
        command = (sys.executable, "-m", "stage.rehearse", "--scenario", name, "--out", str(out), *options)
        self.process = Popen(command, stdout=PIPE, stderr=STDOUT, text=True, start_new_session=True)

    def until(self, words: str) -> None:
        """Reads what is said up to the line that has ``words``."""
        assert self.process.stdout is not None
        said = []
        for line in self.process.stdout:
            said.append(line)
            if words in line:
                return
        raise AssertionError("".join(said))

    def result(self) -> tuple[int, str]:
        said, _ = self.process.communicate(timeout=LONGEST_S)
        return self.process.returncode, said

    def left(self) -> list[str]:
        """Command lines of what still runs of it: known by its run directory, replicas by their pids."""
        acts = (self.out / "timeline.jsonl").read_text().splitlines()
        pids = {str(act["pid"]) for act in map(json.loads, acts) if act["act"] == "replica.started"}
        commands = {path.parent.name: _command(path) for path in Path("/proc").glob("[0-9]*/cmdline")}
        return [text for pid, text in commands.items() if str(self.out) in text or (pid in pids and "rtproxy" in text)]


def _command(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode()
    except OSError:  # it has just ended
        return ""


def gone(rehearsing: Rehearsing) -> bool:
    """Whether nothing of it is left, soon."""
    end = time.monotonic() + DEADLINE_S
    while left := rehearsing.left():
        assert time.monotonic() < end, left
    return True


@pytest.fixture(scope="module")
def rehearsed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Rehearsing]]:
    """The scenarios that were asked for. The telling ones begin at once: most of a rehearsal is waiting."""
    chosen = [
        item.callspec.params["name"]
        for item in request.session.items
        if "rehearsed" in getattr(item, "fixturenames", ())
    ]
    running: dict[str, Rehearsing] = {}

    def start(name: str) -> Rehearsing:
        running[name] = Rehearsing(name, tmp_path_factory.mktemp(name) / "out", "--connections", "10")
        return running[name]

    for name in TELLING:
        if name in chosen:
            start(name)
    yield lambda name: running.get(name) or start(name)
    for rehearsing in running.values():
        rehearsing.process.kill()
        rehearsing.process.communicate()


@pytest.mark.timeout(LONGEST_S)
@pytest.mark.parametrize("name", NAMES)
def test_a_scenario_ends_with_the_verdict_it_should(rehearsed: Callable[[str], Rehearsing], name: str) -> None:
    rehearsing = rehearsed(name)
    code, said = rehearsing.result()
    assert code == 0, said
    verdict = json.loads((rehearsing.out / "verdict.json").read_text())
    found = {check["name"]: check["status"] for check in verdict["checks"]}
    assert {check: found.get(check) for check in SCENARIOS[name].expected} == dict(SCENARIOS[name].expected)
    assert verdict["headline"] in " ".join(said.split())
    assert said.endswith("The verdict is the one that this scenario should have.\n")
    assert gone(rehearsing)
    report = rehearsing.out / "report.html"
    if CHROMIUM is not None:
        assert "bar" in {kind for _, kind, _ in traces(report)}
        picture(report, f"rehearsal-{name}", rehearsing.out)
    assert "plotly" in report.read_text()


@pytest.mark.nightly
@pytest.mark.timeout(120)
def test_a_stage_that_is_kept_ends_by_ctrl_c_with_the_verdicts_code(tmp_path: Path) -> None:
    rehearsing = Rehearsing("gateway-timeout", tmp_path / "out", "--connections", "3", "--keep")
    rehearsing.until("Ctrl-C ends")
    rehearsing.process.send_signal(signal.SIGINT)
    code, said = rehearsing.result()
    assert (code, "Traceback" in said) == (0, False), said
    assert gone(rehearsing)


@pytest.mark.timeout(120)
def test_an_interrupted_rehearsal_leaves_nothing_running(tmp_path: Path) -> None:
    rehearsing = Rehearsing("rollout", tmp_path / "out", "--connections", "3")
    rehearsing.until("calls open")
    rehearsing.process.send_signal(signal.SIGINT)
    code, said = rehearsing.result()
    assert code == 130, said
    assert "Traceback" not in said
    assert gone(rehearsing)


@pytest.mark.timeout(120)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends the children of a process that was killed")
def test_a_rehearsal_that_is_killed_leaves_nothing_running(tmp_path: Path) -> None:
    rehearsing = Rehearsing("rollout", tmp_path / "out", "--connections", "3")
    rehearsing.until("calls open")
    rehearsing.process.kill()
    rehearsing.result()
    assert gone(rehearsing)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--scenario", "rolout"), "rolout"),
        (("--connections", "0"), "not a number of calls"),
        (("--out", "."), "is not empty"),
        (("--out", __file__), "is no folder"),
    ],
)
def test_bad_arguments_are_named_and_end_it_with_2(
    options: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["rehearse", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_the_help_says_what_every_scenario_is_about() -> None:
    done = subprocess.run(
        (sys.executable, "-m", "stage.rehearse", "--help"), capture_output=True, text=True, check=True
    )
    for name, scenario in SCENARIOS.items():
        assert name in done.stdout
        assert scenario.about in done.stdout
