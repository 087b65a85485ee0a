"""What Azure Monitor refuses, and that the template asks for none of it."""

from pathlib import Path
from typing import Any

import pytest

from tests.stage.vacant import GROUP, Vacant, resource, template
from tests.stage.vacant import standing as standing
from tests.stage.vacant import vacant as vacant

pytestmark = [pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]

BICEP = Path(__file__).parents[2] / "bicep"
ENVIRONMENT = resource("Microsoft.App/managedEnvironments", "env", {"vnetConfiguration": {"internal": True}})


def rule(query: str) -> dict[str, Any]:
    properties = {"criteria": {"allOf": [{"query": query}]}, "skipQueryValidation": True}
    return template(rule=resource("Microsoft.Insights/scheduledQueryRules", "cuts", properties))


def setting(name: str, *categories: str, workspace: str = "logs") -> dict[str, Any]:
    logs = [{"category": each, "enabled": True} for each in categories]
    kept = resource(
        "Microsoft.Insights/diagnosticSettings", name, {"workspaceId": f"{GROUP}/{workspace}", "logs": logs}
    )
    del kept["location"]
    return kept | {"scope": "Microsoft.App/managedEnvironments/env", "dependsOn": ["environment"]}


@pytest.mark.parametrize(
    ("query", "because"),
    [
        ("union isfuzzy=true ContainerAppConsoleLogs, ContainerAppHTTPLogs", "cannot use the operator 'union'"),
        ("ContainerAppConsoleLogs | union ContainerAppHTTPLogs", "cannot use the operator 'union'"),
        ("search 'closed'", "cannot use the operator 'search'"),
        ("RtproxyCalls | where Cut", "cannot read 'RtproxyCalls', which is no table"),
    ],
)
async def test_an_alert_rule_reads_one_table(vacant: Vacant, query: str, because: str) -> None:
    assert because in await vacant.refused(rule(query))


async def test_a_word_of_a_text_is_no_operator(vacant: Vacant) -> None:
    await vacant.deploy(rule("ContainerAppConsoleLogs | where Log has 'union' // search"))


async def test_the_alert_of_the_template_is_taken(vacant: Vacant) -> None:
    file = BICEP / "modules" / "monitor.bicep"
    await vacant.az(
        f"deployment group create -g voice -n logs --template-file {file} "
        "--parameters location=eastus2 prefix=relay workspaceName=relay-logs"
    )
    (found,) = await vacant.az("resource list -g voice --resource-type Microsoft.Insights/scheduledQueryRules")
    assert found["name"] == "relay-calls-cut"


async def test_a_category_that_the_region_does_not_offer_can_be_left_out_of_the_template(vacant: Vacant) -> None:
    file = BICEP / "modules" / "environment.bicep"
    words = (
        f"deployment group create -g voice -n env --template-file {file} --parameters location=eastus2 name=env "
        f"subnetId={GROUP}/subnet internal=true zoneRedundant=false workspaceId={GROUP}/logs httpLogs="
    )
    await vacant.fault(fault="unoffer", category="ContainerAppHTTPLogs")
    assert "Category 'ContainerAppHTTPLogs' is not supported." in await vacant.az.refused(f"{words}true")
    await vacant.az(f"{words}false")
    await vacant.fault(fault="none")
    await vacant.az(f"{words}true")


async def test_a_category_goes_to_a_workspace_by_one_setting_only(vacant: Vacant) -> None:
    both = setting("workspace", "ContainerAppConsoleLogs", "ContainerAppHTTPLogs")
    await vacant.deploy(template(environment=ENVIRONMENT, both=both))
    another = template(environment=ENVIRONMENT, another=setting("ingress", "ContainerAppHTTPLogs"))
    said = await vacant.refused(another)
    assert "already used in diagnostic setting 'workspace' for category 'ContainerAppHTTPLogs'" in said
    await vacant.deploy(
        template(environment=ENVIRONMENT, another=setting("ingress", "ContainerAppHTTPLogs", workspace="others"))
    )
    # What earlier templates had in one setting is two when the first has let go of it.
    first = setting("workspace", "ContainerAppConsoleLogs")
    second = setting("second", "ContainerAppHTTPLogs") | {"dependsOn": ["environment", "first"]}
    await vacant.deploy(template(environment=ENVIRONMENT, second=second, first=first))
