"""The report as a command, and as a browser shows it: one file, no network, no script error."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.browser import DEADLINE_S, needs_chromium, picture, traces
from tests.clients.lines import BLUE, GREEN, Lines, rollout


def draw(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clients.report", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def drawn(lines: Lines, folder: Path) -> str:
    out = folder / "report.html"
    result = draw(lines.write(folder / "run"), "--out", out)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{out}\n", "")
    return out.read_text()


class Words(HTMLParser):
    """The text of a page and what it would load, scripts and styles left out."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.loads: list[str] = []
        self._silent = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent = tag in ("script", "style")
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        self._silent = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._silent else f"{data.strip()} "


def test_the_page_has_the_answer_the_checks_and_the_cuts_and_loads_nothing(tmp_path: Path) -> None:
    page = Words(drawn(rollout(20, cut=3), tmp_path))

    assert "Noticed: 3 of" in page.text
    for theme in ("survival", "session affinity", "multi-revision routing", "cooldownPeriod", "graceful termination"):
        assert f" {theme} " in page.text
    assert "3 calls ended 1011 on revision rtproxy--green: the model vanished." in page.text
    assert len(re.findall(r"1011 \(remote\), before the answer was done ", page.text)) == 3
    assert f"{GREEN}-0123456789-aaaa" in page.text
    assert "hold.jsonl" in page.text
    assert "blue SIGTERM x2" in page.text, "what happens to both replicas is said once"
    assert "blue 50 / green 50" in page.text
    assert [each for each in page.loads if not each.startswith("data:")] == []


def test_what_other_ends_said_cannot_become_markup(tmp_path: Path) -> None:
    lines = rollout(3)
    nasty = "</script><script>alert(1)</script>"
    lines.observe(5, "refused", call=1, status=503, code=nasty, message=nasty, retry_after_s=None)
    lines.opened(6, 9, nasty, logged=False)
    lines.closed(7, 9, 1011, reason=nasty)

    assert nasty not in drawn(lines, tmp_path)


def test_the_page_shows_what_was_wrong_to_hear_and_what_is_not_known_of_a_1012(tmp_path: Path) -> None:
    lines = Lines()
    lines.hold()
    lines.opened(1, 1, logged=False)
    lines.fault(5, 1, "cross_talk", "response.done with response resp_9 of call 2")
    lines.closed(9, 1, 1012)

    page = drawn(lines, tmp_path)

    assert (
        "heard what belongs to another call: cross-talk response.done with response resp_9 of call 2"
        in Words(page).text
    )
    assert all(name in page for name in ('"name":"fault heard"', '"name":"moved or cut (1012)"'))


def test_a_verdict_that_lacks_what_it_had_to_decide_is_no_pass(tmp_path: Path) -> None:
    run, verdict, out = rollout(5).write(tmp_path / "run"), tmp_path / "verdict.json", tmp_path / "report.html"
    judge = [sys.executable, "-m", "clients.verdict", str(run), "--require", "admission.keys", "--json", str(verdict)]
    subprocess.run(judge, check=False, capture_output=True, timeout=DEADLINE_S)

    assert draw(run, "--verdict", verdict, "--out", out).returncode == 0

    page = Words(out.read_text()).text
    assert "? inconclusive" in page
    assert "not as expected: admission.keys" in page
    assert "inconclusive (required)" in page


def test_the_verdict_may_come_from_a_file(tmp_path: Path) -> None:
    run, verdict, out = rollout(5, cut=2).write(tmp_path / "run"), tmp_path / "verdict.json", tmp_path / "report.html"
    judge = [sys.executable, "-m", "clients.verdict", str(run), "--expect", "survival.cut=fail", "--json", str(verdict)]
    subprocess.run(judge, check=True, capture_output=True, timeout=DEADLINE_S)

    assert draw(run, "--verdict", verdict, "--out", out).returncode == 0

    assert "this is what was expected of this run" in Words(out.read_text()).text


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("RUN",), 2, "--out"),
        (("/nowhere.jsonl", "--out", "OUT"), 2, "cannot read /nowhere.jsonl"),
        (("RUN", "--out", "/nowhere/report.html"), 2, "--out cannot be written"),
        (("RUN", "--out", "OUT", "--verdict", "/nowhere.json"), 2, "cannot read /nowhere.json"),
        (
            ("RUN", "--out", "OUT", "--verdict", "RUN/hold.jsonl"),
            2,
            "--verdict wants what clients.verdict --json wrote",
        ),
        (("EMPTY", "--out", "OUT"), 3, "no line of a hold"),
    ],
)
def test_exit_codes_say_what_is_wanted(tmp_path: Path, arguments: tuple[str, ...], code: int, complaint: str) -> None:
    run, empty = rollout(2).write(tmp_path / "run"), tmp_path / "empty"
    empty.mkdir()
    named = {"RUN": str(run), "EMPTY": str(empty), "OUT": str(tmp_path / "report.html")}
    words = [named.get(word, word.replace("RUN/", f"{run}/")) for word in arguments]

    result = draw(*words)

    assert result.returncode == code
    assert complaint in result.stderr


@needs_chromium
@pytest.mark.parametrize(("calls", "least"), [(20, 60), pytest.param(200, 600, marks=pytest.mark.nightly)])
def test_a_browser_draws_every_session_without_an_error(tmp_path: Path, calls: int, least: int) -> None:
    drawn(rollout(calls, cut=3), tmp_path)
    page = tmp_path / "report.html"

    found = traces(page)

    bars = {name: int(count) for name, kind, count in found if kind == "bar"}
    assert set(bars) == {BLUE, GREEN}
    assert sum(bars.values()) >= least
    assert ["cut", "scatter", "3"] in found
    assert picture(page, f"report-{calls}", tmp_path).stat().st_size > 50_000
