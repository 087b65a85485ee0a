"""The relays behind one address, asked for their /status in rounds, until each replica has answered for itself.

A balancer picks who answers, so each question has a connection of its own and carries no cookie.
"""

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple, Self

import aiohttp
import orjson
from yarl import URL

from clients.address import Address, dialled
from clients.observations import Probed
from clients.refusal import Refusal, from_exception

ROUND_DEADLINE_S = 10.0
# One replica that hangs must not use up the round of the others.
ANSWER_DEADLINE_S = 3.0
# After an answer that told nothing new; a balancer that takes turns is not slowed down by it.
ASK_AGAIN_S = 0.05


class WrongAddress(Exception):
    """Several revisions answered at one address."""


class Status(NamedTuple):
    revision: str
    replica: str
    sessions: int
    quiet: int
    oldest_s: float
    draining: bool


class Relays:
    """`failure` is the last question that had no good answer, if any."""

    def __init__(self, url: URL, connect_to: Address | None, trust: ssl.SSLContext | bool) -> None:
        self.failure: Refusal | None = None
        self.revision: str | None = None
        self._url = url
        self._there, self._host, self._server_hostname = dialled(url, connect_to)
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, ssl=trust),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=ANSWER_DEADLINE_S),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.close()

    async def ask(self, names: Sequence[str] | None, within_s: float) -> Probed:
        """One round: until all of `names` have answered; None: until anybody has. Raises WrongAddress.

        With no names nothing is asked: a request would wake up a revision that is scaled to zero.
        """
        answers: dict[str, Status] = {}
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not answers if names is None else not answers.keys() >= set(names):
                    heard = len(answers)
                    if (answer := await self._ask_one()) is not None:
                        answers[answer.replica] = answer
                    if len(answers) == heard:
                        await asyncio.sleep(ASK_AGAIN_S)
        missing = [name for name in names or () if name not in answers]
        return Probed(
            url=str(self._url),
            revision=self.revision,
            sessions=sum(answer.sessions for answer in answers.values()),
            quiet=sum(answer.quiet for answer in answers.values()),
            oldest_s=max((answer.oldest_s for answer in answers.values()), default=0.0),
            replicas={answer.replica: answer.sessions for answer in answers.values()},
            draining={answer.replica: answer.draining for answer in answers.values()},
            missing=missing,
            complete=not missing and (bool(answers) or names is not None),
        )

    async def _ask_one(self) -> Status | None:
        try:
            async with self._http.get(
                self._there, headers=self._host, server_hostname=self._server_hostname, allow_redirects=False
            ) as response:
                answer = _read(response.status, await response.read())
        except Refusal as refusal:
            self.failure = refusal
            return None
        except (aiohttp.ClientError, OSError) as error:
            self.failure = from_exception(error)
            return None
        if self.revision not in (None, answer.revision):
            raise WrongAddress(f"both {self.revision} and {answer.revision} answered: it is not one revision's own")
        self.revision = answer.revision
        return answer


def _read(status: int, body: bytes) -> Status:
    """Raises Refusal for what is no relay's answer."""
    try:
        said = orjson.loads(body) if status == 200 else {}
        counts = int(said["sessions"]), int(said["quiet"]), float(said["oldest_s"])
        return Status(str(said["revision"]), str(said["replica"]), *counts, said["draining"] is True)
    except (ValueError, KeyError, TypeError):
        raise Refusal(None, "not_a_relay", f"HTTP {status} with no relay's status in it") from None
