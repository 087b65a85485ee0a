"""The pages say the same in both languages, and what they say is what the code does."""

import ast
import importlib
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import fields
from functools import reduce
from pathlib import Path
from typing import get_args

import pytest

from clients.judging import NAMES
from rtproxy import log as events
from rtproxy import settings
from rtproxy.call import drain
from rtproxy.call.ending import ENDINGS
from rtproxy.model.upstream import FAILURE_CAUSES
from stage.gpt.model import FAULTS
from stage.gpt.options import Unverified
from stage.rehearse import SCENARIOS
from stage.sabotage.rows import ROWS as BAD_RELEASES
from stage.soak.plan import KINDS

ROOT = Path(__file__).parents[1]
README, JAPANESE = (ROOT / name for name in ("README.md", "README.ja.md"))
SCENARIO_PAGES = [ROOT / "docs" / name for name in ("rehearsal.md", "rehearsal.ja.md")]
EVENT_PAGES = [ROOT / "docs" / name for name in ("events.md", "events.ja.md")]
SOAK_PAGES = [ROOT / "docs" / name for name in ("soak.md", "soak.ja.md")]
MODEL_PAGES = [ROOT / "docs" / name for name in ("model.md", "model.ja.md")]
ARCHITECTURE_PAGES = [ROOT / "docs" / name for name in ("architecture.md", "architecture.ja.md")]
ENDING_PAGES = [ROOT / "docs" / name for name in ("endings.md", "endings.ja.md")]
BOTH = pytest.mark.parametrize("readme", [README, JAPANESE], ids=lambda path: path.name)


def rows(readme: Path) -> list[list[str]]:
    lines = [line for line in readme.read_text().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


TWINS = pytest.mark.parametrize(
    "pages",
    [(README, JAPANESE)]
    + [(page.with_name(page.name.replace(".ja.", ".")), page) for page in sorted(ROOT.glob("docs/*.ja.md"))],
    ids=lambda pages: pages[0].name,
)


@TWINS
def test_both_pages_have_the_same_headings_in_the_same_order(pages: Sequence[Path]) -> None:
    levels = [re.findall(r"^(#+) ", path.read_text(), re.M) for path in pages]
    assert levels[0] == levels[1]


@TWINS
def test_both_pages_have_the_same_tables_but_for_their_language(pages: Sequence[Path]) -> None:
    # Sorted: a sentence of the other language has an order of its own.
    codes = [[sorted(re.findall(r"`[^`]+`|\b1\d{3}\b", " ".join(row))) for row in rows(path)] for path in pages]
    assert codes[0] == codes[1]


@TWINS
def test_every_link_of_a_page_leads_somewhere(pages: Sequence[Path]) -> None:
    for page in pages:
        for link in re.findall(r"\]\(([^)#:]+)[^)]*\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"])
def test_every_link_and_path_of_a_page_without_a_twin_leads_somewhere(name: str) -> None:
    text = (ROOT / name).read_text()
    paths = re.findall(r"\]\((?!https:)([^)#]+)[^)]*\)", text) + re.findall(r"`([\w.]+/[\w./]*)`", text)
    assert paths
    # nox makes its own folder.
    assert [path for path in paths if not path.startswith(".nox/") and not (ROOT / path).exists()] == []


def test_what_is_said_of_contributing_names_sessions_that_there_are() -> None:
    sessions = set(re.findall(r"^@nox\.session.*\ndef (\w+)", (ROOT / "noxfile.py").read_text(), re.M))
    page = (ROOT / "CONTRIBUTING.md").read_text()
    named = {word for words in re.findall(r"nox (?:-R )?-s ((?:[a-z]+ ?)+)", page) for word in words.split()}
    table = page.partition("| session | when |")[2].partition("\n\n")[0]
    named |= {
        word.split()[0]
        for row in table.splitlines()
        for word in re.findall(r"`([^`]+)`", row.strip("|").partition("|")[0])
    }
    assert {"tests", "lint", "types", "bench"} <= named <= sessions


@BOTH
def test_a_readme_is_at_most_140_lines(readme: Path) -> None:
    assert len(readme.read_text().splitlines()) <= 140


