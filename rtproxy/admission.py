"""Who may come in: all of it is decided before the 101, and a refusal is an HTTP answer in OpenAI's envelope."""

import base64
import binascii
import hashlib
import hmac
import re
from enum import Enum

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11

from rtproxy.handover import says_upgrade
from rtproxy.live import Live
from rtproxy.settings import Settings

KEY_PROTOCOL = "openai-insecure-api-key."
"""How a browser, which cannot set headers, hands its key over: as an item of the subprotocol list."""
REALTIME = "realtime"
RETRY_AFTER_FULL_S = 5
RETRY_AFTER_DRAINING_S = 1
"""By then a balancer has learnt, and another replica answers."""
ANONYMOUS = "anonymous"
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")


class Refused(Exception):
    """An answer instead of the 101. ``code`` is one of a closed list; ``message`` names cause and cure, no secret."""

    def __init__(self, status: int, kind: str, code: str, message: str, *, retry_after: str | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.code, self.message = status, kind, code, message
        self.retry_after = retry_after

    def response(self) -> web.Response:
        """The answer in OpenAI's error envelope."""
        error = {"type": self.kind, "code": self.code, "message": self.message}
        response = web.json_response({"error": error}, status=self.status)
        if self.retry_after is not None:
            response.headers[hdrs.RETRY_AFTER] = self.retry_after
        if self.status == 426:
            response.headers[hdrs.UPGRADE] = "websocket"
            response.headers[hdrs.SEC_WEBSOCKET_VERSION] = "13"
        return response


def draining() -> Refused:
    """What a call hears that comes after the lame seconds of a drain."""
    retry = str(RETRY_AFTER_DRAINING_S)
    return Refused(503, "server_error", "draining", "This revision is draining: reconnect.", retry_after=retry)


def full() -> Refused:
    """What a call hears for which there is no room."""
    retry = str(RETRY_AFTER_FULL_S)
    return Refused(503, "server_error", "at_capacity", "Every place is taken: try again.", retry_after=retry)


class Door(Enum):
    """``DRAINING`` still admits calls, because a balancer learns late; ``SHUT`` refuses them."""

    OPEN = "open"
    DRAINING = "draining"
    SHUT = "shut"


class Admission:
    """Admits calls by the settings; ``door`` is the drain's to turn."""

    def __init__(self, settings: Settings, live: Live) -> None:
        self.door = Door.OPEN
        self._live = live
        self._limit = settings.max_sessions
        self._origins = settings.allowed_origins
        self._deployment = settings.deployment
        self._anonymous = settings.allow_anonymous
        self._keys = [(name, _digest(key)) for name, key in settings.client_keys.items()]

    def admit(self, request: web.Request) -> str:
        """The name of the client that may come in, now that there is room for it. Raises Refused."""
        check_upgrade(request)
        if self.door is Door.SHUT:
            raise draining()
        origin = request.headers.get(hdrs.ORIGIN)
        if self._origins and origin is not None and origin.lower() not in self._origins:
            cure = "Calls from this web origin are not allowed: add it to RTPROXY_ALLOWED_ORIGINS."
            raise Refused(403, "invalid_request_error", "origin_not_allowed", cure)
        client = self._client(request)
        asked = {*request.query.getall("model", []), *request.query.getall("deployment", [])} - {""}
        if asked - {self._deployment}:
            only = f"This relay serves the model {self._deployment!r} only."
            raise Refused(404, "invalid_request_error", "model_not_found", only)
        if len(self._live) >= self._limit:
            raise full()
        return client

    def _client(self, request: web.Request) -> str:
        offered = [_digest(key) for key in _keys_of(request)]
        # Each against each, to the end: how long it takes says nothing about which key was nearly right.
        found = [name for name, known in self._keys for key in offered if hmac.compare_digest(known, key)]
        if found:
            return found[0]
        if self._anonymous and not (offered and self._keys):
            return ANONYMOUS
        raise Refused(
            401,
            "invalid_request_error",
            "invalid_api_key" if offered else "missing_api_key",
            "A client key of this relay is needed: Authorization: Bearer KEY, an api-key header, "
            f"or the subprotocol {KEY_PROTOCOL}KEY.",
        )


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
    if headers.get(hdrs.SEC_WEBSOCKET_VERSION) != "13":
        raise Refused(426, "invalid_request_error", "upgrade_required", "WebSocket version 13 is spoken here.")
    try:
        key = base64.b64decode(headers.get(hdrs.SEC_WEBSOCKET_KEY, ""), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 16:
        raise Refused(400, "invalid_request_error", "bad_handshake", "Sec-WebSocket-Key is not 16 bytes in base64.")


def subprotocols_of(request: web.Request) -> list[str]:
    """The subprotocols a client offers that the model may see: well-formed, once each, and no secret."""
    return [item for item in dict.fromkeys(_offered(request)) if _TOKEN.fullmatch(item) and "key." not in item.lower()]


def _offered(request: web.Request) -> list[str]:
    return [item.strip() for item in ",".join(request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, [])).split(",")]


def _keys_of(request: web.Request) -> list[str]:
    scheme, _, bearer = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    keys = [bearer.strip()] if scheme.lower() == "bearer" else []
    keys.append(request.headers.get("api-key", ""))
    keys += [item.removeprefix(KEY_PROTOCOL) for item in _offered(request) if item.startswith(KEY_PROTOCOL)]
    return [key for key in keys if key]


def _digest(key: str) -> bytes:
    # Digests are of one length, so that comparing takes the same time for every key.
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
