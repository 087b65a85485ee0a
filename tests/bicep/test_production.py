"""The parameters for production are ones that the template, the relay and the play take."""

import json
from typing import Any

import pytest

from rtproxy.settings import load
from stage.arm.resources import GATEWAYS
from stage.bicep import compile
from tests.bicep.conftest import BICEP
from tests.bicep.ladder import environment
from tests.bicep.worked_out import Sent, sent
from tests.playbooks.conftest import filters

FILE = json.loads((BICEP / "production.parameters.json").read_text())
GIVEN: dict[str, Any] = {name: each["value"] for name, each in FILE["parameters"].items()}
RELAY = {"AZURE_OPENAI_ENDPOINT": "https://any.openai.azure.com", "RTPROXY_CLIENT_KEYS": "ada:0123456789abcdef"}


@pytest.fixture(scope="module")
def deployed() -> Sent:
    return sent(compile(BICEP / "main.bicep"), prefix="voice", containerImage="any", **GIVEN)


def test_it_is_a_file_of_parameters_as_az_takes_one() -> None:
    assert FILE["$schema"].endswith("/deploymentParameters.json#")
    assert set(FILE) == {"$schema", "contentVersion", "parameters"}


def test_there_is_a_firewall_that_prevents(deployed: Sent) -> None:
    assert deployed[GATEWAYS]["sku"]["tier"] == "WAF_v2"
    policy = deployed["Microsoft.Network/ApplicationGatewayWebApplicationFirewallPolicies"]
    assert policy["policySettings"]["mode"] == "Prevention"


def test_pages_of_named_origins_call_no_call_is_endless_and_no_client_gets_every_place(deployed: Sent) -> None:
    relay = load(environment(deployed) | RELAY)
    assert relay.allowed_origins
    assert relay.max_call_s is not None
    assert relay.max_client_sessions is not None
    assert relay.max_client_sessions < relay.max_sessions


def test_the_play_asks_for_the_origins_first() -> None:
    found = list(filters("preflight").settings({"parameters": GIVEN}))
    assert [each.partition(" is ")[0] for each in found] == ["RTPROXY_ALLOWED_ORIGINS"]
