"""Parts of plays whose whole runs are the nightly session's, each with an az of a few lines. Without a stage."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.playbooks.conftest import DEADLINE_S, ROOT
from tests.playbooks.test_waits import play

pytestmark = pytest.mark.timeout(DEADLINE_S)
HERE = {"python": sys.executable, "source": str(ROOT), "poll_seconds": 0.1, "task_timeout": 120}
BLUE, GREEN = "relay--blue", "relay--green"


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param("HTTP 401", id="key"),
        pytest.param("HTTP 404: This relay serves the model 'voice' only.", id="model", marks=pytest.mark.nightly),
    ],
)
def test_a_key_or_a_model_that_the_relay_does_not_know_is_not_waited_for(tmp_path: Path, refusal: str) -> None:
    relay = {"name": GREEN, "created": "2026-01-01", "weight": 100, "image": "it", "env": []}
    health = {"health": "Healthy", "provisioning": "Provisioned", "running": "Running", "error": None, "least": 0}
    answers = {
        "containerapp revision list": [relay],
        "containerapp revision show": health,
        "containerapp replica list": [],
    }
    variables: dict[str, Any] = {
        "has_key": True,
        "callers_url": "http://127.0.0.1:9",
        "caller": ["sh", "-c", f'echo "{refusal}" >&2; exit 3', "sh"],
        "run_dir": str(tmp_path / "run"),
        "ready_timeout": DEADLINE_S,
        "smoke_seconds": 1,
    }
    done = play(tmp_path, "working.yml", 0, answers, **HERE | variables)
    assert done.code != 0
    assert f"deploy: {refusal}" in done.output
    assert "RETRYING" not in done.output


def test_a_way_back_that_azure_does_not_take_ends_with_the_weights_and_the_commands(tmp_path: Path) -> None:
    half = [{"revisionName": BLUE, "weight": 50}, {"revisionName": GREEN, "weight": 50}]
    answers = {
        "containerapp show": {"mode": "Multiple", "traffic": half, "latest_ready": GREEN},
        "containerapp revision list": [
            {"name": name, "active": True, "created": created, "last_active": None}
            for name, created in ((BLUE, "2026-01-01"), (GREEN, "2026-01-02"))
        ],
        "containerapp ingress traffic show": half,
    }
    variables = {"release": "green", "back": {BLUE: 50}, "reason": "step-50: a call was cut.", "busy_timeout": 2}
    done = play(tmp_path, "rollback.yml", 0, answers, said="The app is locked.", **HERE | variables)
    assert done.code != 0
    named = "--name relay --resource-group voice"
    for said in (
        f"The app is locked. Weights in force: {BLUE}=50, {GREEN}=50. What is left to do, once Azure takes it: "
        f"az containerapp ingress traffic set {named} --revision-weight {BLUE}=100 {GREEN}=0; "
        f"az containerapp revision deactivate {named} --revision {GREEN}",
        "(Why it was to go back: step-50: a call was cut.)",
    ):
        assert said in done.output


def test_a_change_cannot_take_the_name_of_a_revision_that_exists(tmp_path: Path) -> None:
    app = "/subscriptions/0/resourceGroups/voice/providers/Microsoft.App/containerApps/relay"
    delta = [{"path": "properties.template.scale.cooldownPeriod", "propertyChangeType": "Modify", "children": None}]
    variables = {
        "what_if": {"value": [{"id": app, "kind": "Modify", "delta": delta}]},
        "standing": {"green": {"exists": True}},
        "green": GREEN,
    }
    done = play(tmp_path, "renew.yml", 0, {}, **variables)
    assert done.code != 0
    assert "~ change Microsoft.App/containerApps relay: properties.template.scale.cooldownPeriod" in done.output
    assert f"but {GREEN} exists already: choose another name with -e release=NAME" in done.output


def test_a_gateway_that_may_not_read_its_certificate_yet_is_deployed_a_second_time(tmp_path: Path) -> None:
    variables = {
        "deployment": "deploy-relay",
        "template": str(ROOT / "bicep" / "main.bicep"),
        "given": {},
        "containing": {},
        "updating": True,
        "renewing": False,
        "secret_parameters": {},
        "role_seconds": 0.1,
        "deploy_timeout": 120,
    }
    too_early = "ApplicationGatewayKeyVaultSecretException: Problem occurred while accessing KeyVault Secrets"
    done = play(tmp_path, "send.yml", 1, {"deployment group create": {}}, said=too_early, **variables)
    assert done.code == 0, done.output
    assert "FAILED - RETRYING: [localhost]: Deploy (1 retries left)." in done.output


def test_callers_keep_their_port_443_where_no_certificate_is_named(tmp_path: Path) -> None:
    door = "https://safe.vault.azure.net/secrets/door"
    answers = {
        "deployment group list": [{"state": "Succeeded", "outputs": {}}],
        "deployment group what-if": [],
        "network application-gateway list": [{"state": "Succeeded", "certificate": door}],
    }
    variables = {
        "deployment": "deploy-relay",
        "template": str(ROOT / "bicep" / "main.bicep"),
        "given": {"certificateId": ""},
        "chosen": {},
        "containing": {"containerImage": ""},
        "secret_parameters": {},
        "keys_differ": False,
        "apps": {"value": []},
        "account": {"value": "mine"},
        "deploy_timeout": 120,
    }
    done = play(tmp_path, "deployment.yml", 0, answers, **HERE | variables)
    assert done.code != 0
    assert f"export TLS_SECRET_ID={door}, or say -e plain_http=true to do it. Nothing was changed." in done.output
