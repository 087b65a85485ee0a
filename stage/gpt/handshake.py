"""Who gets in. Every refusal is an HTTP answer before the upgrade, in Azure's words."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aiohttp import web

from stage.gpt.dialects import GA, PREVIEW, Dialect
from stage.gpt.options import Options

_KEY_SUBPROTOCOL = "openai-insecure-api-key."
_RETRY_AFTER_S = 10


@dataclass(frozen=True)
class Door:
    """A URL shape of the service: which dialect it speaks and which query parameter names the deployment."""

    dialect: Dialect
    deployment: str
    versioned: bool


DOORS: Mapping[str, Door] = {
    "/openai/v1/realtime": Door(GA, "model", versioned=False),
    "/v1/realtime": Door(GA, "model", versioned=False),
    "/openai/realtime": Door(PREVIEW, "deployment", versioned=True),
}

# status -> (code, message)
_REFUSALS: Mapping[int, tuple[str, str]] = {
    400: ("BadRequest", "This operation is only served over a WebSocket."),
    401: (
        "401",
        "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key "
        "for an active subscription and use a correct regional API endpoint for your resource.",
    ),
    404: (
        "DeploymentNotFound",
        "The API deployment for this resource does not exist. If you created the deployment within the last "
        "5 minutes, please wait a moment and try again.",
    ),
    429: ("429", "Requests to the realtime API have exceeded the limit of your deployment. Please retry later."),
    500: ("InternalServerError", "The server had an error while processing your request."),
}
REFUSABLE = tuple(_REFUSALS)


def refusal(status: int, retry_after: float | None = None) -> web.Response:
    code, message = _REFUSALS[status]
    if status == 429 and retry_after is None:
        retry_after = _RETRY_AFTER_S
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    return web.json_response({"error": {"code": code, "message": message}}, status=status, headers=headers)


def not_found() -> web.Response:
    return web.json_response({"error": {"code": "404", "message": "Resource not found"}}, status=404)


def authenticated_by(request: web.Request, options: Options) -> str | None:
    """How the caller proved itself, or None."""
    for way, secret in _credentials(request):
        if secret == options.key:
            return way
        if way == "bearer" and secret in options.tokens:
            return "bearer-token"
    return None


def turned_away(request: web.Request, door: Door, options: Options, live: int) -> web.Response | None:
    """The refusal for a caller that has authenticated, or None: let it in."""
    if ("api-version" in request.query) != door.versioned:
        return not_found() if door.versioned else refusal(401)
    if request.query.get(door.deployment) != options.model:
        return refusal(404)
    if request.headers.get("Upgrade", "").lower() != "websocket":
        return refusal(400)
    if options.max_sessions is not None and live >= options.max_sessions:
        return refusal(429)
    return None


def _credentials(request: web.Request) -> Iterator[tuple[str, str]]:
    if key := request.headers.get("api-key"):
        yield "api-key", key
    scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        yield "bearer", credential.strip()
    for name in offered_subprotocols(request):
        if name.startswith(_KEY_SUBPROTOCOL):
            yield "subprotocol", name.removeprefix(_KEY_SUBPROTOCOL)
    if key := request.query.get("api-key"):
        yield "api-key-query", key


def without_key_subprotocol(request: web.Request) -> web.Request:
    """`request` offering `realtime` or nothing: aiohttp logs the offers when none fits, and one may be a key."""
    headers = request.headers.copy()
    headers.popall("Sec-WebSocket-Protocol", None)
    if "realtime" in offered_subprotocols(request):
        headers["Sec-WebSocket-Protocol"] = "realtime"
    return request.clone(headers=headers)


def offered_subprotocols(request: web.Request) -> list[str]:
    offered = ",".join(request.headers.getall("Sec-WebSocket-Protocol", []))
    return [name.strip() for name in offered.split(",") if name.strip()]
