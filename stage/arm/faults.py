"""What can be made to go wrong with the control plane while it runs: by a call in a test, by POST from outside."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import web

from stage.arm.body import read
from stage.arm.ids import APPS
from stage.arm.unsteady import Unsteady
from stage.platform import Rejected

UNITS = 10
"""As a subscription that asked for no more often has."""
REFUSALS = {
    "tasks": "the registry builds nothing, as where a subscription is on trial",
    "docker-hub": "Docker Hub lets nobody pull without a login, because somebody else at the address pulled too much",
    "subscription": "reads of the whole subscription: the caller has rights on groups only",
}


class Faults:
    """Switches for writes. The data plane stays healthy, whatever they say."""

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
        """Told the verb and the path of each request that changes anything, before it does."""
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
        """The subscription is not registered for a resource provider, until somebody registers it."""
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
        """The next write of an app will not come to anything."""
        return self._failing(APPS) is not None or not self._cleared.is_set()

    def strike(self) -> Coroutine[Any, Any, None]:
        """The whole life of an app's write that came while a fault was `pending`; raises what became of it."""
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

    async def answer(self, request: web.Request) -> web.Response:
        """POST of {"fault": "fail", "message": ..., "type": ...}, "unregister" with "namespace", "hang" or "none".

        Or "give up", "unoffer" with the "category" of a log, "refuse" with "what", "quota" with the "units" there are,
        or "stumble" with the fields of `Unsteady`.
        """
        asked = await read(request)
        match asked.get("fault"):
            case "fail":
                message = str(asked.get("message", "the stage was told to fail this"))
                self.fail_next(message, str(asked.get("type", APPS)))
            case "unregister":
                self.unregister(str(asked.get("namespace")))
            case "unoffer":
                self.not_offered.add(str(asked.get("category")))
            case "quota":
                self.quota = int(asked.get("units", UNITS))
            case "refuse":
                self.refuse(str(asked.get("what")))
            case "stumble":
                self.stumble(**{name: value for name, value in asked.items() if name != "fault"})
            case "hang":
                self.hang()
            case "give up":
                self.give_up()
            case "none":
                self.clear()
            case other:
                known = "fail, unregister, unoffer, refuse, quota, stumble, hang, give up or none"
                raise Rejected("UnknownFault", f"fault is {other!r}; it must be {known}")
        return web.json_response({"fault": asked["fault"]})
