"""What a play makes of the lines of its own holds."""

import json
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from clients.reading import read
from tests.playbooks.conftest import filters

MOVED = {"code": 1012, "closed_by": "remote", "early": True, "revision": "app--green"}
ASKED = 1767225600.0
BEFORE, AFTER = "2025-12-31T23:59:59.900Z", "2026-01-01T00:00:03.000Z"


@pytest.fixture(scope="module")
def record() -> ModuleType:
    return filters("record")


def lines(*ends: dict[str, Any], opened: int | None = None) -> str:
    count = len(ends) if opened is None else opened
    found = [{"ts": BEFORE, "observation": "opened", "call": call} for call in range(count)]
    found += [{"ts": AFTER, "observation": "closed", **end} for end in ends]
    return "".join(json.dumps(line) + "\n" for line in found)


def test_a_revision_asks_a_call_to_come_back_by_1012(record: ModuleType) -> None:
    other = {**MOVED, "revision": "app--blue"}
    nobody = [{**MOVED, "code": 1006}, {**MOVED, "early": False, "code": 1000}, {**MOVED, "revision": None}]
    assert record.asked_back(lines(MOVED, other, MOVED, *nobody)) == ["app--blue", "app--green"]
    assert record.asked_back(lines(*nobody)) == []


def test_a_record_that_breaks_off_in_a_line_is_read_up_to_there(record: ModuleType) -> None:
    assert record.asked_back(lines(MOVED) + '{"ts":"2026-01-01T00') == ["app--green"]
    assert record.asked_back("") == []


@pytest.mark.parametrize(
    ("end", "problem"),
    [
        ({}, ""),
        ({"ts": BEFORE}, "1 x ended 1012 before it was asked to stop"),
        ({"code": 1006, "closed_by": "dropped"}, "1 x ended 1006 instead of 1012"),
        ({"code": 1001}, "1 x ended 1001 instead of 1012"),
        ({"code": 1000, "closed_by": "local", "early": False}, "1 x never asked to come back"),
    ],
)
def test_a_call_that_a_drain_did_not_move_is_named_with_its_end(
    record: ModuleType, end: dict[str, Any], problem: str
) -> None:
    assert record.unmoved(lines({**MOVED, **end}, MOVED), ASKED) == problem


def test_calls_that_outlive_their_revision_or_never_came_to_be_are_not_moved(record: ModuleType) -> None:
    assert record.unmoved(lines(MOVED, opened=3), ASKED) == "2 x still open"
    assert record.unmoved("", ASKED) == "1 x opened no call"


def test_the_reasons_are_what_failed_what_was_not_decided_and_what_is_missing(record: ModuleType) -> None:
    checks = [
        {"name": "survival.cut", "sentence": "2 calls cut.", "as_expected": False},
        {"name": "quality.rtt", "sentence": "Fine.", "as_expected": True},
        {"name": "quality.turns", "sentence": "Too few turns.", "as_expected": False},
    ]
    findings = {"checks": checks, "expected_but_missing": ["quality.kinds"]}
    assert record.reasons(findings) == ["2 calls cut.", "Too few turns.", "quality.kinds: no such check came up."]
    assert record.reasons({}) == []


def test_a_model_without_capacity_is_named_beside_what_was_found(record: ModuleType) -> None:
    check = {
        "name": "survival.refused",
        "as_expected": False,
        "status": "fail",
        "sentence": "At a dial, 3 calls refused.",
    }
    found = {"checks": [check], "counts": {"refused_for_quota": 3, "turns_throttled": 2}}

    first, second = record.reasons(found)

    assert first == check["sentence"]
    assert "answered 3 dials with 429 and failed 2 turns for want of capacity" in second
    assert record.reasons({**found, "counts": {"refused_for_quota": 0, "turns_throttled": 0}}) == [check["sentence"]]
    assert record.reasons({**found, "checks": []}) == []


@pytest.mark.parametrize(
    ("wrong", "missing", "only"),
    [
        ([("routing.step-1", "inconclusive")], [], True),
        ([("routing.step-1", "fail")], [], False),
        ([("routing.step-1", "inconclusive"), ("survival.cut", "inconclusive")], [], False),
        ([("routing.step-1", "inconclusive")], ["routing"], False),
        ([], [], False),
    ],
)
def test_a_check_that_may_be_open_excuses_no_other(
    record: ModuleType, wrong: list[tuple[str, str]], missing: list[str], only: bool
) -> None:
    checks = [{"name": name, "status": status, "as_expected": False} for name, status in wrong]
    checks.append({"name": "survival.refused", "status": "pass", "as_expected": True})
    assert record.only_open({"checks": checks, "expected_but_missing": missing}, ["routing.step-1"]) is only


def test_the_grace_period_of_each_revision_is_noted_for_the_verdict(record: ModuleType, tmp_path: Path) -> None:
    noted = tmp_path / "deployed.jsonl"
    revisions = {"app--blue": {"grace": None, "active": True}, "app--green": {"grace": 600}}
    noted.write_text(record.deployed(revisions, datetime(2026, 1, 1, 0, 0, 3)))

    assert read([noted]).deployed == {"app--blue": 30, "app--green": 600}
