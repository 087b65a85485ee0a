"""What ARM answers with 201 or 202 and finishes later, and where a caller asks how it is getting on."""

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from stage.arm.ids import LOCATION, SUBSCRIPTION
from stage.platform import Rejected

PATH = "/subscriptions/{subscription}/providers/Microsoft.App/locations/{location}"
# The only header that both of az's clients heed, and without it they wait for 2 and for 30 s.
PACE = {"x-ms-retry-after-ms": "50"}


@dataclass
class Operation:
    """One change under way. Ended by its work: a Rejected is a failure that the caller gets to read."""

    result: dict[str, Any]
    """What there is to show when it succeeded, beside the status; the work may fill it."""
    name: str = field(default_factory=lambda: str(uuid.uuid4()))
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    status: str = "InProgress"
    error: dict[str, str] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Rejected as refusal:
            self._fail(refusal.code, str(refusal))
        except Exception as fault:
            self._fail("StageDefect", f"the stage failed: {type(fault).__name__}; its log says where")
            raise
        else:
            self.status = "Succeeded"
        finally:
            self.ended.set()

    def _fail(self, code: str, message: str) -> None:
        self.status, self.error = "Failed", {"code": code, "message": message}


class Operations:
    """Every operation since the start; those that have not ended are cancelled with the stage."""

    def __init__(self) -> None:
        self.url = ""
        """Of the ARM endpoint, once it listens."""
        self._known: dict[str, Operation] = {}
        self._writing: dict[str, Operation | None] = {}
        """Of each app that is being written, the operation that it waits for, as soon as there is one."""
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None], result: dict[str, Any] | None = None) -> Operation:
        operation = Operation({} if result is None else result)
        self._known[operation.name] = operation
        task = asyncio.create_task(operation.follow(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return operation

    def busy(self, app: str) -> bool:
        """Whether a write of that app goes on."""
        return app in self._writing and ((operation := self._writing[app]) is None or not operation.ended.is_set())

    @contextmanager
    def alone(self, app: str) -> Iterator[Callable[[Operation], Operation]]:
        """One write of an app, which goes on until the operation that the block hands over has ended.

        Raises Rejected where another goes on: the service takes one at a time.
        """
        if self.busy(app):
            what = (
                f"Cannot modify a container app '{app}' because there is an active provisioning operation in progress."
            )
            raise Rejected("ContainerAppOperationInProgress", what, 409)
        self._writing[app] = None

        def goes_on(operation: Operation) -> Operation:
            self._writing[app] = operation
            return operation

        try:
            yield goes_on
        finally:
            if self._writing.get(app) is None:
                self._writing.pop(app, None)

    def find(self, name: str) -> Operation:
        if name not in self._known:
            raise Rejected("OperationNotFound", f"there is no operation {name}", 404)
        return self._known[name]

    def headers(self, operation: Operation) -> dict[str, str]:
        """Of an answer that leaves ``operation`` to be followed by its status."""
        return {"Azure-AsyncOperation": self._address("operationStatuses", operation), **PACE}

    def location(self, operation: Operation) -> dict[str, str]:
        """The same in the older protocol, where the answer is 202 until it is over."""
        return {"Location": self._address("operationResults", operation), **PACE}

    async def stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _address(self, kind: str, operation: Operation) -> str:
        return self.url + PATH.format(subscription=SUBSCRIPTION, location=LOCATION) + f"/{kind}/{operation.name}"
