"""What the two parties of a call share: its script, its ledger, and what the script says of the ids on the wire."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable

from tests.rtproxy.scripted.ledger import Ledger
from tests.rtproxy.scripted.script import Answer, Mcp, Script, Tool


class Call:
    """Ids are made by one party and looked up by the other, as if both read the same script."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.ledger = Ledger()
        self.causes: dict[str, tuple[str, ...]] = {}
        """By the id of a response, or of an MCP call: the debts that it pays."""
        self.answers: dict[str, Answer] = {}
        self.tools: dict[str, Tool] = {}
        self.mcp: dict[str, Mcp] = {}
        self.asks: deque[str] = deque()
        """The requests for a response that are on their way to the model."""
        self.refused: deque[str] = deque()
        """Those whose refusal is on its way back."""
        self.unready: set[str] = set()
        """The caller will ask for these, and there is something else to be done before."""
        self.buffered = False
        """The model has audio that is not committed."""
        self.on_append: Callable[[], None] = lambda: None
        """The caller's audio has arrived at the model."""
        self._numbers = itertools.count(1)
        self._news = asyncio.Event()

    def name(self, kind: str) -> str:
        """A new name: of a debt, as "tool 7"."""
        return f"{kind} {next(self._numbers)}"

    def id(self, kind: str) -> str:
        """A new id on the wire."""
        return f"{kind}_{next(self._numbers)}"

    def changed(self) -> None:
        """Something arrived at either party."""
        self._news.set()
        self._news = asyncio.Event()

    async def until(self, true: Callable[[], bool]) -> None:
        """Waits until what arrives has made it so."""
        while not true():
            await self._news.wait()
