"""What there is in the subscription, how it is made and deleted, and what Azure refuses; resource groups."""

import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any

from aiohttp import web

from stage.arm import accounts, apps, catalog, documents, gateways, roles
from stage.arm.catalog import TYPES
from stage.arm.resources import (
    ACCOUNTS,
    APPS,
    ENVIRONMENTS,
    GATEWAYS,
    LOCATION,
    NETWORKS,
    PUBLIC_ADDRESSES,
    REGISTRIES,
    ROLE_ASSIGNMENTS,
    SECURITY_GROUPS,
    STORAGES,
    Asked,
    ancestors,
    group_id,
    group_of,
)
from stage.arm.routes import ANY_GROUP, ANY_SUBSCRIPTION, Route, denied, read_body
from stage.arm.subscription import Subscription
from stage.platform import Rejected

_OF_A_STORAGE = ("azureFile.accountName", "azureFile.shareName", "azureFile.accessMode")
"""microsoft/azure-container-apps#1255 has the service's answer to another value."""
_OF_AN_ENVIRONMENT = ("zoneRedundant", "vnetConfiguration.infrastructureSubnetId", "vnetConfiguration.internal")
ALERT_RULES = "Microsoft.Insights/scheduledQueryRules"
DIAGNOSTICS = "Microsoft.Insights/diagnosticSettings"
_TABLES = ("ContainerAppConsoleLogs", "ContainerAppSystemLogs", "ContainerAppHTTPLogs", "AGWAccessLogs")
"""What a rule may read: a saved function is no table, and one of several tables is what `union` would be for."""
_TEXTS = re.compile(r"'[^']*'|\"[^\"]*\"|//[^\n]*")
_OPERATOR = re.compile(r"\b(union|search)\b")
Document = dict[str, Any]
_ONE_OF = (ENVIRONMENTS, REGISTRIES, GATEWAYS, ACCOUNTS)
"""The stage has one of each, wherever it is deployed."""
_OF_THE_WAY_IN = (GATEWAYS, NETWORKS, PUBLIC_ADDRESSES, SECURITY_GROUPS)
"""The types that together set where the gateway leads, and from which networks."""


def check_unchanged(subscription: Subscription, kind: str, asked: Asked, before: Asked | None) -> None:
    """Raises Rejected where ``asked`` changes a value of ``before`` that cannot be changed."""
    if kind == ENVIRONMENTS:
        _check_zones(asked)
    if before is None:
        return
    here, there = before.body.get("location"), asked.body.get("location")
    if here and there and catalog.plain_region(here) != catalog.plain_region(there):
        what = f"The resource '{asked.name}' already exists in location '{here}' in resource group '{asked.group}'. A "
        what += (
            f"resource with the same name cannot be created in location '{there}'. Please select a new resource name."
        )
        raise Rejected("InvalidResourceLocation", what, 409)
    if kind == ENVIRONMENTS:
        for path in _OF_AN_ENVIRONMENT:
            if _get(asked, path) != _get(before, path):
                what = (
                    f"The property '{path}' of managed environment '{asked.name}' cannot be changed after its creation."
                )
                raise Rejected("ManagedEnvironmentPropertyImmutable", what)
    elif kind == STORAGES:
        for path in _OF_A_STORAGE:
            if _get(asked, path) != _get(before, path):
                what = f"Invalid request body for managed environment storage '{asked.name.rpartition('/')[2]}'. "
                what += "Only 'properties.azureFile.AccountKey' can be updated."
                raise Rejected("ManagedEnvironmentStorageUpdateBadRequest", what)
    elif kind == NETWORKS:
        _check_subnets(subscription, asked, before)


def _check_zones(asked: Asked) -> None:
    region = asked.body.get("location")
    if _get(asked, "zoneRedundant") and catalog.plain_region(region) in catalog.WITHOUT_ZONES:
        raise Rejected("ZoneRedundancyNotSupported", f"Zone redundant environments are not supported in {region}.")


def _check_subnets(subscription: Subscription, asked: Asked, before: Asked) -> None:
    used = {
        str(_get(each, "vnetConfiguration.infrastructureSubnetId")).lower()
        for each in subscription.store.of(ENVIRONMENTS)
    }
    wanted = {name: prefix for name, prefix in _prefixes(asked)}
    for name, prefix in _prefixes(before):
        subnet = f"{before.id}/subnets/{name}"
        if subnet.lower() in used and wanted.get(name) != prefix:
            what = f"IpPrefix {prefix} on Subnet {subnet} has active allocations and cannot be deleted."
            raise Rejected("InUsePrefixCannotBeDeleted", what)


