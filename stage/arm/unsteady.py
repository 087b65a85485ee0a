"""A control plane on a bad day: which requests fail, how often each one does, and how, by a seed."""

import random
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

Fault = Literal["lost", "answer lost", "throttled", "unavailable", "locked"]
"""`lost`: the connection breaks and nothing was done. `answer lost`: all was done, and the connection breaks then."""

WRITE: Sequence[Fault] = ("lost", "answer lost", "throttled", "unavailable")
READ: Sequence[Fault] = ("lost", "throttled", "unavailable")
# POST is how ARM asks for what is not to be cached, too.
_READING = ("listsecrets", "getauthtoken", "validate", "whatif", "listbuildsourceuploadurl", "listlogsasurl")


@dataclass
class Unsteady:
    """``writes`` and ``reads`` are the shares of requests that fail, each up to ``most`` times before it is served.

    What fails depends on the seed and on how often the same was asked before, not on what is asked meanwhile.
    """

    seed: int = 0
    writes: float = 1.0
    reads: float = 0.0
    most: int = 2
    kinds: Collection[str] = (*WRITE, "locked")
    """How they fail; a read is served where none of these is for it."""
    _ahead: dict[tuple[str, str], deque[Fault | None]] = field(default_factory=dict)
    _asked: dict[tuple[str, str], int] = field(default_factory=dict)

    def strike(self, verb: str, path: str) -> Fault | None:
        """What becomes of the next request of that kind; None: it is served."""
        path = path.lower().rstrip("/")
        key = (verb, path.rpartition("/")[0] if "/operation" in path else path)
        ahead = self._ahead.setdefault(key, deque())
        if not ahead:
            ahead.extend(self._plan(*key))
        return ahead.popleft()

    def _plan(self, verb: str, path: str) -> list[Fault | None]:
        asked = self._asked[verb, path] = self._asked.get((verb, path), 0) + 1
        chance = random.Random(f"{self.seed} {verb} {path} {asked}")
        share, kinds = (self.writes, WRITE) if writes(verb, path) else (self.reads, READ)
        if "/containerapps/" in path and kinds is WRITE:
            kinds = (*kinds, "locked")
        kinds = [each for each in kinds if each in self.kinds]
        if not kinds or chance.random() >= share:
            return [None]
        return [*chance.choices(kinds, k=chance.randint(1, self.most)), None]


def writes(verb: str, path: str) -> bool:
    """Whether such a request changes anything."""
    return verb in ("PUT", "PATCH", "DELETE") or (
        verb == "POST" and path.lower().rstrip("/").rpartition("/")[2] not in _READING
    )
