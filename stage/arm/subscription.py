"""Everything that the control plane knows, beside what the platform knows about its apps."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stage.arm.faults import Faults
from stage.arm.ids import APPS, ENVIRONMENTS, GROUP, LOCATION, REGISTRIES, REGISTRY, resource_id
from stage.arm.operations import Operation, Operations
from stage.arm.registry import Registry
from stage.arm.resources import Asked
from stage.arm.store import Store
from stage.platform import App, Environment, Rejected, Revision


@dataclass
class Resource:
    """What an app has that the platform has no use for."""

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
        """Of the one there is. Raises Rejected when none was deployed."""
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
