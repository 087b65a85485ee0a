"""Where a caller asks after an operation, in both of ARM's protocols."""

from typing import Any

from aiohttp import web

from stage.arm.operations import PACE, PATH
from stage.arm.routes import Route
from stage.arm.subscription import Subscription


async def status(subscription: Subscription, request: web.Request, operation: str, location: str) -> web.Response:
    found = subscription.operations.find(operation)
    document: dict[str, Any] = {
        "id": request.path,
        "name": found.name,
        "status": found.status,
        "startTime": found.started.isoformat(),
    }
    if found.error is not None:
        document["error"] = found.error
    if found.status == "Succeeded":
        document |= found.result
    return web.json_response(document, headers=PACE)


async def result(subscription: Subscription, request: web.Request, operation: str, location: str) -> web.Response:
    found = subscription.operations.find(operation)
    if found.status == "InProgress":
        return web.Response(status=202, headers=subscription.operations.location(found))
    if found.error is not None:
        return web.json_response({"error": found.error}, status=409)
    return web.json_response(found.result)


ROUTES: tuple[Route, ...] = (
    ("GET", f"{PATH}/operationStatuses/{{operation}}", status),
    ("GET", f"{PATH}/operationResults/{{operation}}", result),
)
