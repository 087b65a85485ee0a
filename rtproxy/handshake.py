"""What a client's handshake says: whether it is one (RFC 6455 section 4.2.1), its credentials, its subprotocols."""

import base64
import binascii
import re

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11

from rtproxy.handover import accept_of, says_upgrade
from rtproxy.refusal import Refused

KEY_PROTOCOL = "openai-insecure-api-key."
"""How a browser, which cannot set headers, hands its credential over: as an item of the subprotocol list."""
OFFERED, OFFERED_CHARACTERS = 16, 8190
"""So many subprotocols are looked at, and so long they may be together: as long as one line of a header."""
REALTIME = "realtime"
_ACCOUNTS = ("openai-organization.", "openai-project.")
"""OpenAI's SDKs offer these to OpenAI: they name an account there, which is no business of Azure's."""
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")


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


def path_of(request: web.Request) -> str:
    """The route of a call, one of CALL_ROUTES: a slash behind it changes nothing."""
    return request.path.rstrip("/")


def subprotocols_of(request: web.Request) -> list[str]:
    """The subprotocols a client offers that the model may see: well-formed, once each, no secret, no account's name."""
    return [
        item
        for item in dict.fromkeys(_offered(request))
        if _TOKEN.fullmatch(item) and "key." not in item.lower() and not item.lower().startswith(_ACCOUNTS)
    ]


def credentials_of(request: web.Request) -> list[str]:
    """Whatever a client shows to be let in: a key, a ticket or a token; from its headers, never from its URL."""
    scheme, _, bearer = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    shown = [bearer.strip()] if scheme.lower() == "bearer" else []
    shown.append(request.headers.get("api-key", ""))
    shown += [item.removeprefix(KEY_PROTOCOL) for item in _offered(request) if item.startswith(KEY_PROTOCOL)]
    return [credential for credential in shown if credential]


def switching(request: web.Request, session: str, accepted: str | None) -> web.StreamResponse:
    """The 101 of a session. Browsers fail a handshake that answers none of the subprotocols they offered."""
    headers = {
        hdrs.UPGRADE: "websocket",
        hdrs.CONNECTION: "Upgrade",
        hdrs.SEC_WEBSOCKET_ACCEPT: accept_of(request.headers[hdrs.SEC_WEBSOCKET_KEY]),
        "x-rtproxy-session": session,
    }
    if accepted is None and REALTIME in subprotocols_of(request):
        accepted = REALTIME
    if accepted is not None:
        headers[hdrs.SEC_WEBSOCKET_PROTOCOL] = accepted
    return web.StreamResponse(status=101, headers=headers)


def _offered(request: web.Request) -> list[str]:
    listed = ",".join(request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, []))
    return [item.strip() for item in listed.split(",", OFFERED)[:OFFERED]]