@BOTH
def test_the_settings_table_lists_every_variable(readme: Path) -> None:
    documented = {name for row in rows(readme) for name in re.findall(r"`((?:AZURE_|RTPROXY_|PORT)\w*)`", row[0])}
    assert documented == set(re.findall(r"^  (\w+)", settings.HELP, re.M))


@pytest.mark.parametrize("page", EVENT_PAGES)
def test_the_events_table_lists_every_event(page: Path) -> None:
    documented = {name for row in rows(page) for name in re.findall(r"`(\w+\.\w+)`", row[0])}
    assert documented == set(get_args(events.Event))


@pytest.mark.parametrize("page", EVENT_PAGES)
def test_the_events_table_lists_every_field(page: Path) -> None:
    documented = {
        name: set(re.findall(r"`(\w+)`", fields))
        for row in rows(page)[2:]
        for name, fields in zip(re.findall(r"`(\w+\.\w+)`", row[0]), row[1].split(";"), strict=True)
    }
    written: dict[str, set[str]] = {}
    for path in (ROOT / "rtproxy").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(args=[ast.Constant(value=str(name))], keywords=keywords) if name in documented:
                    written.setdefault(name, set()).update(each.arg for each in keywords if each.arg)
    # Its summary is spread out in the call.
    assert written.pop("connection.closed") < documented.pop("connection.closed")
    assert written == documented


@pytest.mark.parametrize("page", ENDING_PAGES)
def test_the_endings_table_has_every_ending_with_its_codes(page: Path) -> None:
    documented = {
        (ended_by, *codes)
        for row in rows(page)
        for ended_by in re.findall(r"`([a-z]+)`", row[1])
        # One code, or that for the client's doing and that for the model's.
        for codes in zip(*((cell.split(" / ") * 2)[:2] for cell in row[2:4]), strict=True)
    }
    for cause, (ended_by, client_code, upstream_code, _) in ENDINGS.items():
        assert (ended_by, str(client_code or ""), str(upstream_code or "")) in documented, cause


@pytest.mark.parametrize("page", ENDING_PAGES)
def test_the_refusals_table_has_every_code_that_the_relay_says(page: Path) -> None:
    documented = {code for row in rows(page) if row[0].isdigit() for code in re.findall(r"`([a-z_]+)`", row[1])}
    source = " ".join(path.read_text() for path in (ROOT / "rtproxy").rglob("*.py"))
    said = set(
        re.findall(
            r"(?:_error\",\s*|unauthorized\(\s*|bad_request\(\s*|too_many\(client, |_no_key\()\"(\w+)\"(?!:)", source
        )
    )
    assert {"draining", "too_many_calls", "used_ticket", "missing_api_key", "bad_handshake"} <= said
    # Without descriptors it is `at_capacity` that is said.
    assert documented == said | {f"upstream_{cause}" for cause in FAILURE_CAUSES if cause != "descriptors"}


@pytest.mark.parametrize("page", SCENARIO_PAGES)
def test_the_scenarios_table_lists_every_scenario(page: Path) -> None:
    documented = [re.findall(r"^`([\w-]+)`$", row[0]) for row in rows(page)]
    assert [name for found in documented for name in found if name in SCENARIOS] == list(SCENARIOS)


@pytest.mark.parametrize("page", SCENARIO_PAGES)
def test_the_table_of_bad_releases_has_every_row_of_the_sabotage_where_it_is_found(page: Path) -> None:
    documented = {
        name: row[3]
        for row in rows(page)
        if len(row) == 4 and row[0] != "---"
        for name in re.findall(r"`([\w-]+)`", row[1])
    }
    assert set(documented) == set(BAD_RELEASES)
    early = {name for name, before in documented.items() if before in ("yes", "はい")}
    assert early == {name for name, each in BAD_RELEASES.items() if each.by == "play"}


@pytest.mark.parametrize("page", SOAK_PAGES)
def test_the_faults_table_lists_every_fault(page: Path) -> None:
    _, _, client, model = rows(page)[:4]
    for side, (_, faults) in (("client", client), ("model", model)):
        documented = set(re.findall(r"`([\w-]+)`", faults))
        assert documented == {name.removeprefix(f"{side}.") for name in KINDS if name.startswith(side)}


