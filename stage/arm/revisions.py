"""Revisions and replicas, and the verbs of revisions."""

from aiohttp import web

from stage.arm import documents
from stage.arm.apps import APP
from stage.arm.routes import Route
from stage.arm.subscription import Subscription
from stage.platform import Rejected

REVISION = f"{APP}/revisions/{{revision}}"


async def listed(subscription: Subscription, request: web.Request, group: str, app: str) -> web.Response:
    found = subscription.app(group, app)
    value = [documents.revision(subscription, found, revision) for revision in found.revisions.values()]
    return web.json_response({"value": value})


async def show(subscription: Subscription, request: web.Request, group: str, app: str, revision: str) -> web.Response:
    found = subscription.revision(group, app, revision)
    return web.json_response(documents.revision(subscription, subscription.app(group, app), found))


async def act(
    subscription: Subscription, request: web.Request, group: str, app: str, revision: str, verb: str
) -> web.Response:
    found = subscription.app(group, app)
    name = subscription.revision(group, app, revision).name
    with subscription.operations.alone(found.name) as goes_on:
        match verb.lower():
            case "activate":
                await found.activate(name)
                goes_on(subscription.operations.start(found.revisions[name].settled()))
            case "deactivate":
                await found.deactivate(name)
            case _:
                await found.restart(name)
    return web.json_response("Success")  # az reads a body whatever it says


async def replicas(
    subscription: Subscription, request: web.Request, group: str, app: str, revision: str
) -> web.Response:
    found = subscription.revision(group, app, revision)
    if not found.lists_replicas:
        raise Rejected("ReplicasNotFound", f"No replica of revision '{revision}' was found.", 404)
    owner = subscription.app(group, app)
    value = [documents.replica(subscription, owner, found, replica) for replica in found.replicas]
    return web.json_response({"value": value})


async def replica(
    subscription: Subscription, request: web.Request, group: str, app: str, revision: str, replica: str
) -> web.Response:
    owner, found = subscription.app(group, app), subscription.revision(group, app, revision)
    for each in found.replicas:
        if each.name == replica:
            return web.json_response(documents.replica(subscription, owner, found, each))
    raise Rejected("ReplicaNotFound", f"Replica '{replica}' of revision '{revision}' was not found.", 404)


ROUTES: tuple[Route, ...] = (
    ("GET", f"{APP}/revisions", listed),
    ("GET", REVISION, show),
    ("POST", f"{REVISION}/(?P<verb>activate|deactivate|restart)", act),
    ("GET", f"{REVISION}/replicas", replicas),
    ("GET", f"{REVISION}/replicas/{{replica}}", replica),
)
