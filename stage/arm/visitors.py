"""The two ways to go through a template: thinking of what would be, and making it so."""

import uuid
from datetime import UTC, datetime
from typing import Any

from stage.arm import catalog, documents, inventory, merge, outside, parameters, preflight, regions, whatif
from stage.arm.ids import APPS, DEPLOYMENTS, GATEWAYS, ROLE_ASSIGNMENTS, STORAGE_ACCOUNTS, resource_id
from stage.arm.resources import Asked
from stage.arm.scope import Document, Place, Scope, masked, texts
from stage.arm.subscription import Subscription


class Prediction:
    """What a deployment would change. Nothing is written; what it thought of is there for what comes after it."""

    def __init__(self, subscription: Subscription, group: str) -> None:
        self.changes: list[dict[str, Any]] = []
        self.diagnostics: list[dict[str, Any]] = []
        self.scopes: list[Scope] = []
        """Of all templates, the outermost first."""
        self._subscription = subscription
        self._group = subscription.group(group)
        self._thought: dict[str, Document] = {}

    def check(self, written: Document) -> None:
        preflight.check(written)

    async def resource(self, asked: Asked) -> Document:
        inventory.check(self._subscription, asked, self._find)
        self.changes.append(self._change(asked))
        app = asked.kind.lower() == APPS.lower()
        known = documents.planned if app else catalog.document
        self._thought[asked.id.lower()] = known(self._subscription, asked)
        return self._thought[asked.id.lower()]

    def place(self, group: str, deployment: str) -> Place:
        name = self._subscription.group(group)
        return Place(name, self._subscription.groups[name], deployment, self._find, deploys=False)

    def skipped(self, deployment: str) -> None:
        self.diagnostics.append(whatif.short_circuited(deployment))

    def begun(self, scope: Scope) -> None:
        self.scopes.append(scope)

    def ended(self, scope: Scope, outputs: Document) -> None:
        """It has not been deployed."""

    def told(self) -> list[dict[str, Any]]:
        """The changes, and what is in the group and not in the template, with no secret in any of them."""
        named = {each["resourceId"].lower() for each in self.changes}
        others = [each for each in inventory.listed(self._subscription, self._group) if each["id"].lower() not in named]
        secrets = set().union(*(scope.secrets() for scope in self.scopes), self._known_secrets())
        shown: list[dict[str, Any]] = masked(self.changes, secrets)
        return shown + [whatif.ignored(each["id"], each) for each in others]

    def _find(self, resource: str) -> Document | None:
        return self._thought.get(resource.lower()) or inventory.find(self._subscription, resource)

    def _change(self, asked: Asked) -> dict[str, Any]:
        before = inventory.asked_before(self._subscription, asked)
        # A region has two spellings, and az sends back the one that it was shown.
        then = None if before is None else {**before.body, **regions.shown(before.body)}
        now = {**asked.body, **regions.shown(asked.body)}
        if asked.kind.lower() == APPS.lower():
            stored = (then or {}).get("properties") or {}
            properties = merge.created(now.get("properties") or {}, stored)
            now = {**now, "properties": merge.comparable(properties)}
            then = then and {**then, "properties": merge.comparable(stored)}
        return whatif.change(asked.id, then, now)

    def _known_secrets(self) -> set[str]:
        """The values of secrets that apps have now, which are what a what-if compares with."""
        apps = self._subscription.environment.apps.values()
        of_apps = [each for app in apps for each in app.properties.get("configuration", {}).get("secrets", ())]
        return texts([each["value"] for each in of_apps if "value" in each]) | self._of_stores()

    def _of_stores(self) -> set[str]:
        """Those of vaults, and the keys of storage accounts."""
        store = self._subscription.store
        values = [each.body["properties"].get("value") for each in store.of(outside.SECRETS)]
        keys = [outside.account_keys(each.id) for each in store.of(STORAGE_ACCOUNTS)]
        return texts([*values, *(key["value"] for each in keys for key in each["keys"])])


class Creation:
    """A deployment that is done. Each module of it is a deployment too, as on Azure."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._made: list[str] = []
        self._granted: set[str] = set()
        """Roles that nobody had before: what is made in this deployment comes too early to have them."""
        self._open: list[tuple[Scope, int]] = []
        """The templates under way, and how much was made when each began."""

    def check(self, written: Document) -> None:
        """It was checked before anything was made."""

    async def resource(self, asked: Asked) -> Document:
        if asked.kind.lower() == GATEWAYS.lower():
            outside.check_certificate(self._subscription, asked, self._granted)
        elif asked.kind.lower() == APPS.lower():
            outside.check_values(self._subscription, asked, self._granted)
        new = self._subscription.store.find(asked.id) is None
        document = await inventory.make(self._subscription, asked)
        self._made.append(asked.id)
        if new and asked.kind.lower() == ROLE_ASSIGNMENTS.lower():
            self._granted.add(asked.id.lower())
        return document

    def place(self, group: str, deployment: str) -> Place:
        name = self._subscription.group(group)
        facts = self._subscription.groups[name]
        return Place(name, facts, deployment, lambda resource: inventory.find(self._subscription, resource))

    def skipped(self, deployment: str) -> None:
        """Never: all is known while it is deployed."""

    def begun(self, scope: Scope) -> None:
        self._open.append((scope, len(self._made)))
        self._write(scope, "Running")

    def ended(self, scope: Scope, outputs: Document) -> None:
        _, before = self._open.pop()
        made = [{"id": each} for each in self._made[before:]]
        self._write(scope, "Succeeded", outputs=outputs, outputResources=made)

    def ended_early(self, error: Document) -> None:
        """What has not ended by now has failed; what was made stays."""
        for scope, _ in self._open:
            self._write(scope, "Failed", error=error)

    def _write(self, scope: Scope, state: str, **more: Any) -> None:
        place = scope.place
        self._subscription.deployments[place.group, place.deployment] = deployment(scope, state, **more)


def deployment(scope: Scope, state: str, **more: Any) -> Document:
    """The document of a deployment; no parameter of a secure type is in it."""
    declared = scope.template.get("parameters") or {}
    return {
        "id": resource_id(scope.place.group, DEPLOYMENTS, scope.place.deployment),
        "name": scope.place.deployment,
        "type": DEPLOYMENTS,
        "properties": {
            "provisioningState": state,
            "mode": "Incremental",
            "timestamp": datetime.now(UTC).isoformat(),
            "duration": "PT0S",
            "correlationId": str(uuid.uuid4()),
            "parameters": {
                name: {"type": about["type"], "value": scope.parameter(name)}
                for name, about in declared.items()
                if not parameters.secure(about)
            },
            "providers": [],
            "dependencies": [],
            **more,
        },
    }
