"""Which request means what: a table of verbs and paths, as ARM reads them, without regard to case or a last slash.

Answers to what no handler takes name the verb and the path, so that a missing piece of the stage is not mistaken for a
missing resource. No answer is a 5xx that nobody asked for: az retries those for seconds and then hides what they said.
"""

import json
import logging
import re
from collections.abc import Awaitable, Callable, Container, Iterable
from typing import Any, TypeAlias

from aiohttp import web

from stage.arm.faults import writes
from stage.arm.resources import SUBSCRIPTION
from stage.arm.subscription import Subscription
from stage.platform import Rejected

Handler: TypeAlias = Callable[..., Awaitable[web.StreamResponse]]
"""Called with the subscription, the request, and the names in the path as keywords."""
Route: TypeAlias = tuple[str, str, Handler]
ANY_SUBSCRIPTION = "/subscriptions/{subscription}"
ANY_GROUP = f"{ANY_SUBSCRIPTION}/resourceGroups/{{group}}"
_LOG = logging.getLogger(__name__)


class Table:
    """The routes of one listener. With ``tokens``, paths below a subscription need one of them, as in ARM."""

    def __init__(
        self, subscription: Subscription, routes: Iterable[Route], tokens: Container[str] | None = None
    ) -> None:
        self._subscription = subscription
        self._tokens = tokens
        self._routes = [(verb, _pattern(path), handler) for verb, path, handler in routes]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The answer to any request at all."""
        faults = self._subscription.faults
        if not request.path.lower().startswith("/subscriptions"):
            return await self._answer(request)
        if faults.watch is not None and writes(request.method, request.path):
            faults.watch(request.method, request.path)
        if faults.unsteady is None:
            return await self._answer(request)
        match faults.unsteady.strike(request.method, request.path):
            case None:
                return await self._answer(request)
            case "throttled":
                refusal = error(429, "TooManyRequests", "The request is being throttled.")
                refusal.headers["Retry-After"] = "1"
                return refusal
            case "unavailable":
                return web.Response(status=503, text="The service is unavailable.")
            case "locked":
                app = re.split("/containerapps/", request.path, flags=re.IGNORECASE)[-1].partition("/")[0]
                what = f"Cannot modify container App '{app}' because another modification is in progress."
                return error(409, "ContainerAppLockConflict", f"{what} Please retry the operation.")
            case "lost":
                return _broken(request)
            case "answer lost":
                await self._answer(request)
                return _broken(request)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._dispatch(request)
        except Rejected as refusal:
            return error(refusal.status, refusal.code, str(refusal))
        except Exception as fault:  # noqa: BLE001 - the edge of every request, and no answer may be a 5xx
            _LOG.exception("%s %s", request.method, request.path)
            # Its kind alone goes out: the rest of it may quote the request.
            what = f"the stage failed at {request.method} {request.path}: {type(fault).__name__}; its log says where"
            return error(400, "StageDefect", what)

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        if self._tokens is not None and request.path.lower().startswith("/subscriptions"):
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            if scheme != "Bearer" or token not in self._tokens:
                raise Rejected("AuthenticationFailed", "Authentication failed: a token of the stage is needed.", 401)
        for verb, pattern, handler in self._routes:
            found = pattern.fullmatch(request.path.rstrip("/") or "/")
            if verb == request.method and found:
                names = found.groupdict()
                if names.pop("subscription", SUBSCRIPTION) != SUBSCRIPTION:
                    raise Rejected("SubscriptionNotFound", f"the stage has one subscription: {SUBSCRIPTION}", 404)
                return await handler(self._subscription, request, **names)
        raise Rejected("NotOnTheStage", f"the stage has no {request.method} {request.path}", 404)


def _broken(request: web.Request) -> web.Response:
    """Breaks the connection; the answer on it is lost."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def error(status: int, code: str, message: str) -> web.Response:
    """ARM's error envelope."""
    return web.json_response({"error": {"code": code, "message": message}}, status=status)


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path.replace(".", r"\.")), re.IGNORECASE)


async def read_body(request: web.Request) -> dict[str, Any]:
    """The JSON object in the body; no body is an empty one."""
    text = await request.text()
    return parse_body(text) if text.strip() else {}


def parse_body(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except ValueError as fault:
        raise Rejected("InvalidRequestContent", f"The request content is not JSON: {fault}.") from None
    if not isinstance(body, dict):
        raise Rejected("InvalidRequestContent", "The request content must be a JSON object.")
    return body


def over_subscription(action: str, handler: Handler) -> Handler:
    """``handler``, for whoever has a right to ``action`` on the whole subscription."""

    async def checked(subscription: Subscription, request: web.Request, **names: str) -> web.StreamResponse:
        if subscription.faults.refuses("subscription"):
            raise denied(action, f"/subscriptions/{SUBSCRIPTION}")
        return await handler(subscription, request, **names)

    return checked


def denied(action: str, scope: str) -> Rejected:
    what = "The client 'stage' with object id '00000000-0000-4000-8000-00000000c11e' does not have authorization to "
    what += f"perform action '{action}' over scope '{scope}' or the scope is invalid. If access was recently granted, "
    return Rejected("AuthorizationFailed", what + "please refresh your credentials.", 403)