def _prefixes(network: Asked) -> list[tuple[str, str]]:
    subnets = (network.body.get("properties") or {}).get("subnets") or ()
    return [(str(each.get("name")), str((each.get("properties") or {}).get("addressPrefix"))) for each in subnets]


def _get(asked: Asked, path: str) -> Any:
    found: Any = asked.body.get("properties") or {}
    for name in path.split("."):
        found = (found or {}).get(name)
    return found


def check_rule(asked: Asked) -> None:
    """Raises Rejected for an alert rule whose query is of more than one table."""
    properties = asked.body.get("properties") or {}
    for each in (properties.get("criteria") or {}).get("allOf") or ():
        query = _TEXTS.sub("", str(each.get("query") or ""))
        if found := _OPERATOR.search(query):
            raise Rejected("BadRequest", f"The query of an alert rule cannot use the operator '{found[1]}'.")
        source = query.strip().partition("|")[0].strip()
        if source not in _TABLES:
            raise Rejected("BadRequest", f"The query of an alert rule cannot read '{source}', which is no table.")


def check_setting(subscription: Subscription, asked: Asked) -> None:
    """Raises Rejected for a setting with a category that is not offered, or that goes to the same workspace already."""
    for category in _categories(asked):
        if category in subscription.faults.not_offered:
            raise Rejected("BadRequest", f"Category '{category}' is not supported.")
        for other in subscription.store.of(DIAGNOSTICS):
            same = other.id.lower() != asked.id.lower() and _flow(other) == _flow(asked)
            if same and category in _categories(other):
                what = (
                    f"Data sink '{_flow(asked)[1]}' is already used in diagnostic setting '{_name(other)}' for category"
                )
                why = "Data sinks can't be reused in different settings on the same category for the same resource."
                raise Rejected("Conflict", f"{what} '{category}'. {why}", 409)


def _flow(setting: Asked) -> tuple[str, str]:
    """The source and the target of a setting."""
    scope = setting.id.lower().rpartition("/providers/microsoft.insights/")[0]
    return scope, str((setting.body.get("properties") or {}).get("workspaceId")).lower()


def _categories(setting: Asked) -> Iterator[str]:
    logs: list[dict[str, Any]] = (setting.body.get("properties") or {}).get("logs") or []
    return (str(each.get("category")) for each in logs if each.get("enabled"))


def _name(setting: Asked) -> str:
    return setting.name.rpartition("/")[2]


def find(subscription: Subscription, resource: str) -> Document | None:
    """The resource with that id as Azure shows it."""
    asked = subscription.store.find(resource)
    if asked is not None:
        return catalog.document(subscription, asked)
    for app in subscription.apps():
        if documents.app_id(subscription, app).lower() == resource.lower():
            return documents.app(subscription, app)
    return None


def everything(subscription: Subscription, group: str | None = None) -> list[Document]:
    """All resources of a group, or of the subscription."""
    stored = [catalog.document(subscription, each) for each in subscription.store.all(group)]
    return stored + [documents.app(subscription, each) for each in subscription.apps(group)]


def listed(subscription: Subscription, group: str | None = None) -> list[Document]:
    """Those with a location, which children and extensions do not have: that is what ARM lists."""
    return [each for each in everything(subscription, group) if "location" in each]


def check(subscription: Subscription, asked: Asked, known: Callable[[str], Document | None]) -> None:
    """Raises Rejected for what Azure would refuse before it makes anything; ``known`` finds what exists by then."""
    kind = catalog.canonical(asked.kind)
    catalog.check_registered(subscription, kind)
    for parent in ancestors(asked):
        if known(parent) is None:
            what = f"Can not perform requested operation on nested resource. Parent resource '{parent}' not found."
            raise Rejected("ParentResourceNotFound", what, 404)
    for other in subscription.store.of(kind) if kind in _ONE_OF else ():
        if other.id.lower() != asked.id.lower():
            raise Rejected("NotOnTheStage", f"the stage has one resource of type {kind}, and that is {other.id}", 409)
    check_unchanged(subscription, kind, asked, asked_before(subscription, asked))
    if kind == ACCOUNTS:
        accounts.check_account(subscription, asked)
    elif kind == accounts.DEPLOYMENTS_OF_MODELS:
        account = known(next(iter(ancestors(asked)))) or {}
        accounts.check_deployment(asked, account)
        accounts.check_quota(subscription, asked, str(account.get("location")))
    elif kind == ROLE_ASSIGNMENTS:
        roles.check_assignment(subscription, asked)
    elif kind == ALERT_RULES:
        check_rule(asked)


