"""Who gets in. A refusal is an HTTP answer before the upgrade, in Azure's words, but for two that follow the 101.

A caller names a deployment, or says `intent=transcription` (the model then comes by `session.update`), or names a
`call_id` to listen to a call that came by WebRTC or SIP: here every `rtc_...` is one, with nobody on the line.
"""

import re
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

_CALL_ID = re.compile(r"rtc_\w{1,64}")
_INTENTS = ("realtime", "transcription")

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
    # A model that has retired answers so, or with the 404 above.
    410: ("ModelRetired", "The model of this deployment has retired and is not available any more."),
    429: ("429", "Requests to the realtime API have exceeded the limit of your deployment. Please retry later."),
    500: ("InternalServerError", "The server had an error while processing your request."),
}
REFUSABLE = tuple(_REFUSALS)


@dataclass(frozen=True)
class LateRefusal:
    """What a caller is told after the 101: an `error` of this code, then Close."""

    code: int
    error: str
    message: str


# The service's own closes after a 101, by code; the first is what the code mostly means.
LATE_REFUSALS: Mapping[int, LateRefusal] = {
    3000: LateRefusal(3000, "invalid_api_key", "Incorrect API key provided."),
    4000: LateRefusal(4000, "missing_model", "You must provide a model parameter."),
}
_BETA = LateRefusal(4000, "beta_api_shape_disabled", "The Realtime Beta API is no longer supported. Use the GA API.")


@dataclass(frozen=True)
class Welcome:
    """How a caller that is let in begins its call."""

    authenticated_by: str
    only_transcribes: bool
    refused_late: LateRefusal | None


def welcome(request: web.Request, door: Door, options: Options, proof: str) -> Welcome:
    """For a caller that `turned_away` did not turn away."""
    sends_beta = door.dialect is GA and "OpenAI-Beta" in request.headers and options.unverified.beta_header_closes
    late = LATE_REFUSALS[options.refuse_after_101] if options.refuse_after_101 else _BETA if sends_beta else None
    return Welcome(proof, request.query.get("intent") == "transcription", late)


def refusal(
    status: int, retry_after: float | None = None, *, code: str | None = None, message: str | None = None
) -> web.Response:
    known_code, known_message = _REFUSALS[status]
    if status == 429 and retry_after is None:
        retry_after = _RETRY_AFTER_S
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    error = {"code": code or known_code, "message": message or known_message}
    return web.json_response({"error": error}, status=status, headers=headers)


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
    if refused := _asked_in_vain(request, door, options):
        return refused
    if request.headers.get("Upgrade", "").lower() != "websocket":
        return refusal(400)
    if options.max_sessions is not None and live >= options.max_sessions:
        return refusal(429)
    return None


def _asked_in_vain(request: web.Request, door: Door, options: Options) -> web.Response | None:
    model, intent, call_id = (request.query.get(name) for name in (door.deployment, "intent", "call_id"))
    if intent is not None and intent not in _INTENTS:
        return refusal(400, code="invalid_value", message="Invalid value for 'intent'.")
    if door.versioned and (intent == "transcription" or call_id is not None):
        return refusal(400, code="invalid_value", message="Not served on the preview URL of this stage.")
    if call_id is not None and not _CALL_ID.fullmatch(call_id):
        return refusal(404, code="call_id_not_found", message="No call has this 'call_id'.")
    if call_id is not None and intent == "transcription":
        return refusal(400, code="invalid_value", message="Give one of 'model', 'intent' and 'call_id'.")
    if intent == "transcription" and model is not None and not options.unverified.transcription_may_name_a_model:
        return refusal(400, code="invalid_value", message="Give one of 'model', 'intent' and 'call_id'.")
    needs_none = intent == "transcription" or call_id is not None
    return None if options.serves(model) or (model is None and needs_none) else refusal(404)


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
