"""What the service checks of an app before a deployment, when no other resource of the template is there yet."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from stage.arm.ids import APPS, DEPLOYMENTS, ENVIRONMENTS, REGISTRY_SUFFIX
from stage.bicep import compile
from tests.bicep.conftest import BICEP
from tests.bicep.worked_out import OF_AZURE, sent

COMPILED = compile(BICEP / "main.bicep")
FIRST = {"prefix": "voice", "identityClientId": "of-the-first-pass", "publicIpAddress": "203.0.113.9"}
SETS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "an environment with a public address": {"internal": False},
    "a key of the account": {"openAiApiKey": "key-of-the-account"},
    "affinity": {"activeRevisionsMode": "Single"},
    "down to zero": {"minReplicas": 0},
    "settings": {"relaySettings": [{"name": "RTPROXY_MAX_CLIENT_SESSIONS", "value": "9"}]},
}


def of_the_service(template: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What is the service's, and the modules that have something of it: their parameters, without the rest."""
    for each in template["resources"].values():
        if each["type"] == DEPLOYMENTS:
            inner = list(of_the_service(each["properties"]["template"]))
            yield from inner
            if inner:
                yield {"type": DEPLOYMENTS, "parameters": each["properties"]["parameters"]}
        elif each["type"].startswith("Microsoft.App/") and not each.get("existing"):
            yield each


def test_no_property_of_microsoft_app_reads_another_resource_itself_or_through_a_module_s_parameter() -> None:
    found = list(of_the_service(COMPILED))
    assert sorted(each["type"] for each in found) == sorted([APPS, ENVIRONMENTS, DEPLOYMENTS, DEPLOYMENTS])
    assert [each["type"] for each in found if "reference(" in json.dumps(each)] == []


@pytest.mark.parametrize("name", SETS)
def test_no_set_of_parameters_gives_the_app_what_is_known_after_a_deployment_only(name: str) -> None:
    app = sent(COMPILED, containerImage="any.example/rtproxy:1", **FIRST, **SETS[name])[APPS]
    assert OF_AZURE not in json.dumps(app)
    env = {each["name"]: each.get("value") for each in app["template"]["containers"][0]["env"]}
    assert env["AZURE_CLIENT_ID"] == "of-the-first-pass"
    assert env["AZURE_OPENAI_ENDPOINT"].startswith("https://voice-")
    assert env["AZURE_OPENAI_ENDPOINT"].endswith(".openai.azure.com/")
    (registry,) = app["configuration"]["registries"]
    assert registry["server"].startswith("voice")
    assert registry["server"].endswith(REGISTRY_SUFFIX)


def test_the_gateway_s_address_is_made_first_where_the_app_names_it() -> None:
    kind = "Microsoft.Network/publicIPAddresses"
    assert kind in sent(COMPILED, prefix="voice", internal=False)
    assert kind not in sent(COMPILED, prefix="voice")
    app = sent(COMPILED, containerImage="any.example/rtproxy:1", internal=False, **FIRST)[APPS]
    (restriction,) = app["configuration"]["ingress"]["ipSecurityRestrictions"]
    assert restriction["ipAddressRange"] == "203.0.113.9/32"


def test_the_app_is_left_alone_where_it_is_not_to_be_updated() -> None:
    assert APPS not in sent(
        COMPILED, containerImage="any.example/rtproxy:1", updateApp=False, updateGateway=False, **FIRST
    )
