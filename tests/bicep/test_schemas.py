"""Every resource of `bicep/` is one that ARM takes; each fault that ARM would refuse is told by a sentence."""

from pathlib import Path

import pytest

from tests.bicep.conftest import Broken
from tests.bicep.project import faults

APP, ENVIRONMENT, GATEWAY = "modules/app.bicep", "modules/environment.bicep", "modules/gateway.bicep"
ADDRESS = "modules/address.bicep"
MONITOR, NETWORK, ROLES = "modules/monitor.bicep", "modules/network.bicep", "modules/roles.bicep"

REFUSED = {
    "unknown property": (
        APP,
        "cooldownPeriod: cooldownPeriod",
        "cooldownPeriods: cooldownPeriod",
        "app.properties.template.scale.cooldownPeriods: no such property; there is cooldownPeriod",
    ),
    "unknown property in an arm of a union": (
        APP,
        "affinity: 'sticky'",
        "affinities: 'sticky'",
        "app.properties.configuration.ingress.stickySessions.affinities: no such property; there is affinity",
    ),
    "unknown property in a variable": (
        APP,
        "custom: {\n          type: 'cpu'",
        "custom: {\n          types: 'cpu'",
        "app.properties.template.scale.rules[1].custom.types: no such property; there is type",
    ),
    "value outside of an enum": (
        APP,
        "transport: 'http'",
        "transport: 'websocket'",
        "app.properties.configuration.ingress.transport: 'websocket' is not one of auto, http, http2, tcp",
    ),
    "value outside of an enum, in an arm": (
        GATEWAY,
        "type: 'None'",
        "type: 'Nobody'",
        "gateway.identity.type: 'Nobody' is not one of"
        " SystemAssigned, UserAssigned, SystemAssigned, UserAssigned, None",
    ),
    "value outside of an enum, of an array's item": (
        NETWORK,
        "access: 'Deny'",
        "access: 'Refuse'",
        "environmentRules.properties.securityRules[3].properties.access: 'Refuse' is not one of Allow, Deny",
    ),
    "missing property": (
        NETWORK,
        "            direction: 'Inbound'\n",
        "",
        "gatewayRules.properties.securityRules[0].properties.direction: required, but missing",
    ),
    "missing property of the resource": (
        "modules/dns.bicep",
        "  name: domain\n  location: 'global'\n",
        "  name: domain\n",
        "zone.location: required, but missing",
    ),
    "null for a required property": (
        MONITOR,
        "category: 'rtproxy'",
        "category: null",
        "events.properties.category: required, but missing",
    ),
    "read-only property": (
        ENVIRONMENT,
        "    zoneRedundant: zoneRedundant\n",
        "    zoneRedundant: zoneRedundant\n    staticIp: '10.60.1.4'\n",
        "environment.properties.staticIp: only the platform writes it",
    ),
    "text for a number": (
        ADDRESS,
        "idleTimeoutInMinutes: 30",
        "idleTimeoutInMinutes: '30'",
        "publicIp.properties.idleTimeoutInMinutes: takes an int, not a string",
    ),
    "number for a text": (
        APP,
        "string(terminationGracePeriodSeconds - 5)",
        "terminationGracePeriodSeconds - 5",
        "app.properties.template.containers[0].env[5].value: takes a string, not an int",
    ),
    "number out of its range": (
        GATEWAY,
        "unhealthyThreshold: 3",
        "unhealthyThreshold: 30",
        "gateway.properties.probes[0].properties.unhealthyThreshold: 30 is not in 1 to 20",
    ),
    "parameter of another type": (
        APP,
        "targetPort: port",
        "targetPort: image",
        "app.properties.configuration.ingress.targetPort: takes an int, not a string",
    ),
    "text for a list": (
        MONITOR,
        "scopes: [\n      workspace.id\n    ]",
        "scopes: 'workspace'",
        "cuts.properties.scopes: takes an array, not a string",
    ),
    "another api-version": (
        APP,
        "Microsoft.App/containerApps@2026-01-01",
        "Microsoft.App/containerApps@2024-03-01",
        "app: Microsoft.App/containerApps@2024-03-01, but what is checked is @2025-07-01, @2026-01-01",
    ),
    "another api-version of what exists": (
        ROLES,
        "Microsoft.ContainerRegistry/registries@2025-04-01' existing",
        "Microsoft.ContainerRegistry/registries@2019-05-01' existing",
        "registry: Microsoft.ContainerRegistry/registries@2019-05-01, but what is checked is @2025-04-01",
    ),
    "a type nobody checks": (
        ADDRESS,
        "Microsoft.Network/publicIPAddresses@",
        "Microsoft.Network/publicIPPrefixes@",
        "publicIp: no type of Microsoft.Network/publicIPPrefixes is at hand; see tests/bicep/compiler/README.md",
    ),
    "category of a diagnostic setting": (
        ENVIRONMENT,
        "logAnalyticsDestinationType: 'Dedicated'",
        "logAnalyticsDestinationType: 'Own'",
        "diagnostics.properties.logAnalyticsDestinationType: 'Own' is not one of Dedicated, AzureDiagnostics",
    ),
    "record of a zone": (
        "modules/dns.bicep",
        "ipv4Address: address",
        "ipv4Adress: address",
        "every.properties.aRecords[0].ipv4Adress: no such property; there is ipv4Address",
    ),
    "operator of an alert": (
        MONITOR,
        "operator: 'GreaterThan'",
        "operator: 'Above'",
        "cuts.properties.criteria.allOf[0].operator: 'Above' is not one of"
        " Equals, GreaterThan, GreaterThanOrEqual, LessThan, LessThanOrEqual, GreaterOrLessThan",
    ),
    "property that is read": (
        ENVIRONMENT,
        "environment.properties.staticIp",
        "environment.properties.staticIpAddress",
        "staticIp: reads environment.properties.staticIpAddress,"
        " but Microsoft.App/managedEnvironments has no such property",
    ),
}


def test_every_resource_is_one_that_arm_takes(bicep: Path) -> None:
    assert faults(bicep) == []


@pytest.mark.parametrize("fault", REFUSED)
def test_a_fault_is_named_in_a_sentence(broken: Broken, fault: str) -> None:
    file, old, new, sentence = REFUSED[fault]
    assert faults(broken(file, old, new)) == [f"{file}: {sentence}"]


def test_a_value_is_followed_into_the_module_that_gets_it(broken: Broken) -> None:
    copy = broken("main.bicep", "  'Multiple'\n  'Single'\n]", "  'Multiple'\n  'Labels'\n]")
    assert faults(copy) == [
        "modules/app.bicep: app.properties.configuration.activeRevisionsMode: 'Labels' is not one of Multiple, Single"
    ]


def test_what_reads_keys_is_refused(broken: Broken) -> None:
    [fault] = faults(broken(ROLES, "identity.properties.clientId", "account.listKeys().key1"))
    assert "modules/roles.bicep" in fault
    assert "a function of a resource is outside of the stage's subset" in fault
