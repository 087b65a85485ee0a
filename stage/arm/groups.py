"""Resource groups, the list of what is in them, providers, and the environment."""

import re
from typing import Any

from aiohttp import web

from stage.arm import documents
from stage.arm.body import read
from stage.arm.ids import APPS, ENVIRONMENTS, GROUP, LOCATION, REGISTRIES, group_id, resource_id
from stage.arm.routes import ANY_GROUP, ANY_SUBSCRIPTION, Route
from stage.arm.subscription import Subscription
from stage.platform import Rejected

ENVIRONMENT = f"{ANY_GROUP}/providers/{ENVIRONMENTS}/{{environment}}"


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
    return web.json_response(document(subscription, subscription.group(group)))


async def exists(subscription: Subscription, request: web.Request, group: str) -> web.Response:
    subscription.group(group)
    return web.Response(status=204)


async def put(subscription: Subscription, request: web.Request, group: str) -> web.Response:
    body = await read(request)
    name = next((known for known in subscription.groups if known.lower() == group.lower()), group)
    status = 200 if name in subscription.groups else 201
    subscription.groups[name] = {"location": body.get("location", LOCATION), "tags": body.get("tags") or {}}
    return web.json_response(document(subscription, name), status=status)


async def delete(subscription: Subscription, request: web.Request, group: str) -> web.Response:
    name = subscription.group(group)
    operation = subscription.operations.start(_deleted(subscription, name))
    return web.Response(status=202, headers=subscription.operations.location(operation))


async def _deleted(subscription: Subscription, group: str) -> None:
    for app in subscription.apps(group):
        await subscription.environment.delete(app.name)
        subscription.forget(app.name)
    for deployed in [key for key in subscription.deployments if key[0] == group]:
        del subscription.deployments[deployed]
    del subscription.groups[group]


async def resources(subscription: Subscription, request: web.Request, group: str | None = None) -> web.Response:
    """`$filter` as az writes it: terms of `name`, `resourceType` and `resourceGroup`, all of which must hold."""
    wanted = re.findall(r"(\w+) eq '([^']*)'", request.query.get("$filter", ""))
    if group is not None:
        wanted.append(("resourceGroup", subscription.group(group)))
    found = [each for each in _resources(subscription) if all(_holds(each, *term) for term in wanted)]
    return web.json_response({"value": found})


def _resources(subscription: Subscription) -> list[dict[str, Any]]:
    # What stands from the start goes with its group.
    standing = [(GROUP, ENVIRONMENTS, subscription.environment.name), (GROUP, REGISTRIES, subscription.registry.name)]
    apps = [(subscription.resource(app.name).group, APPS, app.name) for app in subscription.apps()]
    return [
        {"id": resource_id(group, kind, name), "name": name, "type": kind, "location": LOCATION}
        for group, kind, name in standing + apps
        if group in subscription.groups
    ]


def _holds(resource: dict[str, Any], field: str, value: str) -> bool:
    actual: dict[str, str] = {
        "name": resource["name"],
        "resourceType": resource["type"],
        "resourceGroup": resource["id"].split("/")[4],
    }
    if field not in actual:
        raise Rejected("InvalidFilter", f"the stage cannot filter resources by {field}")
    return actual[field].lower() == value.lower()


async def provider(subscription: Subscription, request: web.Request, provider: str) -> web.Response:
    types = [{"resourceType": each, "locations": [LOCATION]} for each in ("containerApps", "managedEnvironments")]
    return web.json_response({"namespace": provider, "registrationState": "Registered", "resourceTypes": types})


async def environments(subscription: Subscription, request: web.Request, group: str | None = None) -> web.Response:
    here = group is None or subscription.group(group) == GROUP
    found = [documents.environment(subscription.environment, subscription.streams)] if here else []
    return web.json_response({"value": found})


async def environment(subscription: Subscription, request: web.Request, group: str, environment: str) -> web.Response:
    if (subscription.group(group), environment.lower()) != (GROUP, subscription.environment.name.lower()):
        what = f"The Resource '{ENVIRONMENTS}/{environment}' under resource group '{group}' was not found."
        raise Rejected("ResourceNotFound", what, 404)
    return web.json_response(documents.environment(subscription.environment, subscription.streams))


ROUTES: tuple[Route, ...] = (
    ("GET", f"{ANY_SUBSCRIPTION}/resourceGroups", listed),
    ("GET", ANY_GROUP, show),
    ("HEAD", ANY_GROUP, exists),
    ("PUT", ANY_GROUP, put),
    ("DELETE", ANY_GROUP, delete),
    ("GET", f"{ANY_SUBSCRIPTION}/resources", resources),
    ("GET", f"{ANY_GROUP}/resources", resources),
    ("GET", f"{ANY_SUBSCRIPTION}/providers/{{provider}}", provider),
    ("GET", f"{ANY_SUBSCRIPTION}/providers/{ENVIRONMENTS}", environments),
    ("GET", f"{ANY_GROUP}/providers/{ENVIRONMENTS}", environments),
    ("GET", ENVIRONMENT, environment),
)
