"""The Azure chapter says the same in both languages, and what it says is what template, plays and relay are."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from pathlib import Path
from typing import get_args
from urllib.parse import unquote

import pytest

from clients.judging import NAMES
from rtproxy.events import Event
from rtproxy.settings import HELP
from stage.platform.unverified import Unverified
from stage.rehearsal.scenarios import SCENARIOS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ENGLISH, JAPANESE, PICTURE = (DOCS / name for name in ("azure.md", "azure.ja.md", "azure.svg"))
EMITTERS = ("proxy.", "signal.", "client.", "upstream.", "bridge.", "connection.", "drain.")
BOTH = pytest.mark.parametrize("page", [ENGLISH, JAPANESE], ids=lambda path: path.name)


def rows(page: Path) -> list[list[str]]:
    lines = [line for line in page.read_text().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def commands(page: Path) -> list[str]:
    """The lines of code blocks, without their comments."""
    lines = [line[4:] for line in page.read_text().splitlines() if re.match(r" {4}\S| {6}\S", line)]
    return [re.sub(r" +# .*", "", line) for line in lines]


def code(page: Path) -> str:
    """All of it: blocks and spans."""
    return "\n".join([*commands(page), *re.findall(r"`([^`]+)`", page.read_text())])


def template() -> str:
    return (ROOT / "bicep/main.bicep").read_text()


def sources() -> str:
    """What the project reads and runs, its documents left out."""
    folders = ("bicep", "clients", "playbooks", "rtproxy", ".github")
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    texts = [path.read_text() for path in [*found, ROOT / "Containerfile"] if path.suffix != ".pyc"]
    return "\n".join(texts)


def strangers(said: Iterable[str], known: Iterable[str]) -> set[str]:
    """What is said and not known. A page that says nothing of the kind has lost what the test is about."""
    found = set(said)
    assert found
    return found - set(known)


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_both_pages_have_the_same_headings_in_the_same_order() -> None:
    levels = [re.findall(r"^(#+) ", page.read_text(), re.M) for page in (ENGLISH, JAPANESE)]
    assert levels[0] == levels[1]


def test_both_pages_have_the_same_tables_but_for_their_language() -> None:
    codes = [
        [[sorted(re.findall(r"`[^`]+`|\d[\d.-]*\d|#\d+", cell)) for cell in row] for row in rows(page)]
        for page in (ENGLISH, JAPANESE)
    ]
    assert codes[0] == codes[1]


def test_both_pages_have_the_same_commands() -> None:
    assert commands(ENGLISH) == commands(JAPANESE)


def test_both_pages_name_the_same_sources_as_often() -> None:
    cited = [sorted(re.findall(r"#\d+|\[docs|\[schema|\[here", page.read_text())) for page in (ENGLISH, JAPANESE)]
    assert cited[0] == cited[1]


def test_both_pages_say_the_same_names() -> None:
    names = [sorted(set(re.findall(r"`([^`]+)`", page.read_text()))) for page in (ENGLISH, JAPANESE)]
    assert names[0] == names[1]


@BOTH
def test_the_parameters_table_is_the_template(page: Path) -> None:
    declared = re.findall(r"^param (\w+) \w+(?: = (.+))?$", template(), re.M)
    known = {name for name, _ in declared}
    documented = [
        (row[0].strip("`"), row[1].strip("`") if "`" in row[1] else "")
        for row in rows(page)
        if row[0].strip("`") in known
    ]
    assert documented == declared


@BOTH
def test_every_file_that_is_mentioned_exists(page: Path) -> None:
    found = re.findall(r"(?<![\w./-])((?:\.github|bicep|playbooks|stage|tests)/[\w./-]*\w)", page.read_text())
    bare = re.findall(r"`(\w+\.(?:yml|kql))`", page.read_text())
    places = [ROOT / name for name in found]
    assert [str(each) for each in places if not each.exists()] == []
    assert [name for name in bare if not [*ROOT.glob(f"playbooks/{name}"), *ROOT.glob(f"bicep/queries/{name}")]] == []


@BOTH
def test_every_link_resolves(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        name, _, anchor = unquote(target).partition("#")
        there = DOCS / name if name else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@BOTH
def test_every_variable_that_is_mentioned_is_read_somewhere(page: Path) -> None:
    read = set(re.findall(r"[A-Z][A-Z0-9_]+", sources() + HELP))
    said = set(
        re.findall(r"\b(?:(?:RTPROXY|AZURE|TLS)_[A-Z0-9_]+|RESOURCE_GROUP|LOCATION|PREFIX|EXTRAS)\b", code(page))
    )
    assert strangers(said, read) == set()


@BOTH
def test_every_option_of_ours_exists(page: Path) -> None:
    joined = "\n".join(commands(page)).replace("\\\n", "")
    ours = [line for line in joined.splitlines() if re.search(r"nox -s hold|clients\.\w+|-s rehearse", line)]
    said = {option for line in ours for option in re.findall(r"(?<=\s)--[a-z][\w-]+", line.partition("; sleep")[0])}
    known = set(re.findall(r"--[a-z][\w-]+", sources() + (ROOT / "stage/rehearse.py").read_text()))
    assert strangers(said, known) == set()


@BOTH
def test_every_variable_of_a_play_exists(page: Path) -> None:
    text = (ROOT / "playbooks/group_vars/all.yml").read_text()
    known = set(re.findall(r"^(\w+):", text, re.M))
    said = set(re.findall(r"-e (?:\"|')?(\w+)=", code(page)))
    for given in re.findall(r"-e '\{(.+)\}'", code(page)):
        outer = re.sub(r"\{[^}]*\}", "", given)
        said |= set(re.findall(r'"(\w+)":', outer))
    assert strangers(said, known) == set()


@BOTH
def test_every_parameter_that_is_handed_in_exists(page: Path) -> None:
    given = re.findall(r'"parameters": \{([^}]+)\}', code(page))
    said = {name for each in given for name in re.findall(r'"(\w+)":', each)}
    assert strangers(said, re.findall(r"^param (\w+)", template(), re.M)) == set()


@BOTH
def test_every_route_and_event_that_is_mentioned_exists(page: Path) -> None:
    routes = re.findall(r'"(/\w+)"', (ROOT / "rtproxy/app.py").read_text())
    assert strangers(re.findall(r"`(/\w+)`", page.read_text()), routes) == set()
    events = [name for name in re.findall(r"`(\w+\.\w+)`", page.read_text()) if name.startswith(EMITTERS)]
    assert strangers(events, get_args(Event)) == set()


@BOTH
def test_every_session_of_nox_exists(page: Path) -> None:
    known = re.findall(r"^@nox\.session.*\ndef (\w+)", (ROOT / "noxfile.py").read_text(), re.M)
    said = set(re.findall(r"nox -s (\w+)", code(page)))
    assert strangers(said, known) == set()


@BOTH
def test_every_scenario_and_check_that_is_mentioned_exists(page: Path) -> None:
    scenarios = re.findall(r"--scenario ([\w-]+)", code(page))
    checks = re.findall(r"\b(?:survival|termination|affinity|cooldown)\.(?!kql)[a-z_]+", code(page))
    assert strangers(scenarios, SCENARIOS) == set()
    assert strangers(checks, NAMES) == set()


@BOTH
def test_every_guess_that_is_mentioned_is_one_of_the_stage(page: Path) -> None:
    table = [row[1] for row in rows(page) if len(row) == 3]
    said = {name for cell in table for name in re.findall(r"`([a-z]+_[a-z_]+)`", cell)}
    assert strangers(said, Unverified.__dataclass_fields__) == set()


@BOTH
def test_outputs_and_functions_that_are_mentioned_exist(page: Path) -> None:
    outputs = set(re.findall(r"^output (\w+)", template(), re.M))
    said = re.findall(r"properties\.outputs\.(\w+)|`(applicationGateway\w+)`", code(page))
    assert {name for pair in said for name in pair if name} - outputs == set()
    functions = set(re.findall(r"functionAlias: '(\w+)'", (ROOT / "bicep/modules/monitor.bicep").read_text()))
    assert set(re.findall(r"\bRtproxy\w+", code(page))) == functions


@BOTH
def test_columns_of_the_query_are_those_of_the_function(page: Path) -> None:
    columns = (ROOT / "bicep/queries/RtproxyCalls.kql").read_text()
    (query,) = re.findall(r"RtproxyCalls\n(.+ago.+\n.+summarize.+)", "\n".join(commands(page)))
    said = set(re.findall(r"\b(Ended\w*|DurationS|Revision|ClientCode|Cut)\b(?! =)", query))
    assert strangers(said, re.findall(r"\w+", columns)) == set()


@BOTH
def test_the_ladder_has_the_numbers_of_the_template(page: Path) -> None:
    gateway = (ROOT / "bicep/modules/gateway.bicep").read_text()
    network = (ROOT / "bicep/modules/network.bicep").read_text()
    app = (ROOT / "bicep/modules/app.bicep").read_text()
    ladder = {name: row[2] for row in rows(page) if len(row) == 5 for name in re.findall(r"`(\w+)`", row[1])}
    (idle,) = re.findall(r"idleTimeoutInMinutes: (\d+)", network)
    (request,) = re.findall(r"var requestTimeout = (\d+)", gateway)
    (drain,) = re.findall(r"drainTimeoutInSec: (\d+)", gateway)
    (grace,) = re.findall(r"param terminationGracePeriodSeconds int = (\d+)", template())
    (left,) = re.findall(r"terminationGracePeriodSeconds - (\d+)", app)
    (heartbeat,) = re.findall(r"'RTPROXY_HEARTBEAT_SECONDS'\s+value: '(\d+)'", app)
    expected = {
        "idleTimeoutInMinutes": idle,
        "requestTimeout": request,
        "drainTimeoutInSec": drain,
        "requestIdleTimeout": f"{Unverified().ingress_idle_timeout_s:g}",
        "RTPROXY_HEARTBEAT_SECONDS": heartbeat,
        "RTPROXY_DRAIN_SECONDS": str(int(grace) - int(left)),
        "terminationGracePeriodSeconds": grace,
    }
    assert {name: re.findall(r"\d+", ladder[name])[0] for name in expected} == expected
    picture = "".join(ElementTree.parse(PICTURE).getroot().itertext())
    for number in (
        f"{request} s",
        f"{drain} s",
        f"{idle} min",
        f"every {heartbeat} s",
        f"{grace} s",
        "240 s",
        "60 min",
    ):
        assert number in picture, number


@BOTH
def test_the_picture_is_there(page: Path) -> None:
    (name,) = re.findall(r"!\[[^]]+\]\(([^)]+)\)", page.read_text())
    assert ElementTree.parse(DOCS / name).getroot().get("viewBox") == "0 0 900 592"
