"""The pages about Azure say the same in both languages, and what they say is what template, plays and relay are."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from pathlib import Path
from typing import get_args
from urllib.parse import unquote

import pytest

from clients.judging import NAMES
from rtproxy.log import Event
from rtproxy.settings import HELP
from stage.platform.unverified import Unverified
from stage.rehearse import SCENARIOS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PICTURE = DOCS / "azure.svg"
EMITTERS = ("proxy.", "signal.", "client.", "upstream.", "bridge.", "connection.", "drain.")
Pages = tuple[Path, ...]


def chapter(language: str) -> Pages:
    """How to run it, and what there is to know."""
    return DOCS / f"azure{language}.md", DOCS / f"azure-facts{language}.md"


ENGLISH, JAPANESE = chapter(""), chapter(".ja")
EACH = pytest.mark.parametrize("page", [*ENGLISH, *JAPANESE], ids=lambda path: path.name)
BOTH = pytest.mark.parametrize("pages", [ENGLISH, JAPANESE], ids=["English", "Japanese"])
TWINS = pytest.mark.parametrize("twins", [*zip(ENGLISH, JAPANESE, strict=True)], ids=lambda twins: twins[0].name)


def text(pages: Pages) -> str:
    return "\n".join(page.read_text() for page in pages)


def rows(*pages: Path) -> list[list[str]]:
    lines = [line for line in text(pages).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def commands(*pages: Path) -> list[str]:
    """The lines of code blocks, without their comments."""
    lines = [line[4:] for line in text(pages).splitlines() if re.match(r" {4}\S| {6}\S", line)]
    return [re.sub(r" +# .*", "", line) for line in lines]


def code(*pages: Path) -> str:
    """All of it: blocks and spans."""
    return "\n".join([*commands(*pages), *re.findall(r"`([^`]+)`", text(pages))])


def template() -> str:
    return (ROOT / "bicep/main.bicep").read_text()


def sources() -> str:
    """What the project reads and runs, its documents left out."""
    folders = ("bicep", "clients", "playbooks", "rtproxy", ".github")
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    texts = [path.read_text() for path in [*found, ROOT / "Containerfile"] if path.suffix != ".pyc"]
    return "\n".join(texts)


def strangers(said: Iterable[str], known: Iterable[str]) -> set[str]:
    """What is said and not known. Pages that say nothing of the kind have lost what the test is about."""
    found = set(said)
    assert found
    return found - set(known)


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@TWINS
def test_both_pages_have_the_same_headings_in_the_same_order(twins: Pages) -> None:
    levels = [re.findall(r"^(#+) ", page.read_text(), re.M) for page in twins]
    assert levels[0] == levels[1]


@TWINS
def test_both_pages_have_the_same_tables_but_for_their_language(twins: Pages) -> None:
    codes = [
        [[sorted(re.findall(r"`[^`]+`|\d[\d.-]*\d|#\d+", cell)) for cell in row] for row in rows(page)]
        for page in twins
    ]
    assert codes[0] == codes[1]


@TWINS
def test_both_pages_have_the_same_commands(twins: Pages) -> None:
    assert commands(twins[0]) == commands(twins[1])


@TWINS
def test_both_pages_name_the_same_sources_as_often(twins: Pages) -> None:
    cited = [sorted(re.findall(r"#\d+|\[docs|\[schema|\[here", page.read_text())) for page in twins]
    assert cited[0] == cited[1]


@TWINS
def test_both_pages_say_the_same_names(twins: Pages) -> None:
    names = [sorted(set(re.findall(r"`([^`]+)`", page.read_text()))) for page in twins]
    assert names[0] == names[1]


@BOTH
def test_the_parameters_table_is_the_template(pages: Pages) -> None:
    declared = re.findall(r"^param (\w+) \w+(?: = (.+))?$", template(), re.M)
    known = {name for name, _ in declared}
    documented = [
        (row[0].strip("`"), row[1].strip("`") if "`" in row[1] else "")
        for row in rows(*pages)
        if row[0].strip("`") in known
    ]
    assert documented == declared


@EACH
def test_every_file_that_is_mentioned_exists(page: Path) -> None:
    found = re.findall(r"(?<![\w./-])((?:\.github|bicep|playbooks|stage|tests)/[\w./-]*\w)", page.read_text())
    bare = re.findall(r"`(\w+\.(?:yml|kql))`", page.read_text())
    places = [ROOT / name for name in found]
    assert [str(each) for each in places if not each.exists()] == []
    assert [name for name in bare if not [*ROOT.glob(f"playbooks/{name}"), *ROOT.glob(f"bicep/queries/{name}")]] == []


@EACH
def test_every_link_resolves(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        name, _, anchor = unquote(target).partition("#")
        there = DOCS / name if name else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@BOTH
def test_every_variable_that_is_mentioned_is_read_somewhere(pages: Pages) -> None:
    read = set(re.findall(r"[A-Z][A-Z0-9_]+", sources() + HELP))
    said = set(
        re.findall(r"\b(?:(?:RTPROXY|AZURE|TLS)_[A-Z0-9_]+|RESOURCE_GROUP|LOCATION|PREFIX|EXTRAS)\b", code(*pages))
    )
    assert strangers(said, read) == set()


@BOTH
def test_every_option_of_ours_exists(pages: Pages) -> None:
    joined = "\n".join(commands(*pages)).replace("\\\n", "")
    ours = [line for line in joined.splitlines() if re.search(r"nox -s hold|clients\.\w+|-s rehearse", line)]
    said = {option for line in ours for option in re.findall(r"(?<=\s)--[a-z][\w-]+", line.partition("; sleep")[0])}
    known = set(re.findall(r"--[a-z][\w-]+", sources() + (ROOT / "stage/rehearse.py").read_text()))
    assert strangers(said, known) == set()


@BOTH
def test_every_variable_of_a_play_exists(pages: Pages) -> None:
    text = (ROOT / "playbooks/group_vars/all.yml").read_text()
    known = set(re.findall(r"^(\w+):", text, re.M))
    said = set(re.findall(r"-e (?:\"|')?(\w+)=", code(*pages)))
    for given in re.findall(r"-e '\{(.+)\}'", code(*pages)):
        outer = re.sub(r"\{[^}]*\}", "", given)
        said |= set(re.findall(r'"(\w+)":', outer))
    assert strangers(said, known) == set()


@BOTH
def test_every_parameter_that_is_handed_in_exists(pages: Pages) -> None:
    given = re.findall(r'"parameters": \{([^}]+)\}', code(*pages))
    said = {name for each in given for name in re.findall(r'"(\w+)":', each)}
    assert strangers(said, re.findall(r"^param (\w+)", template(), re.M)) == set()


@BOTH
def test_every_route_and_event_that_is_mentioned_exists(pages: Pages) -> None:
    routes = re.findall(r'"(/\w+)"', (ROOT / "rtproxy/app.py").read_text())
    assert strangers(re.findall(r"`(/\w+)`", text(pages)), routes) == set()
    events = [name for name in re.findall(r"`(\w+\.\w+)`", text(pages)) if name.startswith(EMITTERS)]
    assert strangers(events, get_args(Event)) == set()


@BOTH
def test_every_session_of_nox_exists(pages: Pages) -> None:
    known = re.findall(r"^@nox\.session.*\ndef (\w+)", (ROOT / "noxfile.py").read_text(), re.M)
    said = set(re.findall(r"nox -s (\w+)", code(*pages)))
    assert strangers(said, known) == set()


@BOTH
def test_every_scenario_and_check_that_is_mentioned_exists(pages: Pages) -> None:
    scenarios = re.findall(r"--scenario ([\w-]+)", code(*pages))
    checks = re.findall(r"\b(?:survival|termination|affinity|cooldown)\.(?!kql)[a-z_]+", code(*pages))
    assert strangers(scenarios, SCENARIOS) == set()
    assert strangers(checks, NAMES) == set()


@BOTH
def test_every_guess_that_is_mentioned_is_one_of_the_stage(pages: Pages) -> None:
    table = [row[1] for row in rows(*pages) if len(row) == 3]
    said = {name for cell in table for name in re.findall(r"`([a-z]+_[a-z_]+)`", cell)}
    assert strangers(said, Unverified.__dataclass_fields__) == set()


@BOTH
def test_outputs_and_functions_that_are_mentioned_exist(pages: Pages) -> None:
    outputs = set(re.findall(r"^output (\w+)", template(), re.M))
    said = re.findall(r"properties\.outputs\.(\w+)|`(applicationGateway\w+)`", code(*pages))
    assert {name for pair in said for name in pair if name} - outputs == set()
    functions = set(re.findall(r"functionAlias: '(\w+)'", (ROOT / "bicep/modules/monitor.bicep").read_text()))
    assert set(re.findall(r"\bRtproxy\w+", code(*pages))) == functions


@BOTH
def test_columns_of_the_query_are_those_of_the_function(pages: Pages) -> None:
    columns = (ROOT / "bicep/queries/RtproxyCalls.kql").read_text()
    (query,) = re.findall(r"RtproxyCalls\n(.+ago.+\n.+summarize.+)", "\n".join(commands(*pages)))
    said = set(re.findall(r"\b(Ended\w*|DurationS|Revision|ClientCode|Cut)\b(?! =)", query))
    assert strangers(said, re.findall(r"\w+", columns)) == set()


@BOTH
def test_the_ladder_has_the_numbers_of_the_template(pages: Pages) -> None:
    gateway = (ROOT / "bicep/modules/gateway.bicep").read_text()
    address = (ROOT / "bicep/modules/address.bicep").read_text()
    app = (ROOT / "bicep/modules/app.bicep").read_text()
    ladder = {name: row[2] for row in rows(*pages) if len(row) == 5 for name in re.findall(r"`(\w+)`", row[1])}
    (idle,) = re.findall(r"idleTimeoutInMinutes: (\d+)", address)
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
def test_the_picture_is_there(pages: Pages) -> None:
    (name,) = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text(pages))
    assert ElementTree.parse(DOCS / name).getroot().get("viewBox") == "0 0 900 592"
