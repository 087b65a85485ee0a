"""Which callers are accepted, and in which dialect of the protocol their call is held.

A refusal is an HTTP answer before the upgrade, in Azure's words; two refusals follow the 101. A caller names a
deployment, or asks for `intent=transcription` (the model then comes by `session.update`), or names a `call_id` to
listen to a call that came by WebRTC or SIP: here every `rtc_...` is such a call, and nobody speaks in it.

The model speaks GA. A dialect turns a client's event into GA, and a GA event into what its client expects: names,
content types, the shapes of session and response. Fields of the other dialect are refused, as the service does.
Preview's `conversation.item.created` is GA's `.added`; preview has no event for GA's `.done`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiohttp import web

from stage.gpt.options import PCM, Options
from stage.gpt.shapes import Event, Rejected, missing, require, unsupported

_EVENT_NAMES: Mapping[str, str] = {
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "conversation.item.added": "conversation.item.created",
}
_PART_NAMES: Mapping[str, str] = {"output_audio": "audio", "output_text": "text"}
_GA_PART_NAMES: Mapping[str, str] = {name: ga for ga, name in _PART_NAMES.items()}
_TEMPERATURE = 0.8
_KEY_SUBPROTOCOL = "openai-insecure-api-key."
_RETRY_AFTER_S = 10
ONLY_IN_GA = frozenset({"type", "audio", "output_modalities", "max_output_tokens", "reasoning", "parallel_tool_calls"})
_GA_FIELDS = ONLY_IN_GA | {"truncation", "prompt", "include"}
_SESSION_TYPES = ("realtime", "transcription")
_CALL_ID = re.compile(r"rtc_\w{1,64}")
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


def _modalities_to_ga(modalities: Any) -> Any:
    return ["audio"] if isinstance(modalities, list) and "audio" in modalities else modalities


def _modalities_from_ga(modalities: Any) -> Any:
    return ["text", "audio"] if modalities == ["audio"] else modalities


def _same(value: Any) -> Any:
    return value


def _detection_from_ga(detection: Any) -> Any:
    return detection and {name: value for name, value in detection.items() if name != "idle_timeout_ms"}


class _Field(NamedTuple):
    """Where GA has a preview field, and how to translate its value both ways."""

    path: tuple[str, ...]
    to_ga: Callable[[Any], Any] = _same
    from_ga: Callable[[Any], Any] = _same


def _audio_format(side: str) -> _Field:
    return _Field(("audio", side, "format"), lambda name: PCM if name == "pcm16" else name, lambda _: "pcm16")


_FIELDS: Mapping[str, _Field] = {
    "modalities": _Field(("output_modalities",), _modalities_to_ga, _modalities_from_ga),
    "voice": _Field(("audio", "output", "voice")),
    "speed": _Field(("audio", "output", "speed")),
    "input_audio_format": _audio_format("input"),
    "output_audio_format": _audio_format("output"),
    "input_audio_transcription": _Field(("audio", "input", "transcription")),
    "input_audio_noise_reduction": _Field(("audio", "input", "noise_reduction")),
    "turn_detection": _Field(("audio", "input", "turn_detection"), from_ga=_detection_from_ga),
    "max_response_output_tokens": _Field(("max_output_tokens",)),
}
ONLY_IN_PREVIEW = frozenset({*_FIELDS, "temperature"})


def to_ga(event: Event) -> Event:
    told = dict(event)
    for name, translate in (("session", _fields_to_ga), ("response", _fields_to_ga), ("item", _item_to_ga)):
        if isinstance(told.get(name), dict):
            told[name] = translate(told[name])
    return told


def from_ga(event: Event) -> Event | None:
    if event["type"] == "conversation.item.done":
        return None
    told = {**event, "type": _EVENT_NAMES.get(event["type"], event["type"])}
    for name, translate in (("session", _session), ("response", _response), ("item", _item)):
        if name in told:
            told[name] = translate(told[name])
    if told["type"] == "response.function_call_arguments.done":
        del told["name"]
    return told


def _fields_to_ga(fields: Event) -> Event:
    ga: Event = {name: value for name, value in fields.items() if name not in _FIELDS}
    for name, field in _FIELDS.items():
        if name in fields:
            place, (*outer, last) = ga, field.path
            for step in outer:
                place = place.setdefault(step, {})
            place[last] = field.to_ga(fields[name])
    return ga


def _session(session: Event) -> Event:
    told = {"temperature": _TEMPERATURE} | {name: it for name, it in session.items() if name not in _GA_FIELDS}
    for name, field in _FIELDS.items():
        value: Any = session
        for step in field.path:
            value = value[step]
        told[name] = field.from_ga(value)
    return told


def _response(response: Event) -> Event:
    told = {name: value for name, value in response.items() if name not in ("audio", "output_modalities")}
    return told | {
        "modalities": _modalities_from_ga(response["output_modalities"]),
        "output": [_item(item) for item in response["output"]],
        "voice": response["audio"]["output"]["voice"],
        "output_audio_format": "pcm16",
        "temperature": _TEMPERATURE,
    }


def _item(item: Event) -> Event:
    return _rename_parts({name: value for name, value in item.items() if name != "phase"}, _PART_NAMES)


def _item_to_ga(item: Event) -> Event:
    return _rename_parts(item, _GA_PART_NAMES)


def _rename_parts(item: Event, names: Mapping[str, str]) -> Event:
    if not isinstance(item.get("content"), list):
        return item
    parts = [
        part | {"type": names.get(str(part.get("type")), part.get("type"))} if isinstance(part, dict) else part
        for part in item["content"]
    ]
    return {**item, "content": parts}


@dataclass(frozen=True)
class Dialect:
    name: str
    incoming: Callable[[Event], Event]
    outgoing: Callable[[Event], Event | None]


def _ga_incoming(event: Event) -> Event:
    if event.get("type") == "session.update":
        session = require(event, "session", dict)
        if "type" not in session:
            raise missing("session.type")
        if session["type"] not in _SESSION_TYPES:
            raise unsupported("session.type", session["type"], _SESSION_TYPES)
        _refuse(session, ONLY_IN_PREVIEW, "session")
    elif event.get("type") == "response.create" and isinstance(response := event.get("response"), dict):
        _refuse(response, ONLY_IN_PREVIEW, "response")
    return event


def _preview_incoming(event: Event) -> Event:
    if event.get("type") == "session.update":
        session = require(event, "session", dict)
        _refuse(session, ONLY_IN_GA, "session")
        for index, tool in enumerate(session.get("tools") or ()):
            if isinstance(tool, dict) and tool.get("type") == "mcp":
                raise unsupported(f"session.tools[{index}].type", "mcp", ["function"])
    return to_ga(event)


def _refuse(fields: Event, names: frozenset[str], within: str) -> None:
    for name in fields:
        if name in names:
            raise Rejected("unknown_parameter", f"Unknown parameter: '{within}.{name}'.", f"{within}.{name}")


GA = Dialect("ga", _ga_incoming, lambda event: event)
PREVIEW = Dialect("preview", _preview_incoming, from_ga)


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


@dataclass(frozen=True)
class LateRefusal:
    """What a caller gets after the 101: an `error` of this code, then Close."""

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
    """How an accepted caller begins its call."""

    authenticated_by: str
    only_transcribes: bool
    refused_late: LateRefusal | None


def welcome(request: web.Request, door: Door, options: Options, proof: str) -> Welcome:
    """The welcome of a caller that `turned_away` did not refuse."""
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
    """The refusal for a caller that has authenticated, or None: it is accepted."""
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
    if intent is not None and intent not in _SESSION_TYPES:
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
