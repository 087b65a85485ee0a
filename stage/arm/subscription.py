"""Everything that the control plane knows, beside what the platform knows about its apps.

That includes the container registry, which holds no layers, and the operations that ARM answers with 201 or 202 and
finishes later.
"""

import asyncio
import hashlib
import secrets
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stage.arm.faults import Faults
from stage.arm.resources import (
    APPS,
    ENVIRONMENTS,
    GROUP,
    LOCATION,
    REGISTRIES,
    REGISTRY,
    SUBSCRIPTION,
    Asked,
    Store,
    resource_id,
)
from stage.platform import App, Environment, Rejected, Revision

DEFAULT_TAG = "latest"
PATH = "/subscriptions/{subscription}/providers/Microsoft.App/locations/{location}"
# The only header that both of az's clients heed, and without it they wait for 2 and for 30 s.
PACE = {"x-ms-retry-after-ms": "50"}


@dataclass
class Run:
    """A build."""

    id: str
    status: str = "Queued"
    log: bytes = b""

    @property
    def over(self) -> bool:
        return self.status in ("Succeeded", "Failed")

    def end(self, status: str, log: list[str]) -> None:
        """Ends the run; az splits the log at CR LF."""
        self.status, self.log = status, "".join(f"{line}\r\n" for line in log).encode()


@dataclass
class Registry:
    """Handed to the platform as ``pull=registry.has``."""

    login_server: str = ""
    """host:port of the ARM endpoint, which serves the registry too, once it listens."""
    tags: dict[str, list[str]] = field(default_factory=dict)
    """Of each repository, oldest first."""
    digests: dict[str, set[str]] = field(default_factory=dict)
    """Of each repository."""
    contexts: dict[str, bytes] = field(default_factory=dict)
    """What was uploaded for builds, by the name of the upload. It stays, because a build may be asked for twice."""
    runs: dict[str, Run] = field(default_factory=dict)

    def add(self, repository: str, tag: str, digest: str = "") -> str:
        """Adds an image; returns its full name."""
        tags = self.tags.setdefault(repository, [])
        if tag not in tags:
            tags.append(tag)
        made_up = f"sha256:{hashlib.sha256(f'{repository}:{tag}'.encode()).hexdigest()}"
        self.digests.setdefault(repository, set()).add(digest or made_up)
        return f"{self.login_server}/{repository}:{tag}"

    def has(self, image: str) -> bool:
        """Whether ``image`` can be pulled; other registries are taken to have everything."""
        ours = f"{self.login_server}/"
        if not self.login_server or not image.startswith(ours):
            return True
        name, _, digest = image.removeprefix(ours).partition("@")
        repository, _, tag = name.partition(":")
        if digest:
            return digest in self.digests.get(repository, ())
        return (tag or DEFAULT_TAG) in self.tags.get(repository, ())

    def clear(self) -> None:
        """Forgets every image: the registry was deleted."""
        self.tags.clear()
        self.digests.clear()

    def new_run(self) -> Run:
        run = Run(f"ca{len(self.runs) + 1}")
        self.runs[run.id] = run
        return run

    def run(self, run: str) -> Run:
        if run not in self.runs:
            raise Rejected("RunNotFound", f"The run '{run}' was not found.", 404)
        return self.runs[run]

    def new_context(self) -> str:
        """The name of an upload to come."""
        name = f"{uuid.uuid4().hex}.tar.gz"
        self.contexts[name] = b""
        return name


@dataclass
class Operation:
    """One change under way. It ends with its work; a Rejected of the work is the error that the caller gets."""

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
        """The headers of an answer whose caller follows ``operation`` by its status."""
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


@dataclass
class Resource:
    """What an app has that the platform does not use."""

    group: str = GROUP
    fields: dict[str, Any] = field(default_factory=lambda: {"location": LOCATION})
    """`location`, `tags`, `identity`."""


