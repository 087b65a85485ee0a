"""Container apps: what is asked of them, and the operation that follows until the new revision stands or fell."""

import asyncio
from collections.abc import Awaitable, Collection
from typing import Any

from aiohttp import web

from stage.arm import documents, merge, outside, roles
from stage.arm.body import read
from stage.arm.ids import APPS
from stage.arm.operations import Operation
from stage.arm.routes import ANY_GROUP, ANY_SUBSCRIPTION, Route
from stage.arm.subscription import Subscription
from stage.platform import App, Rejected

APP = f"{ANY_GROUP}/providers/{APPS}/{{app}}"
_FIELDS = ("location", "tags", "identity")
# At least, for a write: on Azure it is seconds, in which the app takes no other.
_WRITE_S = 0.2


async def listed(subscription: Subscription, request: web.Request, group: str | None = None) -> web.Response:
    found = [documents.app(subscription, app) for app in subscription.apps(group)]
    return web.json_response({"value": found})


async def show(subscription: Subscription, request: web.Request, group: str, app: str) -> web.Response:
    return web.json_response(documents.app(subscription, subscription.app(group, app)))


async def put(subscription: Subscription, request: web.Request, group: str, app: str) -> web.Response:
    operation = await write(subscription, group, app, await read(request))
    document = documents.app(subscription, subscription.app(group, app)) if subscription.find(group, app) else {}
    return web.json_response(document, status=201, headers=subscription.operations.headers(operation))


async def patch(subscription: Subscription, request: web.Request, group: str, app: str) -> web.Response:
    body = await read(request)
    target = subscription.app(group, app)
    with subscription.operations.alone(target.name) as goes_on:
        if subscription.faults.pending:
            operation = goes_on(subscription.operations.start(subscription.faults.strike()))
        else:
            before = set(target.revisions)
            fields = merge.merge_patch(subscription.resource(target.name).fields, body)
            properties = merge.patched(body.get("properties") or {}, target.properties)
            roles.check_pull(subscription, fields, properties)
            outside.check_secrets(subscription, fields, properties)
            await _having(subscription, target.name, group, fields, target.update(properties))
            operation = goes_on(subscription.operations.start(_provisioned(target, before)))
    return web.Response(status=202, headers=subscription.operations.headers(operation))


async def delete(subscription: Subscription, request: web.Request, group: str, app: str) -> web.Response:
    target = subscription.find(group, app)
    if target is None:
        return web.Response(status=204)
    with subscription.operations.alone(target.name) as goes_on:
        operation = goes_on(subscription.operations.start(_deleted(subscription, target.name)))
    return web.Response(status=202, headers=subscription.operations.location(operation))


async def list_secrets(subscription: Subscription, request: web.Request, group: str, app: str) -> web.Response:
    secrets = subscription.app(group, app).properties.get("configuration", {}).get("secrets", [])
    return web.json_response({"value": secrets})


async def auth_token(subscription: Subscription, request: web.Request, group: str, app: str) -> web.Response:
    subscription.app(group, app)
    return web.json_response({"properties": {"token": subscription.stream_token}})


async def write(subscription: Subscription, group: str, name: str, body: dict[str, Any]) -> Operation:
    """Creates the app, or replaces it wholly. Raises Rejected before anything changed."""
    group = subscription.group(group)
    subscription.check_stays(group)
    asked = body.get("properties") or {}
    _check_environment(subscription, asked)
    current = subscription.find(group, name)
    name = current.name if current is not None else name
    with subscription.operations.alone(name) as goes_on:
        if subscription.faults.pending:
            return goes_on(subscription.operations.start(subscription.faults.strike()))
        before = set(current.revisions) if current is not None else ()
        properties = merge.created(asked, current.properties if current else {})
        roles.check_pull(subscription, body, properties)
        outside.check_secrets(subscription, body, properties)
        await _having(subscription, name, group, body, subscription.environment.put(name, properties))
        return goes_on(subscription.operations.start(_provisioned(subscription.environment.apps[name], before)))


async def _having(
    subscription: Subscription, app: str, group: str, body: dict[str, Any], change: Awaitable[object]
) -> None:
    """Makes the change of an app, which has its group and its identity while its replicas start."""
    resource = subscription.resource(app)
    before = (resource.group, resource.fields)
    resource.group = subscription.group(group)
    resource.fields = _fields(body)
    try:
        await change
    except Rejected:
        resource.group, resource.fields = before
        raise


def _fields(body: dict[str, Any]) -> dict[str, Any]:
    """What of a body the platform has no use for, without what Azure itself says of an identity."""
    fields = {name: body[name] for name in _FIELDS if body.get(name) is not None}
    if assigned := fields.get("identity", {}).get("userAssignedIdentities"):
        fields["identity"] = {**fields["identity"], "userAssignedIdentities": {each: {} for each in assigned}}
    return fields


def _check_environment(subscription: Subscription, asked: dict[str, Any]) -> None:
    ours = subscription.environment_id()
    for name in ("managedEnvironmentId", "environmentId"):
        if str(asked.get(name) or ours).lower() != ours.lower():
            raise Rejected("InvalidManagedEnvironment", f"{name}: the stage has one environment: {ours}")


async def _provisioned(app: App, before: Collection[str]) -> None:
    """Ends when the revision that a change made, if any, is provisioned; not when an old one is gone."""
    await asyncio.sleep(_WRITE_S)
    made = [revision for name, revision in app.revisions.items() if name not in before]
    for revision in made:
        await revision.settled()
        if revision.provisioning_state == "Failed":
            why = revision.provisioning_error or "the revision did not become ready"
            what = f"Failed to provision revision '{revision.name}' for container app '{app.name}'"
            raise Rejected("ContainerAppOperationError", f"{what}. Error details: {why}", 409)


async def _deleted(subscription: Subscription, app: str) -> None:
    await subscription.environment.delete(app)
    subscription.forget(app)


ROUTES: tuple[Route, ...] = (
    ("GET", f"{ANY_SUBSCRIPTION}/providers/{APPS}", listed),
    ("GET", f"{ANY_GROUP}/providers/{APPS}", listed),
    ("GET", APP, show),
    ("PUT", APP, put),
    ("PATCH", APP, patch),
    ("DELETE", APP, delete),
    ("POST", f"{APP}/listSecrets", list_secrets),
    ("POST", f"{APP}/getAuthToken", auth_token),
)
