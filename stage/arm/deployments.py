"""Template deployments to a resource group: validate, what-if, create, and what was deployed."""

import uuid
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from stage.arm import apps, documents, jsonc, merge, template, whatif
from stage.arm.ids import APPS, DEPLOYMENTS, LOCATION, resource_id
from stage.arm.routes import ANY_GROUP, Route
from stage.arm.subscription import Subscription
from stage.arm.template import Template
from stage.platform import Rejected

DEPLOYMENT = f"{ANY_GROUP}/providers/{DEPLOYMENTS}/{{deployment}}"


async def listed(subscription: Subscription, request: web.Request, group: str) -> web.Response:
    wanted = subscription.group(group)
    return web.json_response({"value": [each for (at, _), each in subscription.deployments.items() if at == wanted]})


async def show(subscription: Subscription, request: web.Request, group: str, deployment: str) -> web.Response:
    return web.json_response(_find(subscription, group, deployment))


async def validate(subscription: Subscription, request: web.Request, group: str, deployment: str) -> web.Response:
    deployed = await _evaluate(subscription, request, group)
    return web.json_response(_document(subscription.group(group), deployment, deployed, "Succeeded"))


async def what_if(subscription: Subscription, request: web.Request, group: str, deployment: str) -> web.Response:
    deployed = await _evaluate(subscription, request, group)
    changes = [_change(subscription, group, app) for app in deployed.apps]
    operation = subscription.operations.start(_nothing(), {"properties": {"changes": changes}})
    both = subscription.operations.headers(operation) | subscription.operations.location(operation)
    return web.Response(status=202, headers=both)


async def put(subscription: Subscription, request: web.Request, group: str, deployment: str) -> web.Response:
    deployed = await _evaluate(subscription, request, group)
    group = subscription.group(group)
    document = _document(group, deployment, deployed, "Running")
    subscription.deployments[group, deployment] = document
    operation = subscription.operations.start(_deploy(subscription, group, deployed, document))
    return web.json_response(document, status=201, headers=subscription.operations.headers(operation))


async def _deploy(subscription: Subscription, group: str, deployed: Template, document: dict[str, Any]) -> None:
    properties = document["properties"]
    try:
        for app in deployed.apps:
            operation = await apps.write(subscription, group, app["name"], app)
            await operation.ended.wait()
            if operation.error is not None:
                raise Rejected(operation.error["code"], operation.error["message"], 409)
    except Rejected as refusal:
        properties["provisioningState"] = "Failed"
        properties["error"] = {"code": refusal.code, "message": str(refusal)}
        raise
    properties["provisioningState"] = "Succeeded"
    properties["outputs"] = deployed.outputs


async def _evaluate(subscription: Subscription, request: web.Request, group: str) -> Template:
    subscription.group(group)
    body = jsonc.parse(await request.text())
    return template.evaluate(body.get("properties") or {})


async def _nothing() -> None:
    """A what-if is worked out before it is answered."""


def _change(subscription: Subscription, group: str, asked: dict[str, Any]) -> dict[str, Any]:
    found = subscription.find(group, asked["name"])
    stored = found.properties if found is not None else {}
    after = documents.without_secrets(merge.created(asked.get("properties") or {}, stored))
    before = None if found is None else {"properties": documents.without_secrets(merge.created(stored, stored))}
    return whatif.change(resource_id(group, APPS, asked["name"]), before, {"properties": after})


def _find(subscription: Subscription, group: str, deployment: str) -> dict[str, Any]:
    found = subscription.deployments.get((subscription.group(group), deployment))
    if found is None:
        raise Rejected("DeploymentNotFound", f"Deployment '{deployment}' could not be found.", 404)
    return found


def _document(group: str, name: str, deployed: Template, state: str) -> dict[str, Any]:
    return {
        "id": resource_id(group, DEPLOYMENTS, name),
        "name": name,
        "type": DEPLOYMENTS,
        "location": LOCATION,
        "properties": {
            "provisioningState": state,
            "mode": "Incremental",
            "timestamp": datetime.now(UTC).isoformat(),
            "duration": "PT0S",
            "correlationId": str(uuid.uuid4()),
            "parameters": deployed.parameters,
            "providers": [{"namespace": "Microsoft.App", "resourceTypes": [{"resourceType": "containerApps"}]}],
            "dependencies": [],
            "outputResources": [{"id": resource_id(group, APPS, app["name"])} for app in deployed.apps],
        },
    }


ROUTES: tuple[Route, ...] = (
    ("GET", f"{ANY_GROUP}/providers/{DEPLOYMENTS}", listed),
    ("GET", DEPLOYMENT, show),
    ("PUT", DEPLOYMENT, put),
    ("POST", f"{DEPLOYMENT}/validate", validate),
    ("POST", f"{DEPLOYMENT}/whatIf", what_if),
)
