"""What a client's handshake says: whether it is one (RFC 6455 section 4.2.1), its credentials, its subprotocols."""

import base64
import binascii

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11

from rtproxy.refusal import Refused
from rtproxy.upgrade import OFFERED_CHARACTERS, offered, says_upgrade

KEY_PROTOCOL = "openai-insecure-api-key."
"""How a browser, which cannot set headers, hands its credential over: as an item of the subprotocol list."""


def check_upgrade(request: web.Request) -> None:
    """Raises Refused unless ``request`` asks for a WebSocket the way RFC 6455 section 4.2.1 wants it."""
    headers = request.headers
    # One word, as aiohttp's parser wants it: behind any other request it looks for the next one, not for frames.
    upgrade = headers.get(hdrs.UPGRADE, "")
    if not (upgrade.isascii() and upgrade.lower() == "websocket") or not says_upgrade(headers):
        raise Refused(426, "invalid_request_error", "upgrade_required", "This is a WebSocket: connect with ws or wss.")
    twice = any(len(headers.getall(name, [])) > 1 for name in (hdrs.SEC_WEBSOCKET_KEY, hdrs.SEC_WEBSOCKET_VERSION))
    if twice or request.body_exists or request.version != HttpVersion11:
        sound = "A WebSocket begins with a GET of HTTP/1.1 without a body, with one key and one version."
        raise Refused(400, "invalid_request_error", "bad_handshake", sound)
    if sum(map(len, headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, []))) > OFFERED_CHARACTERS:
        short = f"The subprotocols of a handshake have {OFFERED_CHARACTERS} characters in all."
        raise Refused(400, "invalid_request_error", "bad_handshake", short)
    if headers.get(hdrs.SEC_WEBSOCKET_VERSION) != "13":
        raise Refused(426, "invalid_request_error", "upgrade_required", "WebSocket version 13 is spoken here.")
    try:
        key = base64.b64decode(headers.get(hdrs.SEC_WEBSOCKET_KEY, ""), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 16:
        raise Refused(400, "invalid_request_error", "bad_handshake", "Sec-WebSocket-Key is not 16 bytes in base64.")


def credentials_of(request: web.Request) -> list[str]:
    """Whatever a client shows to be let in: a key, a ticket or a token; from its headers, never from its URL."""
    scheme, _, bearer = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    shown = [bearer.strip()] if scheme.lower() == "bearer" else []
    shown.append(request.headers.get("api-key", ""))
    shown += [item.removeprefix(KEY_PROTOCOL) for item in offered(request) if item.startswith(KEY_PROTOCOL)]
    return [credential for credential in shown if credential]