@pytest.mark.parametrize("page", MODEL_PAGES)
def test_the_models_tables_list_every_fault_and_every_guess(page: Path) -> None:
    documented = {name for row in rows(page) for name in re.findall(r"`(\w+)`", row[0])}
    assert {*FAULTS, *(guess.name for guess in fields(Unverified))} < documented


def exists(name: str) -> bool:
    """Whether ``name`` is a module of rtproxy or of the root with the attributes behind it."""
    parts = name.split(".")
    for root in ("rtproxy.", ""):
        for end in range(len(parts), 0, -1):
            try:
                module = importlib.import_module(root + ".".join(parts[:end]))
                reduce(getattr, parts[end:], module)
            except (ModuleNotFoundError, AttributeError):
                continue
            return True
    return False


@pytest.mark.parametrize("page", ARCHITECTURE_PAGES)
def test_each_file_and_each_name_of_the_architecture_exists(page: Path) -> None:
    spans = set(re.findall(r"`([^`]+)`", page.read_text()))
    files = {span for span in spans if re.fullmatch(r"[\w.-]+(/[\w.-]*)+|[\w-]+\.(md|cfg|yml)", span)}
    names = {span for span in spans - files if re.fullmatch(r"\w+(\.\w+)+", span)} - {*get_args(events.Event), *NAMES}
    assert len(files) > 30
    assert len(names) > 60
    assert [path for path in sorted(files) if not (ROOT / path).exists()] == []
    assert [name for name in sorted(names) if not exists(name)] == []


@pytest.mark.parametrize("page", ARCHITECTURE_PAGES)
def test_each_variable_of_a_rollout_in_the_architecture_is_one_of_the_plays(page: Path) -> None:
    named = {name for row in rows(page) if len(row) == 4 for name in re.findall(r"`(\w+)`", row[3])}
    assert {"drain_timeout", "stop_timeout"} < named
    assert named <= set(re.findall(r"^(\w+):", (ROOT / "playbooks/group_vars/all.yml").read_text(), re.M))


def test_each_room_and_each_task_of_the_drawing_exists() -> None:
    drawn = " ".join(ElementTree.parse(ROOT / "docs" / "architecture.svg").getroot().itertext())
    rooms = set(re.findall(r"\b([a-z]+)/(?=\s)", drawn))
    assert rooms == {folder.parent.name for folder in ROOT.glob("rtproxy/*/__init__.py")}
    tasks = set(re.findall(r"\b\w+\.yml", drawn)) - {"bluegreen.yml"}
    assert len(tasks) > 5
    assert {task for task in tasks if not (ROOT / "playbooks" / "tasks" / task).exists()} == set()


def test_the_drawing_of_a_drain_has_the_seconds_of_the_default() -> None:
    window_s = 25.0
    lame_s = min(drain.LAME_S, window_s * drain.LAME_SHARE)
    end_s = min(drain.CLOSING_S, window_s * drain.CLOSING_SHARE)
    late_s = window_s - end_s
    turn_s = min(drain.TURN_S, (late_s - lame_s) * drain.TURN_SHARE)
    seconds = [lame_s, late_s - turn_s, late_s, window_s - end_s * drain.CUT_SHARE, window_s]
    drawing = ElementTree.parse(ROOT / "docs" / "architecture.svg").getroot()
    drawn = [text.removesuffix(" s") for text in drawing.itertext()]
    for page in ARCHITECTURE_PAGES:
        told = [row[0] for row in rows(page)]
        assert [f"{each:g}" for each in seconds if f"{each:g}" not in drawn] == []
        assert {f"{seconds[0]:g}", f"{seconds[2]:g}", f"{seconds[3]:g}", "25"} <= set(told)


@BOTH
def test_the_pictures_are_there(readme: Path) -> None:
    drawing, report = re.findall(r"!\[[^]]+\]\(([^)]+)\)", readme.read_text())
    assert ElementTree.parse(ROOT / drawing).getroot().get("viewBox") == "0 0 900 316"
    assert (ROOT / report).stat().st_size > 50_000


@BOTH
def test_a_readme_has_at_most_100_columns_but_for_tables(readme: Path) -> None:
    lines = [line for line in readme.read_text().splitlines() if not line.startswith("|")]
    # A letter of Japanese takes two columns.
    assert [line for line in lines if len(line) + sum(ord(each) > 0x2E7F for each in line) > 100] == []
