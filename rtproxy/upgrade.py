"""The upgrade from HTTP to a WebSocket (RFC 6455 section 4): what several rooms need of it."""

import base64
import hashlib
import re

from aiohttp import hdrs, web
from multidict import CIMultiDictProxy

OFFERED, OFFERED_CHARACTERS = 16, 8190
"""The most subprotocols that are read, and the most characters of all of them: as many as one header line may have."""
REALTIME = "realtime"
_ACCOUNTS = ("openai-organization.", "openai-project.")
"""OpenAI's SDKs offer these to OpenAI. They name an account there, which must not be sent to Azure."""
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")


def accept_of(key: str) -> str:
    """The Sec-WebSocket-Accept that answers a Sec-WebSocket-Key (RFC 6455 section 4.2.2)."""
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def has_upgrade(headers: CIMultiDictProxy[str]) -> bool:
    """Whether Connection contains the word upgrade. Its header lines are one list (RFC 9110 section 5.3)."""
    words = ",".join(headers.getall(hdrs.CONNECTION, ())).split(",")
    return "upgrade" in (word.strip().lower() for word in words)


def path_of(request: web.Request) -> str:
    """The route of a call, one of CALL_ROUTES, without a slash at its end."""
    return request.path.rstrip("/")


def offered(request: web.Request) -> list[str]:
    """The first OFFERED items of Sec-WebSocket-Protocol, unchanged."""
    listed = ",".join(request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, []))
    return [item.strip() for item in listed.split(",", OFFERED)[:OFFERED]]


def subprotocols_of(request: web.Request) -> list[str]:
    """The offered subprotocols that may be sent to the model: well-formed, once each, no secret, no account name."""
    return [
        item
        for item in dict.fromkeys(offered(request))
        if _TOKEN.fullmatch(item) and "key." not in item.lower() and not item.lower().startswith(_ACCOUNTS)
    ]


def switching_protocols(request: web.Request, session: str, accepted: str | None) -> web.StreamResponse:
    """The 101 of a session. A browser fails a handshake whose answer has none of the subprotocols that it offered."""
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
