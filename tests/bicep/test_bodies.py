"""Every body that a deployment sends is one that ARM's types take, whatever the parameters are."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from stage.arm.resources import DEPLOYMENTS
from stage.bicep import compile
from tests.bicep.holding import body_faults
from tests.bicep.schema import load
from tests.bicep.worked_out import asked

GIVEN: dict[str, Any] = {"prefix": "relay", "containerImage": "x.azurecr.io/r:1", "clientKeys": f"a:{'k' * 32}"}
WEIGHTS = [{"revisionName": "relay--a", "weight": 80}, {"revisionName": "relay--b", "weight": 20, "label": "b"}]
CERTIFICATE = {"certificateId": "https://kv.vault.azure.net/secrets/door", "tlsVaultResourceGroup": "keys"}
SETS: dict[str, dict[str, Any]] = {
    "first pass": {"prefix": "relay"},
    "defaults": GIVEN,
    "with TLS and a firewall": {**GIVEN, **CERTIFICATE, "waf": True, "rolloutAddresses": ["192.0.2.1"]},
    "weights": {**GIVEN, "traffic": WEIGHTS, "revisionSuffix": "b"},
    "single": {**GIVEN, "activeRevisionsMode": "Single", "minReplicas": 0, "internal": False},
    "keyed": {**GIVEN, "openAiApiKey": "k" * 32, "relaySettings": [{"name": "RTPROXY_MAX_SESSIONS", "value": "9"}]},
}


def versions(template: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for each in template["resources"].values():
        if each["type"] == DEPLOYMENTS:
            yield from versions(each["properties"]["template"])
        else:
            yield each["type"], each["apiVersion"]


def faults(folder: Path, parameters: dict[str, Any]) -> list[str]:
    compiled, schemas = compile(folder / "main.bicep"), load()
    found: list[str] = []
    written = dict(versions(compiled))
    for each in asked(compiled, **parameters):
        schema = schemas[each.kind][written[each.kind]]
        found += body_faults(each.body, schema, f"{each.kind} {each.name}")
    return found


@pytest.mark.parametrize("parameters", SETS)
def test_every_body_is_of_its_type(bicep: Path, parameters: str) -> None:
    assert faults(bicep, SETS[parameters]) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        ("app", "allowInsecure: false", "allowInsecured: false", "ingress.allowInsecured: no such property"),
        ("app", "targetPort: port", "targetPort: string(port)", "ingress.targetPort: takes an int, not a string"),
        ("app", "transport: 'http'", "transport: toUpper('ws')", "ingress.transport: 'WS' is not one of"),
        ("environment", "destination: 'azure-monitor'", "destination: toLower('X')", "'x' is not one of log-analytics"),
        ("network", "access: 'Deny'", "", "securityRules[3].properties.access: required, but missing"),
        ("address", "idleTimeoutInMinutes: 30", "idleTimeoutInMinutes: 15 * 3", "45 is not in 4 to 30"),
        (
            "gateway",
            "enableHttp2: false",
            "operationalState: 'x'",
            "only the platform writes it",
        ),
    ],
)
def test_what_a_body_has_wrong_is_found(broken: Any, file: str, old: str, new: str, sentence: str) -> None:
    found = faults(broken(f"modules/{file}.bicep", old, new), SETS["defaults"])
    assert [fault for fault in found if sentence in fault], found