def asked_before(subscription: Subscription, asked: Asked) -> Asked | None:
    """The last request for the resource that is asked for now."""
    if asked.kind.lower() != APPS.lower():
        return subscription.store.find(asked.id)
    app = subscription.find(asked.group, asked.name)
    if app is None:
        return None
    fields = subscription.resource(app.name).fields
    return Asked(asked.id, APPS, app.name, asked.group, {**fields, "properties": app.properties})


async def make(subscription: Subscription, asked: Asked) -> Document:
    """Makes the resource; returns it as it is then. Raises Rejected."""
    check(subscription, asked, lambda resource: find(subscription, resource))
    kind = catalog.canonical(asked.kind)
    if kind == APPS:
        operation = await apps.write(subscription, asked.group, asked.name, asked.body)
        await operation.ended.wait()
        if operation.error is not None:
            raise Rejected(operation.error["code"], operation.error["message"], 409)
        return documents.app(subscription, subscription.app(asked.group, asked.name))
    subscription.faults.check(kind)
    if kind == DIAGNOSTICS:
        # Azure checks this only when it writes.
        check_setting(subscription, asked)
    subscription.store.put(dataclasses.replace(asked, kind=kind))
    if kind == ACCOUNTS:
        accounts.restored(subscription, asked)
    elif kind == accounts.DEPLOYMENTS_OF_MODELS:
        accounts.deployed(subscription)
    elif kind == roles.SHARES:
        roles.make_share(asked, subscription.timeline.parent)
    elif kind in _OF_THE_WAY_IN:
        for gateway in subscription.store.of(GATEWAYS):
            domain = subscription.environment.domain
            await subscription.environment.set_gateway(gateways.read(gateway, domain, subscription.store))
    return catalog.document(subscription, asked)


async def unmake(subscription: Subscription, group: str) -> None:
    """Deletes all that is in a group. A model account can be restored until it is purged."""
    for app in subscription.apps(group):
        await subscription.environment.delete(app.name)
        subscription.forget(app.name)
    gone = subscription.store.remove_group(group)
    accounts.hold(subscription, gone)
    for asked in gone:
        if asked.kind == ACCOUNTS:
            subscription.deleted.append(asked)
        elif asked.kind == accounts.DEPLOYMENTS_OF_MODELS:
            accounts.deployed(subscription)
        elif asked.kind == REGISTRIES:
            subscription.registry.clear()
        elif asked.kind == GATEWAYS:
            await subscription.environment.set_gateway(None)


def group_document(subscription: Subscription, name: str) -> dict[str, Any]:
    return {
        "id": group_id(name),
        "name": name,
        "type": "Microsoft.Resources/resourceGroups",
        **subscription.groups[name],
        "properties": {"provisioningState": "Succeeded"},
    }


async def list_groups(subscription: Subscription, request: web.Request) -> web.Response:
    return web.json_response({"value": [group_document(subscription, name) for name in subscription.groups]})


async def show_group(subscription: Subscription, request: web.Request, group: str) -> web.Response:
    _check_rights(subscription, group)
    return web.json_response(group_document(subscription, subscription.group(group)))


async def group_exists(subscription: Subscription, request: web.Request, group: str) -> web.Response:
    _check_rights(subscription, group)
    subscription.group(group)
    return web.Response(status=204)


def _check_rights(subscription: Subscription, group: str) -> None:
    """A caller with rights on groups only has none on a group that does not exist: they were deleted with it."""
    known = any(name.lower() == group.lower() for name in subscription.groups)
    if not known and subscription.faults.refuses("subscription"):
        raise denied("Microsoft.Resources/subscriptions/resourceGroups/read", group_id(group))


