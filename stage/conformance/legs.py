"""Both legs of the relay before the suite: each runs all cases directly, and again with the relay between."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from aiohttp import ClientError, ClientSession

from stage.conformance import echo, suite
from stage.conformance.comparison import DIRECT, RELAYED
from stage.conformance.front import Front
from stage.conformance.install import Wstest
from stage.conformance.suite import Told
from stage.model import DEPLOYMENT
from stage.replica import Replica

CASE_TIMEOUT_S = 180.0
"""What a case may take at most: the suite itself gives up the longest, 16 MiB in bits, after 100 s."""


@contextlib.asynccontextmanager
async def _relay(model_port: int, log: Path) -> AsyncIterator[Replica]:
    """A relay process in front of the model. Nobody needs a key: the suite has no way to show one."""
    settings = {
        "AZURE_OPENAI_ENDPOINT": f"http://127.0.0.1:{model_port}",
        "AZURE_OPENAI_DEPLOYMENT": DEPLOYMENT,
        "AZURE_OPENAI_API_KEY": secrets.token_urlsafe(24),
        "RTPROXY_ALLOW_ANONYMOUS": "true",
    }
    with log.open("wb") as lines:
        replica = await Replica.start(settings, lines)
        try:
            yield replica
        finally:
            await replica.kill()


def _url(relay: Replica) -> str:
    return f"ws://127.0.0.1:{relay.port}/v1/realtime"


async def client_leg(wstest: Wstest, folder: Path, patterns: Sequence[str], told: Told) -> list[str]:
    """The suite is the client, the echo the model. Returns the cases' numbers; the report is in ``folder``."""
    async with echo.answering() as model_port, _relay(model_port, folder / "relay.jsonl") as relay:
        urls = {DIRECT: f"ws://127.0.0.1:{model_port}", RELAYED: _url(relay)}
        return await suite.ask(wstest, folder, urls, patterns, told)


async def upstream_leg(wstest: Wstest, folder: Path, patterns: Sequence[str], told: Told) -> list[str]:
    """The suite is the model, the echo the client. Returns the cases' numbers; the report is in ``folder``."""
    async with (
        suite.serve(wstest, folder, patterns, told) as serving,
        Front(serving.port) as front,
        _relay(front.port, folder / "relay.jsonl") as relay,
        ClientSession() as session,
    ):
        for agent in (DIRECT, RELAYED):
            for number in range(1, len(serving.cases) + 1):
                front.path = f"/runCase?case={number}&agent={agent}"
                url = f"{serving.url}{front.path}" if agent == DIRECT else _url(relay)
                # A case without an end, or without a beginning, is missing in the report.
                with contextlib.suppress(TimeoutError, ClientError):
                    async with asyncio.timeout(CASE_TIMEOUT_S):
                        await echo.asking(session, url)
                        await _asked(session, f"{serving.url}/getCaseStatus?case={number}&agent={agent}")
        await _asked(session, f"{serving.url}/updateReports?agent={RELAYED}")
    return serving.cases


async def _asked(session: ClientSession, url: str) -> None:
    """Waits until the suite has done what the URL says, be it that a case is over."""
    async with session.ws_connect(url) as socket:
        async for _ in socket:
            pass


LEGS = {"client": client_leg, "upstream": upstream_leg}
"""By the leg of the relay that is tried."""
