"""Template deployments to a resource group: validate, what-if, create, and what was deployed."""

from typing import Any

from aiohttp import web

from stage.arm import jsonc, template
from stage.arm.ids import DEPLOYMENTS
from stage.arm.routes import ANY_GROUP, Route
from stage.arm.subscription import Subscription
from stage.arm.visitors import Creation, Prediction, deployment
from stage.platform import Rejected

DEPLOYMENT = f"{ANY_GROUP}/providers/{DEPLOYMENTS}/{{name}}"


async def listed(subscription: Subscription, request: web.Request, group: str) -> web.Response:
    wanted = subscription.group(group)
    return web.json_response({"value": [each for (at, _), each in subscription.deployments.items() if at == wanted]})


async def show(subscription: Subscription, request: web.Request, group: str, name: str) -> web.Response:
    found = subscription.deployments.get((subscription.group(group), name))
    if found is None:
        raise Rejected("DeploymentNotFound", f"Deployment '{name}' could not be found.", 404)
    return web.json_response(found)


async def validate(subscription: Subscription, request: web.Request, group: str, name: str) -> web.Response:
    """az asks this before it writes, and what is refused here it can repeat: a refused write makes it choke."""
    prediction, _ = await _predict(subscription, request, group, name)
    _check_over(subscription, group, name)
    return web.json_response(deployment(prediction.scopes[0], "Succeeded"))


async def what_if(subscription: Subscription, request: web.Request, group: str, name: str) -> web.Response:
    """What is wrong with the template is the end of the operation: az chokes on a refusal here."""
    prediction = Prediction(subscription, group)
    properties = jsonc.parse(await request.text()).get("properties") or {}
    result: dict[str, Any] = {}
    operation = subscription.operations.start(_tell(prediction, properties, group, name, result), result)
    both = subscription.operations.headers(operation) | subscription.operations.location(operation)
    return web.Response(status=202, headers=both)


async def put(subscription: Subscription, request: web.Request, group: str, name: str) -> web.Response:
    """Refused as a whole, before anything changes, for whatever can be known by then."""
    prediction, properties = await _predict(subscription, request, group, name)
    _check_over(subscription, group, name)
    key = (subscription.group(group), name)
    subscription.check_stays(key[0])
    subscription.deployments[key] = document = deployment(prediction.scopes[0], "Running")
    operation = subscription.operations.start(_create(subscription, properties, *key))
    return web.json_response(document, status=201, headers=subscription.operations.headers(operation))


def _check_over(subscription: Subscription, group: str, name: str) -> None:
    """Raises Rejected while an earlier deployment of that name goes on."""
    earlier = subscription.deployments.get((subscription.group(group), name))
    if earlier is not None and earlier["properties"]["provisioningState"] == "Running":
        what = f"Unable to edit or replace deployment '{name}': previous deployment is still active."
        raise Rejected("DeploymentActive", what, 409)


async def _predict(
    subscription: Subscription, request: web.Request, group: str, name: str
) -> tuple[Prediction, dict[str, Any]]:
    properties = jsonc.parse(await request.text()).get("properties") or {}
    prediction = Prediction(subscription, group)
    await template.deploy(properties, group, name, prediction)
    return prediction, properties


async def _create(subscription: Subscription, properties: dict[str, Any], group: str, name: str) -> None:
    creation = Creation(subscription)
    error = {"code": "StageDefect", "message": "the stage failed; its log says where"}
    try:
        await template.deploy(properties, group, name, creation)
    except Rejected as refusal:
        error = {"code": refusal.code, "message": str(refusal)}
        raise
    finally:
        creation.ended_early(error)


async def _tell(
    prediction: Prediction, properties: dict[str, Any], group: str, name: str, result: dict[str, Any]
) -> None:
    await template.deploy(properties, group, name, prediction)
    result["properties"] = {"changes": prediction.told(), "diagnostics": prediction.diagnostics}


ROUTES: tuple[Route, ...] = (
    ("GET", f"{ANY_GROUP}/providers/{DEPLOYMENTS}", listed),
    ("GET", DEPLOYMENT, show),
    ("PUT", DEPLOYMENT, put),
    ("POST", f"{DEPLOYMENT}/validate", validate),
    ("POST", f"{DEPLOYMENT}/whatIf", what_if),
)
