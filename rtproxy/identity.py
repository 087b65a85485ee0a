"""The Entra ID token for the model, fetched at start and kept fresh in the background.

A dial never waits for the token endpoint while it has a token that is valid.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable

from azure.identity.aio import DefaultAzureCredential

REFRESH_MIN_S = 5.0
"""The token endpoint is asked no more often than this, whatever it answers."""
FETCH_TIMEOUT_S = 15.0
"""One attempt. The client's own limit is minutes; `az` takes seconds."""
START_S = 2.0
"""What a start waits for the first token: the template's startup probe gives it 10 s, the issuer's keys included."""
DOUBTFUL_S = 300.0
"""What a token is good for that was expired when it was given out: then it is the wall clock that is wrong."""

# Its warnings quote the endpoint's answer: what may be said of a failure goes to ``on_failure``.
logging.getLogger("azure").setLevel(logging.CRITICAL)


class NoToken(Exception):
    """Entra ID gave no token yet, or the last one expired."""


class Identity:
    """Who the relay is for the model: a managed identity in Azure, ``az login`` on a laptop.

    ``on_failure`` is called with the name of the error each time no token could be had.
    """

    def __init__(self, scope: str, on_failure: Callable[[str], None]) -> None:
        self._scope = scope
        self._on_failure = on_failure
        self._token = ""
        self._expires = 0.0
        self._wanted = asyncio.Event()
        self._tried = asyncio.Event()

    def header(self) -> dict[str, str]:
        """The header of a dial. Raises NoToken; never waits."""
        if not self.ready:
            raise NoToken
        return {"Authorization": f"Bearer {self._token}"}

    @property
    def ready(self) -> bool:
        """Whether a dial would have a token. If not, one is fetched as soon as the endpoint may be asked."""
        if _now() < self._expires:
            return True
        # The time until the next renewal does not pass while the machine sleeps.
        self._wanted.set()
        return False

    @contextlib.asynccontextmanager
    async def kept_fresh(self) -> AsyncIterator[None]:
        """Has tried once when it yields, or for START_S; then renews at half of the remaining life until it is left."""
        async with DefaultAzureCredential() as credential:
            refreshing = asyncio.create_task(self._refresh(credential))
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(START_S):
                        await self._tried.wait()
                yield
            finally:
                refreshing.cancel()

    async def _refresh(self, credential: DefaultAzureCredential) -> None:
        while True:
            await self._fetch(credential)
            self._tried.set()
            await asyncio.sleep(REFRESH_MIN_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, (self._expires - _now()) / 2 - REFRESH_MIN_S)):
                    await self._wanted.wait()
            self._wanted.clear()

    async def _fetch(self, credential: DefaultAzureCredential) -> None:
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                token = await credential.get_token(self._scope)
        except Exception as problem:  # noqa: BLE001 - the client raises whatever it stumbles over in an answer
            # Messages quote that answer: the name of the error is all that may be logged.
            self._on_failure(type(problem).__name__)
        else:
            lifetime_s = token.expires_on - time.time()
            self._token, self._expires = token.token, _now() + (lifetime_s if lifetime_s > 0 else DOUBTFUL_S)


def _now() -> float:
    """A clock that nobody sets, and that goes on while the machine sleeps (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
