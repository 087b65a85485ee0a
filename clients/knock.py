"""Dials as a stranger makes them: without a key, and with a key that nobody has in each place where one can stand."""

import dataclasses
import secrets
from collections.abc import Mapping
from typing import Literal

import aiohttp

from clients.dial import Line
from clients.observations import Knocked
from clients.refusal import Refusal
from clients.target import Target

LET_IN, TURNED_AWAY = 101, 401


@dataclasses.dataclass(frozen=True, slots=True)
class Knock:
    """One dial of a stranger and its answer. `shown` says what it showed, in words; `message` is the answer's own."""

    shown: str
    knocked: Knocked
    message: str

    @property
    def turned_away(self) -> bool:
        return self.knocked.status == TURNED_AWAY

    @property
    def let_in(self) -> bool:
        return self.knocked.status == LET_IN

    @property
    def answer(self) -> str:
        """In words, to go behind "with SHOWN"."""
        if self.knocked.status is None:
            return f"no answer ({self.message})"
        if self.let_in:
            return "let in"
        code = f" {self.knocked.code}" if self.knocked.code else ""
        return f"HTTP {self.knocked.status}{code}"


def strangers() -> Mapping[str, dict[str, str]]:
    """What each shows, in words, and the headers that show it. The keys are new ones, so nobody can have them."""
    bearer, plain, browser = (f"wrong-{secrets.token_hex(16)}" for _ in range(3))
    return {
        "no key": {},
        "a wrong key in Authorization": {"Authorization": f"Bearer {bearer}"},
        "a wrong key in api-key": {"api-key": plain},
        "a wrong key as subprotocol": {"Sec-WebSocket-Protocol": f"realtime, openai-insecure-api-key.{browser}"},
    }


async def knock(target: Target) -> list[Knock]:
    """Dials once for each of `strangers`, one after the other, whatever key `target` has; nobody stays connected."""
    knocks = []
    connector = aiohttp.TCPConnector(ssl=target.trust, force_close=True)
    async with connector:
        for shown, headers in strangers().items():
            line = Line(dataclasses.replace(target, headers=headers, key=None), connector)
            try:
                knocks.append(await _knock(target, shown, line, "wrong" if headers else "none"))
            finally:
                await line.close()
    return knocks


async def _knock(target: Target, shown: str, line: Line, credential: Literal["none", "wrong"]) -> Knock:
    status: int | None = LET_IN
    code, message = None, ""
    try:
        connection = await line.dial()
        await connection.socket.close(code=1000)
    except Refusal as refusal:
        status, code, message = refusal.status, refusal.code, refusal.message
    url, revision = str(target.url), line.revision
    return Knock(shown, Knocked(url=url, revision=revision, credential=credential, status=status, code=code), message)
