"""Resource groups, the list of what is in them, and any one resource by its type and name."""

import re
from typing import Any

from aiohttp import web

from stage.arm import inventory, regions
from stage.arm.body import read
from stage.arm.catalog import TYPES
from stage.arm.ids import LOCATION, group_id, group_of
from stage.arm.rights import denied
from stage.arm.routes import ANY_GROUP, ANY_SUBSCRIPTION, Route
from stage.arm.subscription import Subscription
from stage.platform import Rejected


def document(subscription: Subscription, name: str) -> dict[str, Any]:
    return {
        "id": group_id(name),
        "name": name,
        "type": "Microsoft.Resources/resourceGroups",
        **subscription.groups[name],
        "properties": {"provisioningState": "Succeeded"},
    }


async def listed(subscription: Subscription, request: web.Request) -> web.Response:
    return web.json_response({"value": [document(subscription, name) for name in subscription.groups]})


async def show(subscription: Subscription, request: web.Request, group: str) -> web.Response:
    _check_rights(subscription, group)
    return web.json_response(document(subscription, subscription.group(group)))


async def exists(subscription: Subscription, request: web.Request, group: str) -> web.Response:
    _check_rights(subscription, group)
    subscription.group(group)
    return web.Response(status=204)


def _check_rights(subscription: Subscription, group: str) -> None:
    """Who has rights on groups only has none on one that does not exist: they went with it."""
    known = any(name.lower() == group.lower() for name in subscription.groups)
    if not known and subscription.faults.refuses("subscription"):
        raise denied("Microsoft.Resources/subscriptions/resourceGroups/read", group_id(group))


async def put(subscription: Subscription, request: web.Request, group: str) -> web.Response:
    body = await read(request)
    name = next((known for known in subscription.groups if known.lower() == group.lower()), group)
    location = regions.plain(body.get("location", LOCATION))
    regions.check(location)
    known = subscription.groups.get(name)
    if known is None and subscription.faults.refuses("subscription"):
        raise denied("Microsoft.Resources/subscriptions/resourceGroups/write", group_id(group))
    if known is not None and known["location"] != location:
        what = f"Invalid resource group location '{location}'. The Resource group already exists in location"
        raise Rejected("InvalidResourceGroupLocation", f"{what} '{known['location']}'.", 409)
    subscription.check_stays(name)
    subscription.groups[name] = {"location": location, "tags": body.get("tags") or {}}
    return web.json_response(document(subscription, name), status=201 if known is None else 200)


async def delete(subscription: Subscription, request: web.Request, group: str) -> web.Response:
    name = subscription.group(group)
    operation = subscription.leaving.get(name)
    if operation is None:
        operation = subscription.leaving[name] = subscription.operations.start(_deleted(subscription, name))
    return web.Response(status=202, headers=subscription.operations.location(operation))


async def _deleted(subscription: Subscription, group: str) -> None:
    await inventory.unmake(subscription, group)
    for deployed in [key for key in subscription.deployments if key[0] == group]:
        del subscription.deployments[deployed]
    del subscription.groups[group], subscription.leaving[group]


async def resources(subscription: Subscription, request: web.Request, group: str | None = None) -> web.Response:
    """`$filter` as az writes it: terms of `name`, `resourceType` and `resourceGroup`, all of which must hold."""
    wanted = re.findall(r"(\w+) eq '([^']*)'", request.query.get("$filter", ""))
    here = None if group is None else subscription.group(group)
    fields = ("id", "name", "type", "location", "tags", "kind", "sku", "identity")
    found = [
        {field: each[field] for field in fields if field in each}
        for each in inventory.listed(subscription, here)
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


async def anything(
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
        found = [each for each in inventory.everything(subscription, here) if each["type"].lower() == kind]
        return web.json_response({"value": [each for each in found if f"/providers/{above}/" in each["id"].lower()]})
    one = inventory.find(subscription, request.path.rstrip("/"))
    if one is None:
        what = f"The Resource '{path}' under resource group '{group}' was not found."
        raise Rejected("ResourceNotFound", what, 404)
    return web.json_response(one)


ROUTES: tuple[Route, ...] = (
    ("GET", f"{ANY_SUBSCRIPTION}/resourceGroups", listed),
    ("GET", ANY_GROUP, show),
    ("HEAD", ANY_GROUP, exists),
    ("PUT", ANY_GROUP, put),
    ("DELETE", ANY_GROUP, delete),
    ("GET", f"{ANY_SUBSCRIPTION}/resources", resources),
    ("GET", f"{ANY_GROUP}/resources", resources),
)
REST: tuple[Route, ...] = (
    ("GET", f"{ANY_GROUP}/providers/(?P<path>\\S+)", anything),
    ("GET", f"{ANY_SUBSCRIPTION}/providers/(?P<path>\\S+)", anything),
)
"""To be looked at last."""
