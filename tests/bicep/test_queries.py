"""Queries, alert and workbook, read by Kusto's own language service against the documented columns of each table."""

import fcntl
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sdks.conftest import needed

ROOT = Path(__file__).parents[2]
QUERIES = ROOT / "bicep" / "queries"
KUSTO = Path(__file__).parent / "kusto"
DEADLINE_S = 240.0
"""For the installation on a busy machine too; the package is of 31 MB."""
# As the documentation of Azure Monitor's tables has them; `Log` is dynamic there, and every query takes it as a text.
TABLES = {
    "ContainerAppConsoleLogs": (
        "ContainerAppName: string, ContainerGroupId: string, ContainerGroupName: string, ContainerId: string, "
        "ContainerImage: string, ContainerName: string, EnvironmentName: string, JobName: string, Location: string, "
        "Log: string, OperationName: string, RevisionName: string, Stream: string, TimeGenerated: datetime, "
        "_ResourceId: string"
    ),
    "ContainerAppSystemLogs": (
        "ComponentName: string, ComponentType: string, ContainerAppName: string, Count: long, EnvironmentName: string, "
        "Error: string, EventSource: string, ExecutionName: string, JobName: string, Location: string, Log: string, "
        "OperationName: string, Reason: string, ReplicaName: string, RevisionName: string, TimeGenerated: datetime, "
        "Type: string, _ResourceId: string"
    ),
    "ContainerAppHTTPLogs": (
        "Authority: string, BytesReceived: long, BytesSent: long, ConnectionId: string, ContainerAppName: string, "
        "EnvironmentName: string, EnvoyContainerId: string, EnvoyPodName: string, Location: string, Method: string, "
        "OperationName: string, Path: string, Protocol: string, ReplicaName: string, RequestDuration: long, "
        "RequestId: string, ResponseCodeDetails: string, ResponseFlags: string, RevisionName: string, "
        "StartTime: datetime, StatusCode: int, TimeGenerated: datetime, _ResourceId: string"
    ),
    "ContainerAppConsoleLogs_CL": (
        "ContainerAppName_s: string, ContainerGroupName_s: string, ContainerGroupName_g: string, "
        "ContainerId_s: string, ContainerImage_s: string, ContainerName_s: string, EnvironmentName_s: string, "
        "Log_s: string, RevisionName_s: string, Stream_s: string, TimeGenerated: datetime"
    ),
    "ContainerAppSystemLogs_CL": (
        "ContainerAppName_s: string, EnvironmentName_s: string, RevisionName_s: string, ReplicaName_s: string, "
        "Log_s: string, Reason_s: string, Type_s: string, EventSource_s: string, Count_d: real, TimeGenerated: datetime"
    ),
}
FUNCTIONS = ("RtproxyEvents", "RtproxyCalls")
WRONG = {
    "RtproxyCalls | project Duration": "The name 'Duration' does not refer to any known column",
    "ContainerAppSystemLogs | where ReplicaName_s == 'a'": "The name 'ReplicaName_s' does not refer to any",
    "RtproxyEvents | summarise count()": "summarise",
    "ingress | take 1": "The name 'ingress' does not refer to any known",
}
"""A wrong column, table or operator, and what has to be found."""


def files() -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(QUERIES.glob("*.kql"))}


def workbook(at: Any) -> Iterator[str]:
    """Its queries; a parameter of it stands for texts that a reader chooses."""
    if isinstance(at, dict):
        if isinstance(at.get("query"), str):
            yield re.sub(r"\{\w+\}", "'a'", at["query"])
        at = list(at.values())
    for inner in at if isinstance(at, list) else ():
        yield from workbook(inner)


def everything() -> dict[str, str]:
    shown = workbook(json.loads((ROOT / "bicep" / "workbook.json").read_text()))
    return files() | {f"workbook {at}": query for at, query in enumerate(shown)}


@pytest.fixture(scope="module")
def faults() -> dict[str, list[str]]:
    """What is wrong with each query, by its name: ours, and those of WRONG. All at once: the service takes seconds."""
    npm, node = (needed(shutil.which(name), name) for name in ("npm", "node"))
    lock, installed = KUSTO / "package-lock.json", KUSTO / "node_modules" / ".package-lock.json"
    # One worker installs and the others wait: `npm ci` begins with taking away what is there.
    with lock.open() as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            command = (npm, "ci", "--ignore-scripts", "--silent")
            subprocess.run(command, cwd=KUSTO, check=True, timeout=DEADLINE_S)

    functions = {name: (QUERIES / f"{name}.kql").read_text() for name in FUNCTIONS}
    queries = everything() | {query: query for query in WRONG}
    asked = json.dumps({"tables": TABLES, "functions": functions, "queries": queries})
    command = (node, str(KUSTO / "check.mjs"))
    done = subprocess.run(command, input=asked, check=True, capture_output=True, text=True, timeout=DEADLINE_S)
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.timeout(3 * DEADLINE_S)
def test_kusto_finds_nothing_wrong_with_any_query(faults: dict[str, list[str]]) -> None:
    queries = everything()
    assert len(queries) > len(files()) >= 5
    assert queries.keys() <= faults.keys()
    assert {name: each for name, each in faults.items() if each and name not in WRONG} == {}


@pytest.mark.timeout(3 * DEADLINE_S)
@pytest.mark.parametrize("query", WRONG)
def test_a_wrong_column_table_or_operator_is_found(faults: dict[str, list[str]], query: str) -> None:
    assert any(WRONG[query] in fault for fault in faults[query])


def test_every_field_that_a_query_reads_is_one_of_an_event() -> None:
    """They are inside of a text, so that Kusto knows none of them."""
    rows = re.findall(r"^\| `\w+\.\w+`.*\| (.*) \|$", (ROOT / "docs" / "events.md").read_text(), re.M)
    known = {"ts", "level", "event", "revision", "replica"} | set(re.findall(r"`(\w+)`", " ".join(rows)))
    read = {
        (name, dotted or quoted)
        for name, text in everything().items()
        for dotted, quoted in re.findall(r'\bFields(?:\.(\w+)|\["(\w+)"\])', text)
    }
    assert len(read) > 20
    assert {each for each in read if each[1] not in known} == set()
