"""The Entra ID token for the model, fetched at the start and renewed in the background.

A dial never waits for the token endpoint while a valid token is there. There is one exception: the documentation names
two audiences for a model account, so when the model refuses the first token, one for the other audience is fetched.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from rtproxy.settings import ENTRA_SCOPE

if TYPE_CHECKING:
    from azure.identity.aio import DefaultAzureCredential

START_S = 2.0
"""How long the start waits for the first token: the template's startup probe allows 10 s, the issuer's keys
included.
"""
OTHER_SCOPES = {ENTRA_SCOPE: "https://ai.azure.com/.default", "https://ai.azure.com/.default": ENTRA_SCOPE}
"""The scope to try when the model refuses a token of the other one. For any other scope, such as that of another cloud,
there is no alternative."""
DOUBTFUL_S = 300.0
"""How long a token is used that had already expired when it was issued: in that case the wall clock is wrong."""

# Its warnings quote the endpoint's answer. What may be logged of a failure goes to ``on_failure``.
logging.getLogger("azure").setLevel(logging.CRITICAL)


class TokenTimes(NamedTuple):
    """Time limits, in seconds; tests hand in shorter ones."""

    refresh_min_s: float = 5.0
    """Two requests to the token endpoint are at least this long apart, whatever it answers."""
    fetch_s: float = 15.0
    """The limit of one attempt. The client's own limit is minutes; `az` takes seconds."""


class NoToken(Exception):
    """Entra ID has issued no token yet, or the last one expired."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token of one scope. A missing token is one that expired long ago."""

    scope: str
    text: str = field(default="", repr=False)
    expires: float = 0.0

    @property
    def header(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.text}"}

    @property
    def valid(self) -> bool:
        return _now() < self.expires


class Identity:
    """The identity of the relay for the model: a managed identity in Azure, ``az login`` on a laptop.

    ``on_failure`` is called with the name of the error each time a token could not be fetched.
    """

    def __init__(self, scope: str, on_failure: Callable[[str], None], times: TokenTimes) -> None:
        self._times = times
        self._on_failure = on_failure
        self._token = Token(scope)
        self._other_token = Token(OTHER_SCOPES[scope]) if scope in OTHER_SCOPES else None
        self._fetching_other: asyncio.Task[None] | None = None
        self._next_fetch = 0.0
        self._credential: DefaultAzureCredential
        self._renewal_wanted = asyncio.Event()
        self._first_try = asyncio.Event()

    def token(self) -> Token:
        """The token for a dial. Raises NoToken; never waits."""
        if not self.ready:
            raise NoToken
        return self._token

    def accepted(self, token: Token) -> None:
        """The model accepted ``token``: from now on every dial uses its scope, and no other is tried."""
        if self._other_token is not None and token.scope == self._other_token.scope:
            self._token = self._other_token
            # The time of the next renewal depends on the other token's lifetime.
            self._renewal_wanted.set()
        self._other_token = None

    async def alternative_to(self, refused: Token) -> Token | None:
        """A token of the other scope, for a dial that the model refused with 401.

        Returns None when there is none, or when the right scope is known. Waits for the endpoint if necessary; all
        callers share one request.
        """
        other = self._other_token
        if other is not None and not other.valid and self._fetching_other is None and _now() >= self._next_fetch:
            self._fetching_other = asyncio.create_task(self._fetch_other(other.scope))
        if self._fetching_other is not None:
            await asyncio.shield(self._fetching_other)
        known = [self._token, *filter(None, [self._other_token])]
        return next((each for each in known if each.valid and each.scope != refused.scope), None)

    @property
    def ready(self) -> bool:
        """Whether a dial would have a token. If not, one is fetched as soon as the endpoint may be called."""
        if self._token.valid:
            return True
        # A timer does not advance while the machine sleeps, so that a renewal may be late.
        self._renewal_wanted.set()
        return False

    @contextlib.asynccontextmanager
    async def kept_fresh(self) -> AsyncIterator[None]:
        """Keeps the token fresh while the context lasts: renews it at half of the remaining lifetime.

        It waits for the first attempt, for START_S at most, before it yields.
        """
        # Not at the top: it takes a third of what the relay takes to start, and with a key nobody needs it.
        from azure.identity.aio import DefaultAzureCredential

        async with DefaultAzureCredential() as self._credential:
            refreshing = asyncio.create_task(self._refresh())
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(START_S):
                        await self._first_try.wait()
                yield
            finally:
                refreshing.cancel()
                if self._fetching_other is not None:
                    self._fetching_other.cancel()

    async def _refresh(self) -> None:
        while True:
            token = await self._fetch(self._token.scope)
            # In the meantime the other scope may have been found to be the right one.
            if token is not None and token.scope == self._token.scope:
                self._token = token
            self._first_try.set()
            await asyncio.sleep(self._times.refresh_min_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._half_life_s() - self._times.refresh_min_s)):
                    await self._renewal_wanted.wait()
            self._renewal_wanted.clear()

    def _half_life_s(self) -> float:
        return (self._token.expires - _now()) / 2

    async def _fetch_other(self, scope: str) -> None:
        self._next_fetch = _now() + self._times.refresh_min_s
        token = await self._fetch(scope)
        if token is not None and self._other_token is not None:
            self._other_token = token
        self._fetching_other = None

    async def _fetch(self, scope: str) -> Token | None:
        try:
            async with asyncio.timeout(self._times.fetch_s):
                token = await self._credential.get_token(scope)
        except Exception as problem:  # noqa: BLE001 - the client raises many kinds of exceptions for an answer
            # Its messages quote the answer; only the name of the error may be logged.
            self._on_failure(type(problem).__name__)
            return None
        lifetime_s = token.expires_on - time.time()
        return Token(scope, token.token, _now() + (lifetime_s if lifetime_s > 0 else DOUBTFUL_S))


def _now() -> float:
    """A clock that nobody sets, and that advances while the machine sleeps (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
