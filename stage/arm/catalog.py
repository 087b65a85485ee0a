"""What Azure offers: regions, resource providers, and the types of resources with the properties that templates read.

The types are a closed table: a type that is not in it is a typing error, or nothing that the relay is made of, and is
refused. The stage plays apps, their environment's ingress, the gateway, the registry and the model as they are
described. Of the network's security rules it applies the one that says who may use the gateway's port for rollouts. The
rest is kept as it was asked for.

A region has a name and a display name. Both are accepted wherever a region is asked for; Azure mostly answers with the
name, and for some resources, apps among them, with the display name. Only the regions are here that the stage has to
tell apart: by the models that they offer and by their zones.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from stage.arm.resources import (
    ACCOUNTS,
    APPS,
    ENVIRONMENTS,
    IDENTITIES,
    LOCATION,
    REGISTRIES,
    REGISTRY_SUFFIX,
    ROLE_ASSIGNMENTS,
    STORAGE_ACCOUNTS,
    STORAGES,
    SUBSCRIPTION,
    TENANT,
    VAULTS,
    Asked,
    guid,
    invalid,
)
from stage.arm.routes import ANY_SUBSCRIPTION, Route, over_subscription
from stage.arm.subscription import Subscription
from stage.platform import Rejected

REGIONS: Mapping[str, str] = {
    "canadacentral": "Canada Central",
    "centralus": "Central US",
    "eastus2": "East US 2",
    "francecentral": "France Central",
    "japaneast": "Japan East",
    "southindia": "South India",
    "swedencentral": "Sweden Central",
    "westcentralus": "West Central US",
    "westeurope": "West Europe",
    "westus": "West US",
}
WITHOUT_ZONES = frozenset({"southindia", "westcentralus", "westus"})
OFFERING_REALTIME = frozenset({"canadacentral", "centralus", "eastus2", "francecentral", "southindia", "swedencentral"})
_MODELS = ("openai.azure.com", "services.ai.azure.com")
"""Below each of them an account has its subdomain."""
Properties = dict[str, Any]
Adds = Callable[[Subscription, Asked], Properties]
# An environment in a network of its own is made by it, although no resource of the template is.
_CLUSTERS = "Microsoft.ContainerService"
_RIGHT = "Microsoft.Resources/subscriptions/providers"
_PROVIDER = f"{ANY_SUBSCRIPTION}/providers/{{provider}}"


def plain_region(region: object) -> str:
    """The name of a region, from either spelling."""
    return str(region).replace(" ", "").lower()


def check_region(region: object) -> None:
    """Raises Rejected for a region that there is not."""
    if plain_region(region) not in REGIONS:
        what = f"The provided location '{region}' is not available for resource group. List of available regions is "
        raise Rejected("LocationNotAvailableForResourceGroup", f"{what}'{','.join(REGIONS)}'.")


def shown_region(body: Mapping[str, Any], *, displayed: bool = False) -> dict[str, Any]:
    """The location of a resource as Azure answers it, whichever spelling was asked for; empty for one without."""
    if body.get("location") is None:
        return {}
    name = plain_region(body["location"])
    return {"location": REGIONS.get(name, name) if displayed else name}


async def list_regions(subscription: Subscription, request: web.Request) -> web.Response:
    return web.json_response({"value": [_region(*each) for each in REGIONS.items()]})


def _region(name: str, shown: str) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{SUBSCRIPTION}/locations/{name}",
        "name": name,
        "type": "Region",
        "displayName": shown,
        "regionalDisplayName": shown,
        "metadata": {"regionType": "Physical", "regionCategory": "Recommended"},
    }


REGION_ROUTES: tuple[Route, ...] = (("GET", f"{ANY_SUBSCRIPTION}/locations", list_regions),)


def endpoint(account: Asked) -> str:
    """The URL of a model account: of its own subdomain, which is what takes tokens."""
    return f"https://{_label(account)}.{_MODELS[0]}"


def leads(subscription: Subscription, url: str) -> str:
    """``url``, or the simulated model's if ``url`` is that of a known account: no DNS has names of the stage."""
    label, _, domain = (urlsplit(url).hostname or "").partition(".")
    known = {_label(each).lower() for each in subscription.store.of(ACCOUNTS)}
    return subscription.model_url if domain in _MODELS and label in known else url


