"""Checks a client's handshake (RFC 6455 section 4.2.1), and reads its credentials."""

import base64
import binascii

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11

from rtproxy.refusal import Refused
from rtproxy.upgrade import OFFERED_CHARACTERS, has_upgrade, offered

KEY_PROTOCOL = "openai-insecure-api-key."
"""A browser cannot set headers. It sends its credential as an item of the subprotocol list, with this prefix."""


def check_upgrade(request: web.Request) -> None:
    """Raises Refused unless ``request`` is a valid WebSocket handshake (RFC 6455 section 4.2.1)."""
    headers = request.headers
    # Only this one word: after any other request aiohttp's parser expects another request, not frames.
    upgrade = headers.get(hdrs.UPGRADE, "")
    if not (upgrade.isascii() and upgrade.lower() == "websocket") or not has_upgrade(headers):
        raise Refused(
            426,
            "invalid_request_error",
            "upgrade_required",
            "This path accepts only WebSockets: connect with ws or wss.",
        )
    twice = any(len(headers.getall(name, [])) > 1 for name in (hdrs.SEC_WEBSOCKET_KEY, hdrs.SEC_WEBSOCKET_VERSION))
    if twice or request.body_exists or request.version != HttpVersion11:
        sound = "A WebSocket handshake is an HTTP/1.1 GET without a body, with one key and one version."
        raise Refused(400, "invalid_request_error", "bad_handshake", sound)
    if sum(map(len, headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, []))) > OFFERED_CHARACTERS:
        short = f"The subprotocols of a handshake may have at most {OFFERED_CHARACTERS} characters."
        raise Refused(400, "invalid_request_error", "bad_handshake", short)
    if headers.get(hdrs.SEC_WEBSOCKET_VERSION) != "13":
        raise Refused(
            426, "invalid_request_error", "upgrade_required", "This relay supports only WebSocket version 13."
        )
    try:
        key = base64.b64decode(headers.get(hdrs.SEC_WEBSOCKET_KEY, ""), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 16:
        raise Refused(400, "invalid_request_error", "bad_handshake", "Sec-WebSocket-Key is not 16 bytes in base64.")


def credentials_of(request: web.Request) -> list[str]:
    """The credentials of a request, keys, tickets and tokens: from its headers, never from its URL."""
    scheme, _, bearer = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    shown = [bearer.strip()] if scheme.lower() == "bearer" else []
    shown.append(request.headers.get("api-key", ""))
    shown += [item.removeprefix(KEY_PROTOCOL) for item in offered(request) if item.startswith(KEY_PROTOCOL)]
    return [credential for credential in shown if credential]
