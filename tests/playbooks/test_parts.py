"""Parts of plays whose whole runs are the nightly session's, each with an az of a few lines. Without a stage."""

import sys
from typing import Any

import pytest

from tests.playbooks.conftest import DEADLINE_S, ROOT, Run
from tests.playbooks.test_waits import Case, plays

pytestmark = pytest.mark.timeout(DEADLINE_S)
HERE: dict[str, Any] = {"python": sys.executable, "source": str(ROOT), "poll_seconds": 0.1, "task_timeout": 120}
BLUE, GREEN = "relay--blue", "relay--green"


REFUSALS = {"key": "HTTP 401", "model": "HTTP 404: This relay serves the model 'voice' only."}
HALF = [{"revisionName": BLUE, "weight": 50}, {"revisionName": GREEN, "weight": 50}]
APP = "/subscriptions/0/resourceGroups/voice/providers/Microsoft.App/containerApps/relay"
COOLER = [{"path": "properties.template.scale.cooldownPeriod", "propertyChangeType": "Modify", "children": None}]
TEMPLATE = {
    "deployment": "deploy-relay",
    "template": str(ROOT / "bicep" / "main.bicep"),
    "secret_parameters": {},
    "deploy_timeout": 120,
}
DOOR = "https://safe.vault.azure.net/secrets/door"


def refused(refusal: str) -> Case:
    """A relay that stands and is called by somebody whom it refuses."""
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
        "run_dir": "{{ playbook_dir }}/run",
        "ready_timeout": DEADLINE_S,
        "smoke_seconds": 1,
    }
    return Case("working.yml", 0, answers, **HERE | variables)


CASES = {
    **{name: refused(refusal) for name, refusal in REFUSALS.items()},
    "stranded": Case(
        "rollback.yml",
        0,
        {
            "containerapp show": {"mode": "Multiple", "traffic": HALF, "latest_ready": GREEN},
            "containerapp revision list": [
                {"name": name, "active": True, "created": created, "last_active": None}
                for name, created in ((BLUE, "2026-01-01"), (GREEN, "2026-01-02"))
            ],
            "containerapp ingress traffic show": HALF,
        },
        said="The app is locked.",
        **HERE,
        release="green",
        back={BLUE: 50},
        reason="step-50: a call was cut.",
        busy_timeout=2,
    ),
    "misnamed": Case("standing.yml", 0, {}, release="Not_One"),
    "taken": Case(
        "renew.yml",
        0,
        {},
        what_if={"value": [{"id": APP, "kind": "Modify", "delta": COOLER}]},
        standing={"green": {"exists": True}},
        green=GREEN,
    ),
    "early": Case(
        "send.yml",
        1,
        {"deployment group create": {}},
        said="ApplicationGatewayKeyVaultSecretException: Problem occurred while accessing KeyVault Secrets",
        **TEMPLATE,
        given={},
        containing={},
        updating=True,
        renewing=False,
        role_seconds=0.1,
    ),
    "unnamed": Case(
        "deployment.yml",
        0,
        {
            "deployment group list": [{"state": "Succeeded", "outputs": {}}],
            "deployment group what-if": [],
            "network application-gateway list": [{"state": "Succeeded", "certificate": DOOR}],
        },
        **HERE,
        **TEMPLATE,
        given={"certificateId": ""},
        chosen={},
        containing={"containerImage": ""},
        keys_differ=False,
        apps={"value": []},
        account={"value": "mine"},
    ),
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """What each of `CASES` ended with."""
    return plays(tmp_path_factory.mktemp("cases"), CASES)


@pytest.mark.parametrize("what", REFUSALS)
def test_a_key_or_a_model_that_the_relay_does_not_know_is_not_waited_for(ended: dict[str, Run], what: str) -> None:
    done = ended[what]
    assert done.code != 0
    assert f"deploy: {REFUSALS[what]}" in done.output
    assert "RETRYING" not in done.output


def test_a_way_back_that_azure_does_not_take_ends_with_the_weights_and_the_commands(ended: dict[str, Run]) -> None:
    done = ended["stranded"]
    assert done.code != 0
    named = "--name relay --resource-group voice"
    for said in (
        f"The app is locked. Weights in force: {BLUE}=50, {GREEN}=50. What is left to do, once Azure takes it: "
        f"az containerapp ingress traffic set {named} --revision-weight {BLUE}=100 {GREEN}=0; "
        f"az containerapp revision deactivate {named} --revision {GREEN}",
        "(Why it was to go back: step-50: a call was cut.)",
    ):
        assert said in done.output


def test_a_release_that_cannot_name_a_revision_is_refused_before_az_is_asked(ended: dict[str, Run]) -> None:
    done = ended["misnamed"]
    assert done.code != 0
    assert "Not_One cannot name a revision: lower-case letters" in done.output
    assert "at most 54 characters as relay--Not_One; choose another with -e release=NAME." in done.output
    assert "Read the app" not in done.output


def test_a_change_cannot_take_the_name_of_a_revision_that_exists(ended: dict[str, Run]) -> None:
    done = ended["taken"]
    assert done.code != 0
    assert "~ change Microsoft.App/containerApps relay: properties.template.scale.cooldownPeriod" in done.output
    assert f"but {GREEN} exists already: choose another name with -e release=NAME" in done.output


def test_a_gateway_that_may_not_read_its_certificate_yet_is_deployed_a_second_time(ended: dict[str, Run]) -> None:
    done = ended["early"]
    assert done.code == 0, done.output
    assert "FAILED - RETRYING: [early]: Deploy (1 retries left)." in done.output


def test_callers_keep_their_port_443_where_no_certificate_is_named(ended: dict[str, Run]) -> None:
    done = ended["unnamed"]
    assert done.code != 0
    assert f"export TLS_SECRET_ID={DOOR}, or say -e plain_http=true to do it. Nothing was changed." in done.output