def registry_servers(subscription: Subscription) -> set[str]:
    """Where the registry is: its address, and the name that Azure would give it."""
    named = {f"{each.name.lower()}{REGISTRY_SUFFIX}" for each in subscription.store.of(REGISTRIES)}
    return {subscription.registry.login_server, *named}


def _label(account: Asked) -> str:
    return str((account.body.get("properties") or {}).get("customSubDomainName") or account.name)


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
        **shown_region(asked.body, displayed=kind == ENVIRONMENTS),
        "properties": _merged(properties, added),
    }


def _merged(properties: Properties, added: Properties) -> Properties:
    both = dict(properties)
    for name, value in added.items():
        inner = both.get(name)
        both[name] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return both


def without_secrets(kind: str, properties: Properties) -> Properties:
    """Without the values that Azure accepts and never shows."""
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
    return {"endpoint": f"{endpoint(asked)}/"}


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
_NAMESPACES = tuple(sorted((*NAMESPACES, _CLUSTERS)))


def check_registered(subscription: Subscription, kind: str) -> None:
    """Raises Rejected when resources of that type cannot be made here yet."""
    namespace = kind.partition("/")[0]
    if namespace.lower() in subscription.faults.unregistered:
        what = f"The subscription is not registered to use namespace '{namespace}'. See "
        raise Rejected(
            "MissingSubscriptionRegistration", f"{what}https://aka.ms/rps-not-found for how to register.", 409
        )
    if kind == ENVIRONMENTS and _CLUSTERS.lower() in subscription.faults.unregistered:
        what = f"Subscription is not registered with the required resource providers, please register with {namespace}"
        raise Rejected("SubscriptionIsNotRegistered", f"{what} and {_CLUSTERS}.")


async def list_providers(subscription: Subscription, request: web.Request) -> web.Response:
    return web.json_response({"value": [_provider_document(subscription, each) for each in _NAMESPACES]})


async def show_provider(subscription: Subscription, request: web.Request, provider: str) -> web.Response:
    return web.json_response(_provider_document(subscription, _provider(provider)))


async def register(subscription: Subscription, request: web.Request, provider: str) -> web.Response:
    found = _provider(provider)
    subscription.faults.unregistered.discard(found.lower())
    return web.json_response(_provider_document(subscription, found))


def _provider(namespace: str) -> str:
    for known in _NAMESPACES:
        if known.lower() == namespace.lower():
            return known
    raise Rejected("InvalidResourceNamespace", f"The resource namespace '{namespace}' is invalid.", 404)


def _provider_document(subscription: Subscription, namespace: str) -> dict[str, Any]:
    registered = namespace.lower() not in subscription.faults.unregistered
    kinds = [kind.partition("/")[2] for kind in TYPES if kind.startswith(f"{namespace}/")]
    return {
        "id": f"/subscriptions/{SUBSCRIPTION}/providers/{namespace}",
        "namespace": namespace,
        "registrationPolicy": "RegistrationRequired",
        "registrationState": "Registered" if registered else "NotRegistered",
        "resourceTypes": [{"resourceType": kind, "locations": [LOCATION]} for kind in kinds],
    }


PROVIDER_ROUTES: tuple[Route, ...] = (
    ("GET", f"{ANY_SUBSCRIPTION}/providers", over_subscription(f"{_RIGHT}/read", list_providers)),
    ("GET", _PROVIDER, over_subscription(f"{_RIGHT}/read", show_provider)),
    ("POST", f"{_PROVIDER}/register", over_subscription("provider/register/action", register)),
)
