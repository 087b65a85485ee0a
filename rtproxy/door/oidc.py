"""Tokens of an OpenID Connect issuer, such as Entra ID: reads the issuer's keys, and checks tokens with them.

The keys come from the issuer's discovery document (OpenID Connect Discovery 1.0 section 4). They are read again in the
background, and at once when a token names a key that is not known yet, because an issuer rotates its keys.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import jwt
from yarl import URL

from rtproxy.door.ticket import WRONG_TYPES
from rtproxy.environ import is_web
from rtproxy.proxies import Proxies
from rtproxy.refusal import Refused, unauthorized

READ_EVERY_S = 900.0
"""A key that the issuer has withdrawn is accepted for this long at most."""
ASK_AGAIN_S = 10.0
"""For unknown keys the issuer is asked this often at most, whatever clients send."""
FETCH_TIMEOUT_S = 5.0
LEEWAY_S = 60
"""Two clocks may differ by this much."""
SUBJECT_CHARACTERS = 255
"""OpenID Connect Core 1.0 section 2."""
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
_NO_PROXIES = Proxies()
_DISCOVERY = "/.well-known/openid-configuration"


class Issuer:
    """Accepts the tokens of one issuer. They must be for one of ``audience``, and have ``scope`` when one is set."""

    def __init__(self, url: str, audience: frozenset[str], scope: str | None, proxies: Proxies = _NO_PROXIES) -> None:
        self._url = url
        self._audience = audience
        self._scope = scope
        self._proxies = proxies
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._fetching = asyncio.Lock()

    @property
    def ready(self) -> bool:
        """Whether tokens can be checked."""
        return bool(self._keys)

    @contextlib.asynccontextmanager
    async def kept_fresh(self) -> AsyncIterator[None]:
        """Keeps the keys fresh while the context lasts. It has tried to read them once before it yields."""
        await self._fetch()
        refreshing = asyncio.create_task(self._refresh())
        try:
            yield
        finally:
            refreshing.cancel()

    async def client_of(self, token: str, key_id: object) -> str:
        """The client that ``token`` names, as ``oidc:SUBJECT``: no client with a key has such a name. Raises Refused.

        It waits for the issuer only when the token is signed with an unknown key, and then for FETCH_TIMEOUT_S at most.
        """
        key = await self._key(key_id)
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=_ALGORITHMS,
                issuer=self._url,
                audience=self._audience,
                leeway=LEEWAY_S,
                options={"require": ["aud", "exp", "iss", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise unauthorized("expired_token", "The token has expired: get a new one.") from None
        except jwt.InvalidAudienceError:
            raise unauthorized("invalid_token", "The token's audience is not in RTPROXY_OIDC_AUDIENCE.") from None
        except jwt.InvalidIssuerError:
            raise unauthorized("invalid_token", "The token is from another issuer than RTPROXY_OIDC_ISSUER.") from None
        except (jwt.InvalidTokenError, *WRONG_TYPES):
            raise unauthorized(
                "invalid_token", "The token is not valid: its signature is wrong, or a claim is missing."
            ) from None
        if self._scope is not None and self._scope not in _scopes(claims):
            raise Refused(
                403,
                "invalid_request_error",
                "missing_scope",
                "The token does not have the scope of RTPROXY_OIDC_SCOPE.",
            )
        # A subject that is not printable may contain half a surrogate, which cannot be logged.
        if not (0 < len(claims["sub"]) <= SUBJECT_CHARACTERS and claims["sub"].isprintable()):
            raise unauthorized(
                "invalid_token", f"The token's sub must have 1 to {SUBJECT_CHARACTERS} printable characters."
            )
        return f"oidc:{claims['sub']}"

    async def _key(self, key_id: object) -> jwt.PyJWK:
        name = key_id if isinstance(key_id, str) else None
        if name not in self._keys:
            async with self._fetching:
                if name not in self._keys and time.monotonic() - self._fetched_at >= ASK_AGAIN_S:
                    await self._fetch()
        if not self._keys:
            text = "The relay cannot reach the issuer of tokens: try again."
            raise Refused(503, "server_error", "issuer_unreachable", text, retry_after=f"{ASK_AGAIN_S:.0f}")
        if name not in self._keys:
            raise unauthorized("invalid_token", "The token is signed with a key that its issuer does not publish.")
        return self._keys[name]

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(READ_EVERY_S if self._keys else ASK_AGAIN_S)
            async with self._fetching:
                await self._fetch()

    async def _fetch(self) -> None:
        self._fetched_at = time.monotonic()
        try:
            self._keys = await self._read_keys()
        except Exception as problem:  # noqa: BLE001 - an answer of the issuer can cause many kinds of exceptions
            logging.getLogger("rtproxy").warning(
                "The keys of RTPROXY_OIDC_ISSUER could not be read: %s. Those that were known stay.",
                type(problem).__name__,
            )

    async def _read_keys(self) -> dict[str | None, jwt.PyJWK]:
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)
        async with asyncio.timeout(FETCH_TIMEOUT_S), aiohttp.ClientSession(timeout=timeout) as session:
            document = await self._json(session, self._url.rstrip("/") + _DISCOVERY)
            # Section 4.3: the document must name its own issuer.
            if document["issuer"] != self._url or not is_web(document["jwks_uri"]):
                raise ValueError(document["issuer"])
            keys = jwt.PyJWKSet.from_dict(await self._json(session, document["jwks_uri"])).keys
        by_id = {key.key_id: key for key in keys if key.public_key_use in (None, "sig")}
        # A token need not name its key if there is only one.
        return {**by_id, None: next(iter(by_id.values()))} if len(by_id) == 1 else by_id

    async def _json(self, session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
        proxy = self._proxies.of(URL(url))
        proxy_url, headers = (None, None) if proxy is None else (proxy.url, proxy.headers)
        async with session.get(
            url, allow_redirects=False, raise_for_status=True, proxy=proxy_url, proxy_headers=headers
        ) as response:
            return dict(await response.json(content_type=None))


def _scopes(claims: Mapping[str, Any]) -> list[object]:
    """The scopes of a user (Entra ID: ``scp``; RFC 9068 section 2.2.3: ``scope``) and an application (``roles``)."""
    scopes: list[object] = []
    for value in (claims.get(name) for name in ("scp", "scope", "roles")):
        if isinstance(value, list):
            scopes += value
        elif isinstance(value, str):
            scopes += value.split()
        elif value is not None:
            raise unauthorized("invalid_token", "The token's scp, scope and roles must be texts or lists.")
    return scopes