async def put_group(subscription: Subscription, request: web.Request, group: str) -> web.Response:
    body = await read_body(request)
    name = next((known for known in subscription.groups if known.lower() == group.lower()), group)
    location = catalog.plain_region(body.get("location", LOCATION))
    catalog.check_region(location)
    known = subscription.groups.get(name)
    if known is None and subscription.faults.refuses("subscription"):
        raise denied("Microsoft.Resources/subscriptions/resourceGroups/write", group_id(group))
    if known is not None and known["location"] != location:
        what = f"Invalid resource group location '{location}'. The Resource group already exists in location"
        raise Rejected("InvalidResourceGroupLocation", f"{what} '{known['location']}'.", 409)
    subscription.check_stays(name)
    subscription.groups[name] = {"location": location, "tags": body.get("tags") or {}}
    return web.json_response(group_document(subscription, name), status=201 if known is None else 200)


async def delete_group(subscription: Subscription, request: web.Request, group: str) -> web.Response:
    name = subscription.group(group)
    operation = subscription.leaving.get(name)
    if operation is None:
        operation = subscription.leaving[name] = subscription.operations.start(_deleted(subscription, name))
    return web.Response(status=202, headers=subscription.operations.location(operation))


async def _deleted(subscription: Subscription, group: str) -> None:
    await unmake(subscription, group)
    for deployed in [key for key in subscription.deployments if key[0] == group]:
        del subscription.deployments[deployed]
    del subscription.groups[group], subscription.leaving[group]


async def list_resources(subscription: Subscription, request: web.Request, group: str | None = None) -> web.Response:
    """`$filter` as az writes it: terms of `name`, `resourceType` and `resourceGroup`, all of which must hold."""
    wanted = re.findall(r"(\w+) eq '([^']*)'", request.query.get("$filter", ""))
    here = None if group is None else subscription.group(group)
    fields = ("id", "name", "type", "location", "tags", "kind", "sku", "identity")
    found = [
        {field: each[field] for field in fields if field in each}
        for each in listed(subscription, here)
        if all(_holds(each, *term) for term in wanted)
    ]
    return web.json_response({"value": found})


def _holds(resource: dict[str, Any], field: str, value: str) -> bool:
    actual: dict[str, str] = {
        "name": resource["name"],
        "resourceType": resource["type"],
        "resourceGroup": group_of(resource["id"]),
    }
    if field not in actual:
        raise Rejected("InvalidFilter", f"the stage cannot filter resources by {field}")
    return actual[field].lower() == value.lower()


async def show_anything(
    subscription: Subscription, request: web.Request, path: str, group: str | None = None
) -> web.Response:
    """One resource, or all of a type in one place: for types that have no handler of their own."""
    namespace, *words = path.split("/")
    kind = "/".join((namespace, *words[::2])).lower()
    if kind not in (known.lower() for known in TYPES):
        raise Rejected("NotOnTheStage", f"the stage has no {request.method} {request.path}", 404)
    here = None if group is None else subscription.group(group)
    if len(words) % 2:
        above = "/".join((namespace, *words[:-1])).lower()
        found = [each for each in everything(subscription, here) if each["type"].lower() == kind]
        return web.json_response({"value": [each for each in found if f"/providers/{above}/" in each["id"].lower()]})
    one = find(subscription, request.path.rstrip("/"))
    if one is None:
        what = f"The Resource '{path}' under resource group '{group}' was not found."
        raise Rejected("ResourceNotFound", what, 404)
    return web.json_response(one)


ROUTES: tuple[Route, ...] = (
    ("GET", f"{ANY_SUBSCRIPTION}/resourceGroups", list_groups),
    ("GET", ANY_GROUP, show_group),
    ("HEAD", ANY_GROUP, group_exists),
    ("PUT", ANY_GROUP, put_group),
    ("DELETE", ANY_GROUP, delete_group),
    ("GET", f"{ANY_SUBSCRIPTION}/resources", list_resources),
    ("GET", f"{ANY_GROUP}/resources", list_resources),
)
REST: tuple[Route, ...] = (
    ("GET", f"{ANY_GROUP}/providers/(?P<path>\\S+)", show_anything),
    ("GET", f"{ANY_SUBSCRIPTION}/providers/(?P<path>\\S+)", show_anything),
)
"""To be looked at last."""
