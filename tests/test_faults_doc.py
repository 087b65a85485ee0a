"""Every fault that is listed has a test that breaks it, and every test that breaks something is listed."""

import re
from pathlib import Path

import pytest

from rtproxy import log
from rtproxy.call.ending import ENDINGS
from rtproxy.model.identity import TokenTimes
from rtproxy.model.upstream import FAILURE_CAUSES, DialTimes
from tests.test_docs import ROOT, rows

PAGE = ROOT / "docs" / "faults.md"
TESTS = re.compile(r"`(test_\w+)`")


def names_of_tests(*files: Path) -> set[str]:
    return {name for each in files for name in re.findall(r"^(?:async )?def (test_\w+)", each.read_text(), re.M)}


def faults() -> list[list[str]]:
    return rows(PAGE)[2:]


def row(fault: str) -> str:
    return next(" | ".join(each) for each in faults() if each[0].startswith(fault))


def test_every_fault_names_a_test_that_exists() -> None:
    known = names_of_tests(*(ROOT / "tests").rglob("test_*.py"))
    assert len(faults()) > 15
    for each in faults():
        assert (named := TESTS.findall(each[-1])), each[0]
        assert set(named) <= known, each[0]


def test_every_test_of_a_fault_has_its_row() -> None:
    assert names_of_tests(*(ROOT / "tests" / "faults").glob("test_*.py")) <= set(TESTS.findall(PAGE.read_text()))


def test_every_fault_says_what_client_model_and_log_see_and_when() -> None:
    assert {len(each) for each in faults()} == {6}
    assert [each[0] for each in faults() if not (each[1] and each[3])] == []


@pytest.mark.parametrize(
    ("fault", "ending"),
    [
        ("the model resets between two deltas", "upstream.vanished"),
        ("Envoy restarts", "client.vanished"),
        ("SIGTERM amid", "drain"),
        ("SIGTERM twice", "drain"),
    ],
)
def test_the_faults_end_with_the_codes_of_the_table(fault: str, ending: str) -> None:
    codes = {str(code) for code in ENDINGS[ending][1:3] if code is not None}
    assert codes <= set(re.findall(r"\b1\d{3}\b", row(fault)))


def test_the_faults_have_the_numbers_of_the_relay() -> None:
    assert f"{DialTimes().dial_s:g} s" in row("nobody answers for the name")
    assert f"{log.WAITING_BYTES >> 20} MiB" in row("nobody reads stdout")
    assert f"every {TokenTimes().refresh_min_s:g} s" in row("the token endpoint")
    assert f"{TokenTimes().refresh_min_s + TokenTimes().fetch_s:g} s" in row("the token endpoint")


def test_the_causes_of_a_failed_dial_are_those_of_the_relay() -> None:
    said = {cause for each in faults() for cause in re.findall(r"`upstream\.failed`: `(\w+)`", each[3])}
    assert said
    assert said <= set(FAILURE_CAUSES)
