"""The az module, run by ansible against the stage."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.playbooks.conftest import BIN, DEADLINE_S, PLAYBOOKS, Stage, environment

APP = {"name": "rtproxy", "resource_group": "rehearsal"}
AFFINITY = {
    "run": "containerapp show",
    "args": {**APP, "query": "properties.configuration.ingress.stickySessions.affinity"},
}


IN_ITS_TASK = {"ANSIBLE_ACTION_PLUGINS": str(PLAYBOOKS / "action_plugins")}
"""As a play has it, which finds the plugin beside itself."""


def az(
    environ: dict[str, str], task: dict[str, Any], *flags: str, way: dict[str, str] = IN_ITS_TASK
) -> tuple[dict[str, Any], str]:
    """What the task returned, and everything ansible printed."""
    words = [str(BIN / "ansible"), "stage", "-i", str(PLAYBOOKS / "inventories" / "stage.yml"), "-m", "az"]
    command = [*words, "-M", str(PLAYBOOKS / "library"), "-a", json.dumps(task), *flags]
    done = subprocess.run(command, env=environ | way, capture_output=True, text=True, timeout=DEADLINE_S)
    _, arrow, result = done.stdout.partition(" => ")
    assert arrow, done.stdout + done.stderr
    returned: dict[str, Any] = json.JSONDecoder().raw_decode(result)[0]
    return returned, done.stdout + done.stderr


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """No stage: az as it is before anybody logged in."""
    return environment(
        tmp_path / "ansible", AZURE_CONFIG_DIR=str(tmp_path / "azure"), AZURE_CORE_COLLECT_TELEMETRY="no"
    )


def test_a_reading_verb_answers_and_never_changes_anything(stage: Stage) -> None:
    result, _ = az(stage.environ, {"run": "containerapp show", "args": {**APP, "query": "name"}})
    assert result["changed"] is False
    assert result["value"] == "rtproxy"
    assert result["command"] == "az containerapp show --name rtproxy --resource-group rehearsal --query name"


def test_a_writing_verb_is_changed_when_what_it_reads_differs_afterwards(stage: Stage) -> None:
    args = {**APP, "affinity": "sticky"}
    task = {"run": "containerapp ingress sticky-sessions set", "args": args, "reads": AFFINITY}
    try:
        first, printed = az(stage.environ, task, "--diff")
        assert first["changed"] is True
        assert '-"none"' in printed
        assert '+"sticky"' in printed
        assert az(stage.environ, task)[0]["changed"] is False
    finally:
        az(stage.environ, {**task, "args": {**APP, "affinity": "none"}})


def test_check_mode_sends_nothing_and_tells_the_command(stage: Stage) -> None:
    args = {**APP, "affinity": "sticky"}
    task = {"run": "containerapp ingress sticky-sessions set", "args": args, "reads": AFFINITY}
    result, printed = az(stage.environ, task, "--check", "--diff")
    assert result["changed"] is True
    assert "would run: az containerapp ingress sticky-sessions set --name rtproxy" in printed
    assert az(stage.environ, AFFINITY, "--check")[0]["value"] == "none"


def test_a_failure_has_the_words_of_az_the_command_and_its_exit_code(stage: Stage) -> None:
    args = {**APP, "revision_weight": {"rtproxy--nobody": 100}}
    result, _ = az(stage.environ, {"run": "containerapp ingress traffic set", "args": args})
    assert "'rtproxy--nobody' is not a valid revision name" in result["msg"]
    assert result["msg"].endswith(f"({result['command']})")
    assert result["rc"] == 1
    assert "\n" not in result["msg"]


BOTH_WAYS = pytest.mark.parametrize("way", [IN_ITS_TASK, {}], ids=["in its task", "as a module, like an async task"])


@BOTH_WAYS
def test_a_wrong_option_is_named(nowhere: dict[str, str], way: dict[str, str]) -> None:
    result, _ = az(nowhere, {"run": "cloud show", "args": {"colour": "green"}}, way=way)
    assert result["msg"] == "unrecognized arguments: --colour green (az cloud show --colour green)"
    assert result["rc"] == 2


@BOTH_WAYS
def test_an_unknown_argument_is_named(nowhere: dict[str, str], way: dict[str, str]) -> None:
    result, _ = az(nowhere, {"run": "cloud show", "argz": {}}, way=way)
    assert "Unsupported parameters for (az) module: argz" in result["msg"]


@BOTH_WAYS
def test_a_command_runs_where_it_is_told(nowhere: dict[str, str], tmp_path: Path, way: dict[str, str]) -> None:
    (tmp_path / "cloud.json").write_text("{}")
    args = {"name": "Here", "cloud_config": "@cloud.json"}
    result, _ = az(nowhere, {"run": "cloud register", "args": args, "chdir": str(tmp_path)}, way=way)
    assert "The following endpoints are required" in result["msg"], "az read the file"


@BOTH_WAYS
def test_arguments_become_flags_words_and_pairs(nowhere: dict[str, str], way: dict[str, str]) -> None:
    args = {"a_flag": True, "left_out": None, "off": False, "words": ["a b", 2], "pairs": {"K": "v=w", "N": 1}}
    result, _ = az(nowhere, {"run": "cloud set", "args": args}, "--check", way=way)
    assert result["command"] == "az cloud set --a-flag --words 'a b' 2 --pairs K=v=w N=1"


@BOTH_WAYS
def test_secrets_appear_nowhere(nowhere: dict[str, str], way: dict[str, str]) -> None:
    hidden = {"token": "tok-0123456789", "vars": {"SHORT": "s3", "PIN": 4711}}
    result, printed = az(
        nowhere, {"run": "cloud set", "args": {"name": "AzureCloud"}, "secrets": hidden}, "-vv", way=way
    )
    assert result["command"] == "az cloud set --name AzureCloud --token *** --vars SHORT=*** PIN=***"
    said = json.dumps(result) + printed.partition("Origin:")[0]
    assert not [secret for secret in ("tok-0123456789", "s3", "4711") if secret in said]
