"""What a play refuses before it touches anything. Without a stage: there is nothing to reach."""

import subprocess
from pathlib import Path

import pytest

from tests.playbooks.conftest import BIN, DEADLINE_S, PLAYBOOKS, Run, environment

STAGE = {"STAGE_GATEWAY_URL": "http://127.0.0.1:9", "STAGE_REVISIONS": "127.0.0.1:9", "RTPROXY_KEY": "key"}


def play(tmp_path: Path, playbook: str, inventory: str, *flags: str, **environ: str) -> Run:
    where = {"AZURE_CONFIG_DIR": str(tmp_path / "azure"), "AZURE_CORE_COLLECT_TELEMETRY": "no"}
    done = subprocess.run(
        [BIN / "ansible-playbook", "-i", PLAYBOOKS / "inventories" / inventory, PLAYBOOKS / playbook, *flags],
        env=environment(tmp_path / "ansible", **where, **environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_S,
    )
    return Run(done.returncode, done.stdout)


@pytest.mark.parametrize("playbook", ["bluegreen.yml", "rollback.yml"])
def test_a_rehearsal_refuses_a_real_subscription(tmp_path: Path, playbook: str) -> None:
    done = play(tmp_path, playbook, "stage.yml", **STAGE)
    assert done.code != 0
    assert "az points at AzureCloud (https://management.azure.com/), but stage.yml is for Rehearsal" in done.output
    assert "Nothing was touched." in done.output
    assert "ok=3 " in done.output


def test_what_the_environment_lacks_is_named_at_once(tmp_path: Path) -> None:
    done = play(tmp_path, "bluegreen.yml", "azure.yml", RTPROXY_APP="voice", RTPROXY_KEY="key")
    assert done.code != 0
    missing = "RTPROXY_RESOURCE_GROUP, RTPROXY_REGISTRY, RTPROXY_GATEWAY_URL"
    assert f"azure.yml needs {missing} in the environment: export it and run again" in done.output


def test_a_time_with_a_unit_is_refused_before_any_call_moves(tmp_path: Path) -> None:
    done = play(tmp_path, "bluegreen.yml", "stage.yml", "-e", "drain_timeout=1h", **STAGE)
    assert done.code != 0
    assert "drain_timeout is 1h: it takes a number above 0" in done.output
    assert "Nothing was touched." in done.output
    assert "ok=1 " in done.output
