"""What can be made to go wrong with the control plane while it runs, by a call in a test or by POST from outside.

Requests can also fail on the way: which of them, how often and how depends on a seed.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from stage.arm.resources import APPS
from stage.platform import Rejected

Fault = Literal["lost", "answer lost", "throttled", "unavailable", "locked"]
"""`lost`: the connection breaks and nothing was done. `answer lost`: all was done, and the connection breaks then."""
WRITE: Sequence[Fault] = ("lost", "answer lost", "throttled", "unavailable")
READ: Sequence[Fault] = ("lost", "throttled", "unavailable")
# POST is how ARM asks for what is not to be cached, too.
_READING = ("listsecrets", "getauthtoken", "validate", "whatif", "listbuildsourceuploadurl", "listlogsasurl")
UNITS = 10
"""As a subscription that asked for no more often has."""
REFUSALS = {
    "tasks": "the registry builds nothing, as where a subscription is on trial",
    "docker-hub": "Docker Hub lets nobody pull without a login, because somebody else at the address pulled too much",
    "subscription": "reads of the whole subscription: the caller has rights on groups only",
}


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
        """How the next request of that kind fails; None: it is served."""
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


class Faults:
    """Switches for writes. The data plane stays healthy, whatever they are set to."""

    def __init__(self, give_up: Callable[[], None] = lambda: None) -> None:
        self.give_up = give_up
        """The platform gives up at once on every revision that is being provisioned."""
        self.unregistered: set[str] = set()
        """Namespaces of resource providers, in small letters, that the subscription is not registered for."""
        self.not_offered: set[str] = set()
        """Categories of logs that the region does not offer."""
        self.refused: set[str] = set()
        """Of REFUSALS."""
        self.watch: Callable[[str, str], None] | None = None
        """Gets the verb and the path of each request that changes anything, before the change."""
        self.unsteady: Unsteady | None = None
        """Which requests fail on the way, if any do."""
        self.quota = UNITS
        """Units of capacity that a region has for each model."""
        self._failures: list[tuple[str, str]] = []
        self._cleared = asyncio.Event()
        self._cleared.set()

    def fail_next(self, message: str, kind: str = APPS) -> None:
        """The next write of that type is accepted, changes nothing, and its operation fails with ``message``."""
        self._failures.append((kind.lower(), message))

    def unregister(self, namespace: str) -> None:
        """The subscription is not registered for a resource provider, until a request registers it."""
        self.unregistered.add(namespace.lower())

    def refuse(self, what: str) -> None:
        """One of REFUSALS from now on."""
        if what not in REFUSALS:
            raise Rejected("UnknownFault", f"the stage cannot refuse {what!r}; it can refuse {', '.join(REFUSALS)}")
        self.refused.add(what)

    def refuses(self, what: str) -> bool:
        return what in self.refused

    def hang(self) -> None:
        """Writes of apps are accepted, change nothing, and stay in progress until `clear` lets them expire.

        So did Azure's control plane in microsoft/azure-container-apps#1750.
        """
        self._cleared.clear()

    def stumble(self, **how: Any) -> None:
        """Requests fail on the way from now on, by a seed: ``how`` are the fields of `Unsteady`."""
        self.unsteady = Unsteady(**how)

    def clear(self) -> None:
        self.unsteady = None
        self._failures.clear()
        self.unregistered.clear()
        self.not_offered.clear()
        self.refused.clear()
        self.quota = UNITS
        self._cleared.set()

    @property
    def pending(self) -> bool:
        """The next write of an app will change nothing."""
        return self._failing(APPS) is not None or not self._cleared.is_set()

    def strike(self) -> Coroutine[Any, Any, None]:
        """The operation of an app's write that came while a fault was `pending`; raises its error."""
        failing = self._failing(APPS)
        if failing is None:
            return self._expire()
        self._failures.remove(failing)
        return self._fail(failing[1])

    def check(self, kind: str) -> None:
        """Raises Rejected when this write, of another type than apps, was to fail."""
        failing = self._failing(kind)
        if failing is not None:
            self._failures.remove(failing)
            raise Rejected("Conflict", failing[1], 409)

    def _failing(self, kind: str) -> tuple[str, str] | None:
        return next((each for each in self._failures if each[0] == kind.lower()), None)

    async def _fail(self, message: str) -> None:
        raise Rejected("ContainerAppOperationError", message, 409)

    async def _expire(self) -> None:
        await self._cleared.wait()
        raise Rejected("OperationExpired", "Operation expired.", 409)
