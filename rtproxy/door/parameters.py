"""A call's URL parameters and its OpenAI-Safety-Identifier: each is passed on to the model, or refused by name."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from aiohttp import hdrs, web

from rtproxy.refusal import Refused, bad_request
from rtproxy.settings import Settings
from rtproxy.upgrade import path_of

GA_PATH, PREVIEW_PATH, OPENAI_PATH = "/openai/v1/realtime", "/openai/realtime", "/v1/realtime"
MODEL, DEPLOYMENT, VERSION, INTENT, CALL_ID = KNOWN = ("model", "deployment", "api-version", "intent", "call_id")
INTENTS = ("realtime", "transcription")
SAFETY_IDENTIFIER = "OpenAI-Safety-Identifier"
SAFETY_CHARACTERS = 128
NAME_CHARACTERS = 40
"""The most characters of an unknown parameter's name that a refusal quotes."""
_CALL = re.compile(r"[A-Za-z0-9._~:-]{1,128}")
_SETTING = "AZURE_OPENAI_API_VERSION"


class Parameters(NamedTuple):
    """The query and the headers of a dial, as far as they depend on the call."""

    query: Mapping[str, str]
    headers: Mapping[str, str]


def parameters_of(request: web.Request, settings: Settings) -> Parameters:
    """The parameters of ``request``.

    Raises Refused, with the name of a parameter that is not allowed, never with its value.
    """
    query = request.query
    for name in query:
        if name not in KNOWN:
            raise bad_request("unknown_parameter", f"{_shown(name, request)} is unknown. Known are {', '.join(KNOWN)}.")
        if len(query.getall(name)) > 1:
            raise bad_request("repeated_parameter", f"The parameter {name} may occur only once.")
    if {query.get(MODEL), query.get(DEPLOYMENT)} - {settings.deployment, "", None}:
        only = f"This relay serves the model {settings.deployment!r} only."
        raise Refused(404, "invalid_request_error", "model_not_found", only)
    intent, call = query.get(INTENT), query.get(CALL_ID)
    if intent is not None and intent not in INTENTS:
        raise bad_request("invalid_parameter", f"The parameter intent takes {' or '.join(INTENTS)}.")
    if call is not None and not _CALL.fullmatch(call):
        raise bad_request("invalid_parameter", "The parameter call_id takes 1 to 128 letters, digits and . _ ~ : -")
    if settings.api_version is None:
        upstream_query = _ga(request, settings.deployment)
    else:
        upstream_query = _preview(request, settings.deployment, settings.api_version)
    upstream_query |= {INTENT: intent} if intent is not None else {}
    upstream_query |= {CALL_ID: call} if call is not None else {}
    return Parameters(upstream_query, _safety_identifier(request))


def _ga(request: web.Request, deployment: str) -> dict[str, str]:
    query = request.query
    if query.get(VERSION, "v1") != "v1" or (path_of(request) == PREVIEW_PATH and DEPLOYMENT in query):
        raise bad_request(
            "wrong_api_version",
            f"This relay speaks the GA protocol: call {GA_PATH}?{MODEL}={deployment} without a dated {VERSION}, or set "
            f"{_SETTING} at the relay.",
        )
    # A transcription, or an existing call, is named in the place of a model, not beside it.
    no_model = query.get(INTENT) == "transcription" or CALL_ID in query
    return {} if no_model and not (query.get(MODEL) or query.get(DEPLOYMENT)) else {MODEL: deployment}


def _preview(request: web.Request, deployment: str, version: str) -> dict[str, str]:
    query, path = request.query, path_of(request)
    # An OpenAI SDK of the GA protocol sends a model; one of the preview sends beta, or Azure's parameters.
    ga = path == OPENAI_PATH and MODEL in query and not {VERSION, DEPLOYMENT} & query.keys() and not _beta(request)
    if ga or path == GA_PATH or CALL_ID in query or query.get(VERSION, version) != version:
        raise bad_request(
            "wrong_api_version",
            f"This relay speaks the preview protocol, {version}: call {PREVIEW_PATH}?{VERSION}={version}&{DEPLOYMENT}="
            f"{deployment}, or leave {_SETTING} of the relay unset for GA.",
        )
    return {VERSION: version, DEPLOYMENT: deployment}


def _beta(request: web.Request) -> bool:
    offered = ",".join(request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, []))
    return "realtime=v1" in request.headers.get("OpenAI-Beta", "") or "openai-beta.realtime-v1" in offered


def _safety_identifier(request: web.Request) -> dict[str, str]:
    values = request.headers.getall(SAFETY_IDENTIFIER, [])
    value = "".join(values)
    if len(values) > 1 or len(value) > SAFETY_CHARACTERS or not (value.isascii() and value.isprintable()):
        accepted = f"one value of at most {SAFETY_CHARACTERS} printable ASCII characters"
        raise bad_request("invalid_safety_identifier", f"The header {SAFETY_IDENTIFIER} takes {accepted}.")
    return {SAFETY_IDENTIFIER: value} if value else {}


def _shown(name: str, request: web.Request) -> str:
    """The name of a parameter, cut and printable."""
    raw = request.rel_url.raw_query_string
    # A part without "=" may be a value, and a secret.
    if any(part and "=" not in part for part in raw.split("&")) and not request.query[name]:
        return "A parameter without a value"
    return f"The parameter {name[:NAME_CHARACTERS].encode('ascii', 'replace').decode()!r}"
