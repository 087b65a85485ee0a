"""The Entra ID token for the model, fetched at start and kept fresh in the background.

A dial never waits for the token endpoint while it has a token that is valid. One wait is left: documentation names two
audiences of a model account, so a first token that the model refuses is followed by one for the other audience.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from azure.identity.aio import DefaultAzureCredential

from rtproxy.settings import ENTRA_SCOPE

START_S = 2.0
"""What a start waits for the first token: the template's startup probe gives it 10 s, the issuer's keys included."""
OTHER_SCOPES = {ENTRA_SCOPE: "https://ai.azure.com/.default", "https://ai.azure.com/.default": ENTRA_SCOPE}
"""What to try where the model refuses a token of the one. Any other, such as that of another cloud, stays alone."""
DOUBTFUL_S = 300.0
"""What a token is good for that was expired when it was given out: then it is the wall clock that is wrong."""

# Its warnings quote the endpoint's answer: what may be said of a failure goes to ``on_failure``.
logging.getLogger("azure").setLevel(logging.CRITICAL)


class TokenTimes(NamedTuple):
    """Time limits, in seconds; tests hand in shorter ones."""

    refresh_min_s: float = 5.0
    """The token endpoint is asked no more often than this, whatever it answers."""
    fetch_s: float = 15.0
    """One attempt. The client's own limit is minutes; `az` takes seconds."""


class NoToken(Exception):
    """Entra ID gave no token yet, or the last one expired."""


@dataclass(frozen=True, slots=True)
class Token:
    """Of one scope; no token at all is one that expired long ago."""

    scope: str
    text: str = field(default="", repr=False)
    expires: float = 0.0

    @property
    def header(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.text}"}

    @property
    def good(self) -> bool:
        return _now() < self.expires


class Identity:
    """Who the relay is for the model: a managed identity in Azure, ``az login`` on a laptop.

    ``on_failure`` is called with the name of the error each time no token could be had.
    """

    def __init__(self, scope: str, on_failure: Callable[[str], None], times: TokenTimes) -> None:
        self._times = times
        self._on_failure = on_failure
        self._token = Token(scope)
        self._other = Token(OTHER_SCOPES[scope]) if scope in OTHER_SCOPES else None
        self._asking: asyncio.Task[None] | None = None
        self._ask_again = 0.0
        self._credential: DefaultAzureCredential
        self._wanted = asyncio.Event()
        self._tried = asyncio.Event()

    def token(self) -> Token:
        """The one for a dial. Raises NoToken; never waits."""
        if not self.ready:
            raise NoToken
        return self._token

    def taken(self, token: Token) -> None:
        """The model let a dial in with ``token``: from now on every one has its scope, and no other is tried."""
        if self._other is not None and token.scope == self._other.scope:
            self._token = self._other
            # The next renewal is timed by the other token's life.
            self._wanted.set()
        self._other = None

    async def another(self, refused: Token) -> Token | None:
        """A token of the other scope for a dial that the model refused with 401.

        None: there is none, or a scope is known to be the right one. Waits for the endpoint where it has to, together
        with whoever else asks.
        """
        other = self._other
        if other is not None and not other.good and self._asking is None and _now() >= self._ask_again:
            self._asking = asyncio.create_task(self._ask(other.scope))
        if self._asking is not None:
            await asyncio.shield(self._asking)
        known = [self._token, *filter(None, [self._other])]
        return next((each for each in known if each.good and each.scope != refused.scope), None)

    @property
    def ready(self) -> bool:
        """Whether a dial would have a token. If not, one is fetched as soon as the endpoint may be asked."""
        if self._token.good:
            return True
        # The time until the next renewal does not pass while the machine sleeps.
        self._wanted.set()
        return False

    @contextlib.asynccontextmanager
    async def kept_fresh(self) -> AsyncIterator[None]:
        """Has tried once when it yields, or for START_S; then renews at half of the remaining life until it is left."""
        async with DefaultAzureCredential() as self._credential:
            refreshing = asyncio.create_task(self._refresh())
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(START_S):
                        await self._tried.wait()
                yield
            finally:
                refreshing.cancel()
                if self._asking is not None:
                    self._asking.cancel()

    async def _refresh(self) -> None:
        while True:
            found = await self._fetch(self._token.scope)
            # Meanwhile the other scope may have turned out to be the right one.
            if found is not None and found.scope == self._token.scope:
                self._token = found
            self._tried.set()
            await asyncio.sleep(self._times.refresh_min_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._half_life_s() - self._times.refresh_min_s)):
                    await self._wanted.wait()
            self._wanted.clear()

    def _half_life_s(self) -> float:
        return (self._token.expires - _now()) / 2

    async def _ask(self, scope: str) -> None:
        self._ask_again = _now() + self._times.refresh_min_s
        found = await self._fetch(scope)
        if found is not None and self._other is not None:
            self._other = found
        self._asking = None

    async def _fetch(self, scope: str) -> Token | None:
        try:
            async with asyncio.timeout(self._times.fetch_s):
                token = await self._credential.get_token(scope)
        except Exception as problem:  # noqa: BLE001 - the client raises whatever it stumbles over in an answer
            # Messages quote that answer: the name of the error is all that may be logged.
            self._on_failure(type(problem).__name__)
            return None
        lifetime_s = token.expires_on - time.time()
        return Token(scope, token.token, _now() + (lifetime_s if lifetime_s > 0 else DOUBTFUL_S))


def _now() -> float:
    """A clock that nobody sets, and that goes on while the machine sleeps (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
