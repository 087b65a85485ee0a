"""What `nox -s conformance` says of a report of the suite, and how the relay gets to a case. Reports as they were."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from stage.conformance.comparison import MISSING, Compared, Verdict, compare, show
from stage.conformance.suite import Front, NotInstalled, install
from stage.rawpeer import CLOSE, TEXT, RawServer, close_payload, connect


def said(behavior: str, closing: str, code: int | None, report: str = "") -> dict[str, Any]:
    """A case of one agent in `index.json`."""
    return {
        "behavior": behavior,
        "behaviorClose": closing,
        "duration": 3,
        "remoteCloseCode": code,
        "reportfile": report,
    }


PASSED = said("OK", "OK", 1000, "direct_case_1_1_1.json")
REPORT = {
    "direct": {
        "1.1.1": PASSED,
        "3.2": said("OK", "OK", 1002, "direct_case_3_2.json"),
        "3.7": said("OK", "OK", None, "direct_case_3_7.json"),
        "7.1.6": said("INFORMATIONAL", "INFORMATIONAL", 1000, "direct_case_7_1_6.json"),
        "7.5.1": said("OK", "OK", None, "direct_case_7_5_1.json"),
        "7.9.5": said("FAILED", "WRONG CODE", 1000, "direct_case_7_9_5.json"),
        "12.1.1": said("UNIMPLEMENTED", "OK", 1000, "direct_case_12_1_1.json"),
    },
    "relayed": {
        "1.1.1": PASSED,
        "3.2": said("NON-STRICT", "OK", 1002, "relayed_case_3_2.json"),
        "3.7": said("OK", "OK", 1002, "relayed_case_3_7.json"),
        "7.1.6": said("INFORMATIONAL", "INFORMATIONAL", 1000, "relayed_case_7_1_6.json"),
        "7.5.1": said("FAILED", "WRONG CODE", 1000, "relayed_case_7_5_1.json"),
        "7.9.5": said("OK", "OK", 1002, "relayed_case_7_9_5.json"),
        "12.1.1": said("UNIMPLEMENTED", "OK", 1000, "relayed_case_12_1_1.json"),
    },
}
CASES = list(REPORT["direct"])


def test_a_case_is_judged_by_the_worse_of_its_two_verdicts() -> None:
    outcomes = {each.case: each.outcome for each in compare(REPORT, CASES)}
    worse, better = ["3.2", "7.5.1"], ["7.9.5"]
    assert outcomes == {case: "worse" if case in worse else "better" if case in better else "same" for case in CASES}


@pytest.mark.parametrize(
    ("direct", "relayed", "outcome"),
    [
        (("OK", "OK"), ("OK", "WRONG CODE"), "worse"),
        (("OK", "OK"), ("OK", "FAILED BY CLIENT"), "worse"),
        (("OK", "UNCLEAN"), ("OK", "OK"), "better"),
        (("NON-STRICT", "OK"), ("OK", "UNCLEAN"), "worse"),
        (("INFORMATIONAL", "INFORMATIONAL"), ("FAILED", "INFORMATIONAL"), "worse"),
    ],
)
def test_what_is_better_in_one_verdict_does_not_make_up_for_the_other(
    direct: tuple[str, str], relayed: tuple[str, str], outcome: str
) -> None:
    assert Compared("1.1.1", Verdict(*direct, 1000), Verdict(*relayed, 1000)).outcome == outcome


def test_a_case_that_never_ended_through_the_relay_is_worse() -> None:
    (compared,) = compare({"direct": {"1.1.1": PASSED}}, ["1.1.1"])
    assert (compared.relayed, compared.outcome) == (MISSING, "worse")


@pytest.mark.parametrize(
    ("report", "cases", "problem"),
    [
        ({"relayed": {"1.1.1": PASSED}}, ["1.1.1"], "nothing of 1.1.1, even without the relay"),
        ({"direct": {"1.1.1": said("FINE", "OK", 1000)}}, ["1.1.1"], "'FINE', which is none of"),
        ({}, [], "no such case"),
    ],
)
def test_a_report_that_says_nothing_is_no_success(report: dict[str, Any], cases: list[str], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        compare(report, cases)


def test_only_what_differs_is_shown_and_worse_cases_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert show("client", compare(REPORT, CASES), 3.0) == 2
    printed = capsys.readouterr().out
    rows = {found[1]: found[2] for found in re.finditer(r"^ +(\d+\.[\d.]+) .* (\w+) *$", printed, re.M)}
    assert rows == {"3.2": "worse", "3.7": "same", "7.5.1": "worse", "7.9.5": "better"}
    assert "7 cases, 4 same (1 of them with another close code), 1 better, 2 worse" in printed


def test_a_machine_without_python_2_is_told_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    with pytest.raises(NotInstalled, match=r"pyenv install 2\.7\.18"):
        install(None, tmp_path / "suite")
    with pytest.raises(NotInstalled, match="python9 does not run"):
        install(tmp_path / "python9", tmp_path / "suite")


async def test_the_front_says_another_path_and_hands_all_else_through(upstream: RawServer) -> None:
    async with asyncio.timeout(5), Front(upstream.port) as front:
        front.path = "/runCase?case=7&agent=relayed"
        connecting = asyncio.create_task(connect(front.port, "/openai/v1/realtime", headers={"api-key": "key"}))
        suite = await upstream.request()
        assert suite.request_line == "GET /runCase?case=7&agent=relayed HTTP/1.1"
        assert suite.headers["api-key"] == "key"
        await suite.answer()
        caller = await connecting
        await caller.send(TEXT, b"up")
        await suite.send(CLOSE, close_payload(1002))
        assert ((await suite.read()).payload, (await caller.read()).code) == (b"up", 1002)
        caller.half_close()
        assert await suite.ended() == "fin"
        await suite.send(TEXT, b"still there")
        assert (await caller.read()).payload == b"still there"
        suite.hang_up()
        assert await caller.ended() == "fin"
        await caller.closed()


async def test_a_connection_that_is_cut_on_one_side_of_the_front_ends_on_the_other(upstream: RawServer) -> None:
    async with asyncio.timeout(5), Front(upstream.port) as front:
        connecting = asyncio.create_task(connect(front.port))
        suite = await upstream.request()
        await suite.answer()
        caller = await connecting
        suite.reset()
        await caller.ended()
        await caller.closed()
