"""The token endpoint of a managed identity, as Container Apps put it beside an app, on loopback.

A relay finds it by IDENTITY_ENDPOINT and IDENTITY_HEADER (App Service protocol of 2019-08-01).
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

API_VERSION = "2019-08-01"
PATH = "/msi/token"


@dataclass
class Directory:
    """What the endpoint does now, to be changed while it runs, and what it was asked so far."""

    header: str = "identity-header"
    """What callers must send as X-IDENTITY-HEADER."""
    token: str = "entra-token"  # noqa: S105 - the beginning of all of them
    """What every token begins with; it is followed by a number."""
    lifetime_s: int = 86_400
    """Of each token; `refresh_in` tells the caller to renew it at half of that."""
    refusal: tuple[int, str] | None = None
    """Status and body of every answer, instead of a token."""
    silent: bool = False
    """Answers nothing at all."""
    asked: list[str] = field(default_factory=list)
    """The resource of each request."""
    tokens: list[str] = field(default_factory=list)
    """Every token given out, the newest last."""
    _news: asyncio.Condition = field(default_factory=asyncio.Condition, repr=False)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for a condition on what was asked and given out."""
        async with self._news:
            await self._news.wait_for(condition)

    async def ask(self, resource: str) -> None:
        """Takes note of a request."""
        self.asked.append(resource)
        await self._tell()

    async def issue(self) -> dict[str, str | int]:
        """A new token, in the words of the protocol, where a time is a string and a span a number."""
        self.tokens.append(f"{self.token}-{len(self.tokens) + 1}")
        await self._tell()
        return {
            "access_token": self.tokens[-1],
            "expires_on": str(int(time.time()) + self.lifetime_s),
            "refresh_in": self.lifetime_s // 2,
            "resource": self.asked[-1],
            "token_type": "Bearer",
        }

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()


def make_app(directory: Directory) -> web.Application:
    """The endpoint in front of ``directory``."""

    async def token(request: web.Request) -> web.Response:
        await directory.ask(request.query.get("resource", ""))
        if directory.silent:
            await asyncio.Event().wait()
        if directory.refusal is not None:
            status, body = directory.refusal
            return web.Response(status=status, text=body, content_type="application/json")
        if request.headers.get("X-IDENTITY-HEADER") != directory.header:
            return web.json_response({"statusCode": 401, "message": "Unauthorized"}, status=401)
        if request.query.get("api-version") != API_VERSION or not directory.asked[-1]:
            return web.json_response({"statusCode": 400, "message": "Bad Request"}, status=400)
        return web.json_response(await directory.issue())

    app = web.Application()
    app.router.add_get(PATH, token)
    return app
