"""The types of resources that the stage knows, and what Azure adds to one of each: the properties templates read.

A closed table: a type that is not in it is a slip of the pen, or nothing that the relay is made of, and is refused.
What runs on the stage - apps, their environment's ingress, the gateway, the registry, the model - is what it names
here. Of the network's security rules the one that says who comes to the gateway's port for rollouts is acted on. The
rest is kept as it was asked for.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from stage.arm import names, regions
from stage.arm.hashing import guid
from stage.arm.ids import (
    ACCOUNTS,
    APPS,
    ENVIRONMENTS,
    IDENTITIES,
    REGISTRIES,
    ROLE_ASSIGNMENTS,
    STORAGE_ACCOUNTS,
    STORAGES,
    TENANT,
    VAULTS,
)
from stage.arm.resources import Asked
from stage.arm.subscription import Subscription
from stage.arm.syntax import invalid

Properties = dict[str, Any]
Adds = Callable[[Subscription, Asked], Properties]


def canonical(kind: str) -> str:
    """The type as Azure spells it. Raises Rejected for one that the stage does not know."""
    for known in TYPES:
        if known.lower() == kind.lower():
            return known
    raise invalid(f"the stage has no resources of type '{kind}'")


def document(subscription: Subscription, asked: Asked) -> dict[str, Any]:
    """The resource as Azure would show it."""
    kind = canonical(asked.kind)
    properties = asked.body.get("properties") or {}
    added = {"provisioningState": "Succeeded", **TYPES[kind](subscription, asked)}
    properties = without_secrets(kind, properties)
    return {
        "id": asked.id,
        "name": asked.name.rpartition("/")[2],
        "type": kind,
        **asked.body,
        **regions.shown(asked.body, displayed=kind == ENVIRONMENTS),
        "properties": _merged(properties, added),
    }


def _merged(properties: Properties, added: Properties) -> Properties:
    both = dict(properties)
    for name, value in added.items():
        inner = both.get(name)
        both[name] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return both


def without_secrets(kind: str, properties: Properties) -> Properties:
    """Without what Azure takes and never shows."""
    if kind == f"{VAULTS}/secrets":
        return {name: each for name, each in properties.items() if name != "value"}
    if kind == STORAGES and "azureFile" in properties:
        shown = {name: each for name, each in properties["azureFile"].items() if name != "accountKey"}
        return {**properties, "azureFile": shown}
    return properties


def _nothing(subscription: Subscription, asked: Asked) -> Properties:
    return {}


def _identity(subscription: Subscription, asked: Asked) -> Properties:
    return {
        "tenantId": TENANT,
        "principalId": guid("principal", asked.id.lower()),
        "clientId": guid("client", asked.id.lower()),
    }


def _registry(subscription: Subscription, asked: Asked) -> Properties:
    return {
        "loginServer": subscription.registry.login_server,
        "adminUserEnabled": bool((asked.body.get("properties") or {}).get("adminUserEnabled")),
        "roleAssignmentMode": "LegacyRegistryPermissions",
    }


def _environment(subscription: Subscription, asked: Asked) -> Properties:
    return {
        "defaultDomain": subscription.environment.domain,
        "staticIp": "127.0.0.1",
        "eventStreamEndpoint": f"{subscription.streams}{asked.id}/eventstream",
    }


def _account(subscription: Subscription, asked: Asked) -> Properties:
    return {"endpoint": f"{names.endpoint(asked)}/"}


def _workspace(subscription: Subscription, asked: Asked) -> Properties:
    return {"customerId": guid("workspace", asked.id.lower())}


def _component(subscription: Subscription, asked: Asked) -> Properties:
    key = guid("component", asked.id.lower())
    return {"InstrumentationKey": key, "ConnectionString": f"InstrumentationKey={key}", "AppId": guid("app", key)}


def _public_ip(subscription: Subscription, asked: Asked) -> Properties:
    # With the port: the name that a template hands out is then one where the stage's gateway answers.
    gateway = urlsplit(subscription.environment.gateway_url)
    named = (asked.body.get("properties") or {}).get("dnsSettings")
    return {"ipAddress": "127.0.0.1", **({"dnsSettings": {"fqdn": gateway.netloc}} if named else {})}


def _network(subscription: Subscription, asked: Asked) -> Properties:
    subnets = (asked.body.get("properties") or {}).get("subnets") or []
    return {"subnets": [{**each, "id": f"{asked.id}/subnets/{each.get('name')}"} for each in subnets]}


def _vault(subscription: Subscription, asked: Asked) -> Properties:
    return {"vaultUri": f"https://{asked.name}.vault.localhost/"}


TYPES: Mapping[str, Adds] = {
    APPS: _nothing,
    ENVIRONMENTS: _environment,
    f"{ENVIRONMENTS}/certificates": _nothing,
    ROLE_ASSIGNMENTS: _nothing,
    ACCOUNTS: _account,
    f"{ACCOUNTS}/deployments": _nothing,
    REGISTRIES: _registry,
    "Microsoft.Insights/actionGroups": _nothing,
    "Microsoft.Insights/components": _component,
    "Microsoft.Insights/diagnosticSettings": _nothing,
    "Microsoft.Insights/scheduledQueryRules": _nothing,
    "Microsoft.Insights/workbooks": _nothing,
    VAULTS: _vault,
    f"{VAULTS}/secrets": _nothing,
    STORAGES: _nothing,
    STORAGE_ACCOUNTS: _nothing,
    f"{STORAGE_ACCOUNTS}/fileServices": _nothing,
    f"{STORAGE_ACCOUNTS}/fileServices/shares": _nothing,
    IDENTITIES: _identity,
    "Microsoft.Network/applicationGateways": _nothing,
    "Microsoft.Network/ApplicationGatewayWebApplicationFirewallPolicies": _nothing,
    "Microsoft.Network/networkSecurityGroups": _nothing,
    "Microsoft.Network/privateDnsZones": _nothing,
    "Microsoft.Network/privateDnsZones/A": _nothing,
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": _nothing,
    "Microsoft.Network/publicIPAddresses": _public_ip,
    "Microsoft.Network/virtualNetworks": _network,
    "Microsoft.Network/virtualNetworks/subnets": _nothing,
    "Microsoft.OperationalInsights/workspaces": _workspace,
    "Microsoft.OperationalInsights/workspaces/savedSearches": _nothing,
    "Microsoft.OperationalInsights/workspaces/tables": _nothing,
}
NAMESPACES = tuple(sorted({kind.partition("/")[0] for kind in TYPES}))
