"""What can be made to go wrong with the control plane while it runs: by a call in a test, by POST from outside."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from aiohttp import web

from stage.arm.body import read
from stage.platform import Rejected


class Faults:
    """Switches for the writes of container apps. The data plane stays healthy, whatever they say."""

    def __init__(self) -> None:
        self._failures: list[str] = []
        self._cleared = asyncio.Event()
        self._cleared.set()

    def fail_next(self, message: str) -> None:
        """The next write is accepted, changes nothing, and its operation fails with ``message``."""
        self._failures.append(message)

    def hang(self) -> None:
        """Writes are accepted, change nothing, and stay in progress until `clear` lets them expire.

        So did Azure's control plane in microsoft/azure-container-apps#1750.
        """
        self._cleared.clear()

    def clear(self) -> None:
        self._failures.clear()
        self._cleared.set()

    @property
    def pending(self) -> bool:
        """The next write will not come to anything."""
        return bool(self._failures) or not self._cleared.is_set()

    def strike(self) -> Coroutine[Any, Any, None]:
        """The whole life of a write that came while a fault was `pending`; raises what became of it."""
        return self._fail(self._failures.pop(0)) if self._failures else self._expire()

    async def _fail(self, message: str) -> None:
        raise Rejected("ContainerAppOperationError", message, 409)

    async def _expire(self) -> None:
        await self._cleared.wait()
        raise Rejected("OperationExpired", "Operation expired.", 409)

    async def answer(self, request: web.Request) -> web.Response:
        """POST of {"fault": "fail", "message": ...}, {"fault": "hang"} or {"fault": "none"}."""
        asked = await read(request)
        match asked.get("fault"):
            case "fail":
                self.fail_next(str(asked.get("message", "the stage was told to fail this")))
            case "hang":
                self.hang()
            case "none":
                self.clear()
            case other:
                raise Rejected("UnknownFault", f"fault is {other!r}; it must be fail, hang or none")
        return web.json_response({"fault": asked["fault"]})
