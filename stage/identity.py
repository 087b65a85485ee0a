"""The token endpoint of a managed identity, as Container Apps put it beside an app, on loopback.

A relay finds it by IDENTITY_ENDPOINT and IDENTITY_HEADER (App Service protocol of 2019-08-01).
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

API_VERSION = "2019-08-01"
PATH = "/msi/token"
_REFUSED_LIFETIME_S = 10


@dataclass
class Directory:
    """What the endpoint does, which may be changed while it runs, and the requests that it got so far."""

    header: str = "identity-header"
    """What callers must send as X-IDENTITY-HEADER."""
    token: str = "entra-token"  # noqa: S105 - the beginning of all of them
    """What every token begins with; it is followed by a number."""
    lifetime_s: int = 86_400
    """Of each token; `refresh_in` tells the caller to renew it at half of that."""
    refusal: tuple[int, str] | None = None
    """Status and body of every answer, instead of a token."""
    silent: bool = False
    """Answers nothing, until `speak`."""
    audience: str | None = None
    """The one resource that the model takes tokens for: any other's begins with `other-`."""
    asked: list[str] = field(default_factory=list)
    """The resource of each request."""
    tokens: list[str] = field(default_factory=list)
    """Every token given out, the newest last."""
    _news: asyncio.Condition = field(default_factory=asyncio.Condition, repr=False)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for a condition on what was asked and given out."""
        async with self._news:
            await self._news.wait_for(condition)

    async def speak(self) -> None:
        """Answers the requests that wait, and all later ones."""
        self.silent = False
        await self._tell()

    async def ask(self, resource: str) -> None:
        """Takes note of a request."""
        self.asked.append(resource)
        await self._tell()

    async def issue(self, resource: str) -> dict[str, str | int]:
        """A new token, as the protocol writes it: a time is a string, a duration is a number."""
        taken = self.audience is None or resource.rstrip("/") == self.audience
        self.tokens.append(f"{'' if taken else 'other-'}{self.token}-{len(self.tokens) + 1}")
        await self._tell()
        return {
            "access_token": self.tokens[-1],
            "expires_on": str(int(time.time()) + self.lifetime_s),
            "refresh_in": self.lifetime_s // 2,
            "resource": resource,
            "token_type": "Bearer",
        }

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()


def make_app(directory: Directory) -> web.Application:
    """The endpoint in front of ``directory``."""

    async def token(request: web.Request) -> web.Response:
        resource = request.query.get("resource", "")
        await directory.ask(resource)
        if directory.silent:
            await directory.until(lambda: not directory.silent)
        if directory.refusal is not None:
            status, body = directory.refusal
            return web.Response(status=status, text=body, content_type="application/json")
        if request.headers.get("X-IDENTITY-HEADER") != directory.header:
            return web.json_response({"statusCode": 401, "message": "Unauthorized"}, status=401)
        if request.query.get("api-version") != API_VERSION or not resource:
            return web.json_response({"statusCode": 400, "message": "Bad Request"}, status=400)
        return web.json_response(await directory.issue(resource))

    app = web.Application()
    app.router.add_get(PATH, token)
    return app


@asynccontextmanager
async def beside(endpoint: web.Application, header: str) -> AsyncIterator[dict[str, str]]:
    """Serves ``endpoint``; yields what the platform puts into the environment of the app."""
    runner = web.AppRunner(endpoint, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}{PATH}"
        yield {"IDENTITY_ENDPOINT": url, "IDENTITY_HEADER": header}
    finally:
        await runner.cleanup()


@dataclass(kw_only=True)
class Assigned:
    """The identities that apps have, each known by its client id."""

    model_token: str = field(repr=False)
    """What the model takes."""
    audience: str | None = None
    """The one resource that the model takes tokens for; None: for any."""
    is_assigned: Callable[[str], bool] = lambda client_id: False
    may_call_model: Callable[[str], bool] = lambda client_id: False


def make_apps_endpoint(identities: Assigned, header: str) -> web.Application:
    """The endpoint beside every app. Apps share it, so one app gets the tokens of another's identity.

    An identity without a role gets a token too, as in Azure, and so does a request for another audience than the
    model's: the model refuses such a token. The token expires soon, so that a role that is granted later takes effect
    soon.
    """

    async def token(request: web.Request) -> web.Response:
        client_id, resource = request.query.get("client_id", ""), request.query.get("resource", "")
        if request.headers.get("X-IDENTITY-HEADER") != header:
            return web.json_response({"statusCode": 401, "message": "Unauthorized"}, status=401)
        if not identities.is_assigned(client_id):
            message = "No managed identity is assigned to this app, or none with this client id."
            return web.json_response({"statusCode": 400, "message": message}, status=400)
        entitled = identities.may_call_model(client_id) and identities.audience in (None, resource.rstrip("/"))
        lifetime_s = 86_400 if entitled else _REFUSED_LIFETIME_S
        return web.json_response(
            {
                "access_token": identities.model_token if entitled else secrets.token_urlsafe(24),
                "client_id": client_id,
                "expires_on": str(int(time.time()) + lifetime_s),
                "resource": resource,
                "token_type": "Bearer",
            }
        )

    app = web.Application()
    app.router.add_get(PATH, token)
    return app
