"""An OpenID Connect issuer, such as Entra ID, on loopback: its discovery document, its keys, and tokens of its own."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

AUDIENCE = "api://voice"
_DISCOVERY, _KEYS = "/tenant/v2.0/.well-known/openid-configuration", "/tenant/discovery/v2.0/keys"


@dataclass
class Issuer:
    """What it is now, to be changed while it runs, and how often its keys were asked for."""

    url: str = ""
    """The issuer: what tokens say as ``iss``."""
    keys: dict[str, RSAPrivateKey] = field(default_factory=dict)
    """What it publishes and signs with, by name; it signs with the newest."""
    open: asyncio.Event = field(default_factory=asyncio.Event)
    """Clear: it takes requests, and answers when it is set again."""
    down: bool = False
    """Answers 503."""
    says: str | None = None
    """Another issuer, which its discovery document claims to be."""
    encrypts: str | None = None
    """The name of a key that it publishes to encrypt with, not to sign."""
    asked: int = 0
    _news: asyncio.Condition = field(default_factory=asyncio.Condition, repr=False)

    async def until_asked(self, times: int) -> None:
        """Waits until its discovery document was read so often."""
        async with self._news:
            await self._news.wait_for(lambda: self.asked >= times)

    @classmethod
    @asynccontextmanager
    async def start(cls) -> AsyncIterator["Issuer"]:
        """An issuer with one key, until the context is left."""
        issuer = cls()
        issuer.rotate()
        issuer.open.set()
        runner = web.AppRunner(issuer._app(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}/tenant/v2.0"
        try:
            yield issuer
        finally:
            await runner.cleanup()

    def rotate(self, *, keep: bool = False) -> None:
        """Signs with a new key from now on; the old ones stay published when they are to be kept."""
        number = f"key-{len(self.keys) + self.asked + 1}"
        self.keys = {**(self.keys if keep else {}), number: generate_private_key(65537, 2048)}

    def token(self, headers: dict[str, str | None] | None = None, **claims: Any) -> str:
        """A token that holds; ``claims`` and ``headers`` replace or join its own, and what is None is left out."""
        name, key = list(self.keys.items())[-1]
        now = int(time.time())
        said = {"iss": self.url, "aud": AUDIENCE, "sub": "alice-at-work", "iat": now, "nbf": now, "exp": now + 3600}
        said = {claim: value for claim, value in (said | claims).items() if value is not None}
        head = {header: value for header, value in ({"kid": name} | (headers or {})).items() if value is not None}
        return jwt.encode(said, key, algorithm="RS256", headers=head)

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_get(_DISCOVERY, self._discovery)
        app.router.add_get(_KEYS, self._published)
        return app

    async def _discovery(self, request: web.Request) -> web.Response:
        async with self._news:
            self.asked += 1
            self._news.notify_all()
        await self.open.wait()
        if self.down:
            raise web.HTTPServiceUnavailable
        keys = str(request.url.with_path(_KEYS))
        return web.json_response({"issuer": self.says or self.url, "jwks_uri": keys})

    async def _published(self, request: web.Request) -> web.Response:
        return web.json_response({"keys": [self._jwk(name, key) for name, key in self.keys.items()]})

    def _jwk(self, name: str, key: RSAPrivateKey) -> dict[str, str]:
        # As Entra ID has them: no ``alg``.
        jwk = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        use = "enc" if name == self.encrypts else "sig"
        return {"kty": jwk["kty"], "use": use, "kid": name, "n": jwk["n"], "e": jwk["e"]}
