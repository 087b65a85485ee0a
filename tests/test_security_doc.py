"""What SECURITY.md claims has a test, and what it names exists."""

import dataclasses
import re
from pathlib import Path
from typing import get_args

import pytest

from rtproxy import log as events
from rtproxy import settings
from rtproxy.call import room
from rtproxy.call.ending import ENDINGS
from rtproxy.call.patience import Times
from rtproxy.door import halfopen
from rtproxy.model import dial
from rtproxy.model.upstream import DialTimes
from rtproxy.wire import credit
from rtproxy.wire.credit import Allowance
from rtproxy.wire.frames import FRAME_LIMIT

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "SECURITY.md"


def section(heading: str) -> str:
    """What stands under ``heading``, up to the next one."""
    return PAGE.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]


def rows(heading: str) -> list[list[str]]:
    lines = [line for line in section(heading).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def limits() -> dict[str, str]:
    return {row[0]: " ".join(row[1:3]) for row in rows("Limits that hold")}


def spans(pattern: str, text: str) -> set[str]:
    return {span for span in re.findall(r"`([^`]+)`", text) if re.fullmatch(pattern, span)}


def names_of_tests() -> set[str]:
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return {name for each in files for name in re.findall(r"^(?:async )?def (test_\w+)", each.read_text(), re.M)}


def test_every_test_that_is_named_exists() -> None:
    said = spans(r"test_\w+", PAGE.read_text())
    assert len(said) > 20
    assert said - names_of_tests() == set()


@pytest.mark.parametrize("heading", ["Who can do what", "Limits that hold"])
def test_every_row_names_a_test(heading: str) -> None:
    assert len(rows(heading)) >= 8
    assert [row[0] for row in rows(heading) if not spans(r"test_\w+", row[-1])] == []


def test_every_paragraph_on_logs_names_a_test_but_the_list_of_events() -> None:
    listed, *claims = section("What is logged, and what never is").strip().split("\n\n")
    assert spans(r"\w+\.\w+", listed) == set(get_args(events.Event))
    assert [each for each in claims if not spans(r"test_\w+", each)] == []


def test_every_point_of_what_is_trusted_names_a_test() -> None:
    points = section("What is trusted").split("\n- ")[1:]
    assert len(points) >= 4
    assert [each for each in points if not spans(r"test_\w+", each)] == []


def test_every_variable_that_is_named_is_a_setting() -> None:
    known = set(re.findall(r"^  (\w+)", settings.HELP, re.M)) | {"HTTPS_PROXY"}
    said = {span.partition("=")[0] for span in spans(r"[A-Z][A-Z0-9]*_[A-Z0-9_]+(=\w+)?", PAGE.read_text())}
    assert said
    assert said - known == set()


def test_the_secrets_are_those_that_settings_do_not_show() -> None:
    hidden = {field.name for field in dataclasses.fields(settings.Settings) if not field.repr}
    (listed,) = re.findall(r"settings are secrets: (.+?)\. ", section("What is trusted").replace("\n ", ""))
    names = {name.removeprefix("RTPROXY_").removeprefix("AZURE_OPENAI_").lower() for name in spans(r"\w+", listed)}
    assert names == hidden


def test_every_route_that_is_named_exists() -> None:
    said = spans(r"/\w+", PAGE.read_text())
    assert said
    assert said - set(re.findall(r'"(/\w+)"', (ROOT / "rtproxy/app.py").read_text())) == set()


def test_every_file_that_is_linked_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)", PAGE.read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_limits_have_the_numbers_of_the_relay() -> None:
    said = limits()
    assert f"{FRAME_LIMIT >> 20} MiB" in said["a frame"]
    answer = f"{DialTimes().dial_s:g} s, {dial.ANSWER_LIMIT >> 10} KiB"
    reason = f"{DialTimes().reason_s:g} s, {dial.REASON_BYTES >> 10} KiB"
    assert f"{answer}; {reason}" in said["the model's answer to a dial; the body of a refusal"]
    assert f"{halfopen.HANDSHAKE_S:g} s" in said["a request, to be said"]
    assert f"{Times().stall_s:g} s" in said["a reader that stands still"]
    assert Times().answer_s + Times().linger_s <= 6
    assert "6 s later" in said["a call"]
    small = f"{Allowance().units_per_s:,.0f} units a second, {Allowance().units_limit:,.0f} at once"
    assert small in said["small frames and reads of one side"]
    assert f"each {credit.BYTES_PER_UNIT} bytes" in said["small frames and reads of one side"]
    assert f"after {Allowance().flood_s:g} s" in said["small frames and reads of one side"]
    (together,) = (text for limit, text in said.items() if limit.endswith("withheld, together"))
    assert room.OF_MEMORY == 4, "a quarter"
    assert f"messages over {room.FREE >> 10} KiB that are withheld, together" in said
    assert f"{Times().whole_s:g} s each" in together


@pytest.mark.parametrize(
    ("limit", "ending"),
    [
        ("a frame", "client.too_big"),
        ("framing", "client.fault"),
        ("a reader that stands still", "client.stalled"),
        ("small frames and reads of one side", "client.flood"),
        ("messages over 64 KiB that are withheld, together", "client.no_room"),
        ("messages over 64 KiB that are withheld, together", "client.unfinished"),
        ("a peer that is gone", "client.silent"),
        ("a defect of the relay", "relay.failed"),
    ],
)
def test_the_limits_end_with_the_codes_of_the_table(limit: str, ending: str) -> None:
    assert str(ENDINGS[ending].client_code) in limits()[limit]


def test_it_is_one_page() -> None:
    assert len(PAGE.read_text().splitlines()) <= 95