@dataclass
class Subscription:
    environment: Environment
    registry: Registry
    timeline: Path
    """Where the platform writes down what it does."""
    model_url: str
    """Where every model account of the subscription answers."""
    deployments_file: Path | None = None
    """Where that model reads the names of their deployments."""
    operations: Operations = field(default_factory=Operations)
    faults: Faults = field(init=False)
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By name: location and tags."""
    leaving: dict[str, Operation] = field(default_factory=dict)
    """Groups that are being deleted."""
    store: Store = field(default_factory=Store)
    """What is in them, but for the apps."""
    deleted: list[Asked] = field(default_factory=list)
    """Model accounts that went with their group and can still be restored, or must be purged."""
    held: list[Asked] = field(default_factory=list)
    """Deployments of models that went with such an account: they hold their quota as long as it holds its name."""
    deployments: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """Documents, by group and name."""
    streams: str = ""
    """The URL below which logs are streamed."""
    stream_token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    """What a caller must show to read them."""
    _resources: dict[str, Resource] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.faults = Faults(self._give_up)

    def _give_up(self) -> None:
        for app in self.environment.apps.values():
            for revision in app.revisions.values():
                revision.give_up()

    def furnish(self) -> None:
        """Makes the group that a rehearsal finds, with the environment and the registry in it."""
        self.groups[GROUP] = {"location": LOCATION, "tags": {}}
        internal = {"vnetConfiguration": {"internal": True}}
        for kind, name, body in (
            (ENVIRONMENTS, self.environment.name, {"properties": internal}),
            (REGISTRIES, REGISTRY, {"sku": {"name": "Basic"}}),
        ):
            self.store.put(Asked(resource_id(GROUP, kind, name), kind, name, GROUP, {"location": LOCATION, **body}))

    def group(self, name: str) -> str:
        """The group's name as it was given; names are compared without regard to case."""
        for group in self.groups:
            if group.lower() == name.lower():
                return group
        raise Rejected("ResourceGroupNotFound", f"Resource group '{name}' could not be found.", 404)

    def check_stays(self, group: str) -> None:
        """Raises Rejected when nothing can be written in the group, because it is being deleted."""
        if group in self.leaving:
            what = f"The resource group '{group}' is in deprovisioning state and cannot perform this operation."
            raise Rejected("ResourceGroupBeingDeleted", what, 409)

    def environment_id(self) -> str:
        """The id of the environment. Raises Rejected when none was deployed."""
        for each in self.store.of(ENVIRONMENTS):
            return each.id
        raise Rejected("ManagedEnvironmentNotFound", "there is no Container Apps environment yet; deploy one first")

    def found(self, group: str, kind: str, name: str) -> Asked:
        """A resource that is in the store. Raises Rejected when there is no such one."""
        asked = self.store.find(resource_id(self.group(group), kind, name))
        if asked is None:
            what = f"The Resource '{kind}/{name}' under resource group '{group}' was not found."
            raise Rejected("ResourceNotFound", what, 404)
        return asked

    def resource(self, app: str) -> Resource:
        return self._resources.setdefault(app, Resource())

    def apps(self, group: str | None = None) -> list[App]:
        """All of them, or those of one group."""
        wanted = None if group is None else self.group(group)
        return [app for app in self.environment.apps.values() if wanted in (None, self.resource(app.name).group)]

    def find(self, group: str, name: str) -> App | None:
        return next((app for app in self.apps(group) if app.name.lower() == name.lower()), None)

    def app(self, group: str, name: str) -> App:
        found = self.find(group, name)
        if found is None:
            what = f"The Resource '{APPS}/{name}' under resource group '{group}' was not found."
            raise Rejected("ResourceNotFound", what, 404)
        return found

    def revision(self, group: str, name: str, revision: str) -> Revision:
        app = self.app(group, name)
        if revision not in app.revisions:
            raise Rejected("RevisionNotFound", f"Revision '{revision}' of container app '{name}' was not found.", 404)
        return app.revisions[revision]

    def forget(self, app: str) -> None:
        self._resources.pop(app, None)
