"""Clients that come with a token of an OpenID Connect issuer, such as Entra ID: the issuer's keys, and the check.

The keys come from the issuer's discovery document (OpenID Connect Discovery 1.0 section 4), are read again in the
background, and at once when a token names one that is not known yet, because an issuer rotates them.
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
from rtproxy.refusal import Refused, unknown

READ_EVERY_S = 900.0
"""A key that the issuer took back lets nobody in after this."""
ASK_AGAIN_S = 10.0
"""For a key that is not known the issuer is asked this often at most, whatever callers send."""
FETCH_TIMEOUT_S = 5.0
LEEWAY_S = 60
"""Two clocks may differ by this much."""
SUBJECT_CHARACTERS = 255
"""OpenID Connect Core 1.0 section 2."""
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
_NO_PROXIES = Proxies()
_DISCOVERY = "/.well-known/openid-configuration"


class Issuer:
    """Whose tokens let a client in; they must be for one of ``audience``, and have ``scope`` when there is one."""

    def __init__(self, url: str, audience: frozenset[str], scope: str | None, proxies: Proxies = _NO_PROXIES) -> None:
        self._url = url
        self._audience = audience
        self._scope = scope
        self._proxies = proxies
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._asked = float("-inf")
        self._asking = asyncio.Lock()

    @property
    def ready(self) -> bool:
        """Whether a token could be checked."""
        return bool(self._keys)

    @contextlib.asynccontextmanager
    async def kept_fresh(self) -> AsyncIterator[None]:
        """Has tried once when it yields; then reads the keys again every READ_EVERY_S, until it is left."""
        await self._fetch()
        refreshing = asyncio.create_task(self._refresh())
        try:
            yield
        finally:
            refreshing.cancel()

    async def client_of(self, token: str, key_id: object) -> str:
        """The client that ``token`` names, as ``oidc:SUBJECT``: no key of a client has such a name. Raises Refused.

        Waits for the issuer, FETCH_TIMEOUT_S at most, only when the token is signed with a key that is not known.
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
            raise unknown("expired_token", "The token has expired: get a new one.") from None
        except jwt.InvalidAudienceError:
            raise unknown("invalid_token", "The token is for another audience than RTPROXY_OIDC_AUDIENCE.") from None
        except jwt.InvalidIssuerError:
            raise unknown("invalid_token", "The token is of another issuer than RTPROXY_OIDC_ISSUER.") from None
        except (jwt.InvalidTokenError, *WRONG_TYPES):
            raise unknown(
                "invalid_token", "The token does not hold: its signature, or a claim that is not there."
            ) from None
        if self._scope is not None and self._scope not in _scopes(claims):
            raise Refused(403, "invalid_request_error", "missing_scope", "The token has not the RTPROXY_OIDC_SCOPE.")
        # One that is not printable may have half a surrogate in it, which no log takes.
        if not (0 < len(claims["sub"]) <= SUBJECT_CHARACTERS and claims["sub"].isprintable()):
            raise unknown("invalid_token", f"The token's sub has not 1 to {SUBJECT_CHARACTERS} printable characters.")
        return f"oidc:{claims['sub']}"

    async def _key(self, key_id: object) -> jwt.PyJWK:
        name = key_id if isinstance(key_id, str) else None
        if name not in self._keys:
            async with self._asking:
                if name not in self._keys and time.monotonic() - self._asked >= ASK_AGAIN_S:
                    await self._fetch()
        if not self._keys:
            text = "The issuer of tokens cannot be reached: try again."
            raise Refused(503, "server_error", "issuer_unreachable", text, retry_after=f"{ASK_AGAIN_S:.0f}")
        if name not in self._keys:
            raise unknown("invalid_token", "The token is signed with a key that its issuer does not publish.")
        return self._keys[name]

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(READ_EVERY_S if self._keys else ASK_AGAIN_S)
            async with self._asking:
                await self._fetch()

    async def _fetch(self) -> None:
        self._asked = time.monotonic()
        try:
            self._keys = await self._read_keys()
        except Exception as problem:  # noqa: BLE001 - whatever an answer of the issuer makes a library raise
            logging.getLogger("rtproxy").warning(
                "The keys of RTPROXY_OIDC_ISSUER could not be read: %s. Those that were known stay.",
                type(problem).__name__,
            )

    async def _read_keys(self) -> dict[str | None, jwt.PyJWK]:
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)
        async with asyncio.timeout(FETCH_TIMEOUT_S), aiohttp.ClientSession(timeout=timeout) as session:
            document = await self._json(session, self._url.rstrip("/") + _DISCOVERY)
            # Section 4.3: what is said there must be said by the issuer itself.
            if document["issuer"] != self._url or not is_web(document["jwks_uri"]):
                raise ValueError(document["issuer"])
            keys = jwt.PyJWKSet.from_dict(await self._json(session, document["jwks_uri"])).keys
        found = {key.key_id: key for key in keys if key.public_key_use in (None, "sig")}
        # A token may leave its key unnamed where there is only one.
        return {**found, None: next(iter(found.values()))} if len(found) == 1 else found

    async def _json(self, session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
        proxy = self._proxies.of(URL(url))
        way, headers = (None, None) if proxy is None else (proxy.url, proxy.headers)
        async with session.get(
            url, allow_redirects=False, raise_for_status=True, proxy=way, proxy_headers=headers
        ) as response:
            return dict(await response.json(content_type=None))


def _scopes(claims: Mapping[str, Any]) -> list[object]:
    """Of a user (``scp`` at Entra ID, ``scope`` by RFC 9068 section 2.2.3) and of an application (``roles``)."""
    scopes: list[object] = []
    for said in (claims.get(name) for name in ("scp", "scope", "roles")):
        if isinstance(said, list):
            scopes += said
        elif isinstance(said, str):
            scopes += said.split()
        elif said is not None:
            raise unknown("invalid_token", "The token's scp, scope and roles are texts or lists.")
    return scopes
