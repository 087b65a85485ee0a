"""Template deployments to a resource group: validate, what-if, create, and what was deployed.

There are two visitors of a template: one predicts what would change, the other makes the change.
"""

import json
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from stage.arm import catalog, documents, inventory, roles, template
from stage.arm.expressions import Access, Call, Node, is_expression, parse
from stage.arm.resources import APPS, DEPLOYMENTS, GATEWAYS, ROLE_ASSIGNMENTS, STORAGE_ACCOUNTS, Asked, resource_id
from stage.arm.routes import ANY_GROUP, Route
from stage.arm.scope import Document, Place, Scope, is_secure, masked, texts
from stage.arm.subscription import Subscription
from stage.platform import Rejected

# A string, or what is to go: a comment, or a comma before a closing bracket.
_STRING = r'"(?:[^"\\]|\\.)*"'
_COMMENT = re.compile(rf"({_STRING})|//[^\n]*|/\*.*?\*/", re.DOTALL)
_TRAILING_COMMA = re.compile(rf"({_STRING})|,(?=\s*[\]}}])", re.DOTALL)
# az writes {"properties": {..., template:{...}}} with this one key unquoted.
_BARE_KEY = re.compile(rf"({_STRING})|\btemplate(?=\s*:)", re.DOTALL)
# Of apps and environments, what is a list or an object. Of the environment variables of a container the names do not
# matter here: their list does.
_WHOLE = {"configuration", "containers", "customDomains", "dapr", "env", "identitySettings", "ingress"}
DEPLOYMENT = f"{ANY_GROUP}/providers/{DEPLOYMENTS}/{{name}}"
_WHOLE |= {"initContainers", "ipSecurityRestrictions", "probes", "registries", "resources", "rules", "scale", "secrets"}
_WHOLE |= {"stickySessions", "template", "traffic", "volumeMounts", "volumes", "workloadProfiles"}
_WHOLE |= {"appLogsConfiguration", "vnetConfiguration"}


def parse_deployment(text: str) -> dict[str, Any]:
    bare = _COMMENT.sub(lambda found: found[1] or " ", text)
    bare = _TRAILING_COMMA.sub(lambda found: found[1] or "", bare)
    bare = _BARE_KEY.sub(lambda found: found[1] or '"template"', bare)
    try:
        body = json.loads(bare)
    except ValueError as fault:
        raise Rejected("InvalidRequestContent", f"The deployment cannot be parsed: {fault}.") from None
    if not isinstance(body, dict):
        raise Rejected("InvalidRequestContent", "The deployment must be an object.")
    return body


def check_schema(resource: dict[str, Any]) -> None:
    """Raises Rejected for a resource of Microsoft.App in which a list or an object is one expression with reference().

    It is not worked out by then, and the provider takes it for a text (azure-container-apps #391).
    """
    if not str(resource.get("type")).lower().startswith("microsoft.app/"):
        return
    for path in _paths(resource.get("properties"), "properties"):
        what = f"The request body of '{resource.get('type')}' has an invalid schema: '{path}' is a string."
        raise Rejected("ContainerAppInvalidSchema", what)


def _paths(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _paths(inner, f"{at}.{name}")
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _paths(inner, f"{at}[{place}]")
    elif is_expression(value) and at.rpartition(".")[2] in _WHOLE and _asks(parse(value)):
        yield at


def _asks(node: Node) -> bool:
    match node:
        case Call(name, arguments):
            return name.lower() == "reference" or any(map(_asks, arguments))
        case Access(target, key):
            return _asks(target) or _asks(key)
    return False


def change(resource_id: str, before: dict[str, Any] | None, after: dict[str, Any]) -> dict[str, Any]:
    """One entry of `changes`; ``before`` is None for a resource that does not exist."""
    if before is None:
        return {"resourceId": resource_id, "changeType": "Create", "before": None, "after": after, "delta": None}
    delta = _delta(before, after)
    kind = "Modify" if delta else "NoChange"
    return {"resourceId": resource_id, "changeType": kind, "before": before, "after": after, "delta": delta}


def ignored(resource_id: str, document: dict[str, Any]) -> dict[str, Any]:
    """The entry of a resource that exists and is not in the template."""
    return {"resourceId": resource_id, "changeType": "Ignore", "before": document, "after": document, "delta": None}


def short_circuited(deployment: str) -> dict[str, Any]:
    """The diagnostic of a module that is left out."""
    why = "A nested deployment got short-circuited and all its resources got skipped from validation. This is due to a "
    why += "nested template having a parameter that was not fully evaluated (e.g. contains a reference() function). "
    why += "Please see https://aka.ms/WhatIfEvalStopped for more guidance."
    return {"level": "Warning", "code": "NestedDeploymentShortCircuited", "message": why, "target": deployment}


def _delta(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += [{**each, "path": f"{name}.{each['path']}"} for each in _delta(old, new)]
        elif isinstance(old, list) and isinstance(new, list) and old != new:
            found.append(_entry(name, "Array", old, new, _items(old, new)))
        elif old != new:
            kind = "Create" if name not in before else "Delete" if name not in after else "Modify"
            found.append(_entry(name, kind, old, new))
    return found


def _items(before: list[Any], after: list[Any]) -> list[dict[str, Any]]:
    """The entries of an array's items, compared place by place; their paths are places."""
    found = []
    for at in range(max(len(before), len(after))):
        if at >= len(before) or at >= len(after):
            kind = "Create" if at >= len(before) else "Delete"
            found.append(_entry(str(at), kind, *(each[at] if at < len(each) else None for each in (before, after))))
        elif before[at] != after[at]:
            both = isinstance(before[at], dict) and isinstance(after[at], dict)
            inner = _delta(before[at], after[at]) if both else None
            found.append(_entry(str(at), "Modify", before[at], after[at], inner))
    return found


def _entry(
    path: str, kind: str, before: Any, after: Any, children: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    return {"path": path, "propertyChangeType": kind, "before": before, "after": after, "children": children}


class Prediction:
    """What a deployment would change. Nothing is written; later resources find the planned ones as if they existed."""

    def __init__(self, subscription: Subscription, group: str) -> None:
        self.changes: list[dict[str, Any]] = []
        self.diagnostics: list[dict[str, Any]] = []
        self.scopes: list[Scope] = []
        """Of all templates, the outermost first."""
        self._subscription = subscription
        self._group = subscription.group(group)
        self._thought: dict[str, Document] = {}

    def check(self, written: Document) -> None:
        check_schema(written)

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
        self.diagnostics.append(short_circuited(deployment))

    def begun(self, scope: Scope) -> None:
        self.scopes.append(scope)

    def ended(self, scope: Scope, outputs: Document) -> None:
        """Nothing to do: nothing was deployed."""

    def told(self) -> list[dict[str, Any]]:
        """The changes, and what is in the group and not in the template, with no secret in any of them."""
        named = {each["resourceId"].lower() for each in self.changes}
        others = [each for each in inventory.listed(self._subscription, self._group) if each["id"].lower() not in named]
        secrets = set().union(*(scope.secrets() for scope in self.scopes), self._known_secrets())
        shown: list[dict[str, Any]] = masked(self.changes, secrets)
        return shown + [ignored(each["id"], each) for each in others]

    def _find(self, resource: str) -> Document | None:
        return self._thought.get(resource.lower()) or inventory.find(self._subscription, resource)

    def _change(self, asked: Asked) -> dict[str, Any]:
        before = inventory.asked_before(self._subscription, asked)
        # A region has two spellings, and az sends back the one that it was shown.
        then = None if before is None else {**before.body, **catalog.shown_region(before.body)}
        now = {**asked.body, **catalog.shown_region(asked.body)}
        if asked.kind.lower() == APPS.lower():
            stored = (then or {}).get("properties") or {}
            properties = documents.created(now.get("properties") or {}, stored)
            now = {**now, "properties": documents.comparable(properties)}
            then = then and {**then, "properties": documents.comparable(stored)}
        return change(asked.id, then, now)

    def _known_secrets(self) -> set[str]:
        """The values of secrets that apps have now, which are what a what-if compares with."""
        apps = self._subscription.environment.apps.values()
        of_apps = [each for app in apps for each in app.properties.get("configuration", {}).get("secrets", ())]
        return texts([each["value"] for each in of_apps if "value" in each]) | self._of_stores()

    def _of_stores(self) -> set[str]:
        """Those of vaults, and the keys of storage accounts."""
        store = self._subscription.store
        values = [each.body["properties"].get("value") for each in store.of(roles.SECRETS)]
        keys = [roles.account_keys(each.id) for each in store.of(STORAGE_ACCOUNTS)]
        return texts([*values, *(key["value"] for each in keys for key in each["keys"])])


class Creation:
    """A deployment that is carried out. Each module of it is a deployment too, as on Azure."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._made: list[str] = []
        self._granted: set[str] = set()
        """Roles that are new in this deployment: what the same deployment makes comes too early to use them."""
        self._open: list[tuple[Scope, int]] = []
        """The templates under way, and how much was made when each began."""

    def check(self, written: Document) -> None:
        """Nothing to do: it was checked before anything was made."""

    async def resource(self, asked: Asked) -> Document:
        if asked.kind.lower() == GATEWAYS.lower():
            roles.check_certificate(self._subscription, asked, self._granted)
        elif asked.kind.lower() == APPS.lower():
            roles.check_values(self._subscription, asked, self._granted)
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
        """Never called: all is known during a deployment."""

    def begun(self, scope: Scope) -> None:
        self._open.append((scope, len(self._made)))
        self._write(scope, "Running")

    def ended(self, scope: Scope, outputs: Document) -> None:
        _, before = self._open.pop()
        made = [{"id": each} for each in self._made[before:]]
        self._write(scope, "Succeeded", outputs=outputs, outputResources=made)

    def ended_early(self, error: Document) -> None:
        """Marks what has not ended by now as failed; what was made stays."""
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
                if not is_secure(about)
            },
            "providers": [],
            "dependencies": [],
            **more,
        },
    }


async def listed(subscription: Subscription, request: web.Request, group: str) -> web.Response:
    wanted = subscription.group(group)
    return web.json_response({"value": [each for (at, _), each in subscription.deployments.items() if at == wanted]})


async def show(subscription: Subscription, request: web.Request, group: str, name: str) -> web.Response:
    found = subscription.deployments.get((subscription.group(group), name))
    if found is None:
        raise Rejected("DeploymentNotFound", f"Deployment '{name}' could not be found.", 404)
    return web.json_response(found)


async def validate(subscription: Subscription, request: web.Request, group: str, name: str) -> web.Response:
    """az calls this before it writes, and it can show what is refused here; a refused write makes az crash."""
    prediction, _ = await _predict(subscription, request, group, name)
    _check_over(subscription, group, name)
    return web.json_response(deployment(prediction.scopes[0], "Succeeded"))


async def what_if(subscription: Subscription, request: web.Request, group: str, name: str) -> web.Response:
    """An error in the template ends the operation, because a refusal here makes az crash."""
    prediction = Prediction(subscription, group)
    properties = parse_deployment(await request.text()).get("properties") or {}
    result: dict[str, Any] = {}
    operation = subscription.operations.start(_tell(prediction, properties, group, name, result), result)
    both = subscription.operations.headers(operation) | subscription.operations.location(operation)
    return web.Response(status=202, headers=both)


async def put(subscription: Subscription, request: web.Request, group: str, name: str) -> web.Response:
    """Refuses the whole deployment before anything changes, if an error is known by then."""
    prediction, properties = await _predict(subscription, request, group, name)
    _check_over(subscription, group, name)
    key = (subscription.group(group), name)
    subscription.check_stays(key[0])
    subscription.deployments[key] = document = deployment(prediction.scopes[0], "Running")
    operation = subscription.operations.start(_create(subscription, properties, *key))
    return web.json_response(document, status=201, headers=subscription.operations.headers(operation))


def _check_over(subscription: Subscription, group: str, name: str) -> None:
    """Raises Rejected while an earlier deployment of that name goes on."""
    earlier = subscription.deployments.get((subscription.group(group), name))
    if earlier is not None and earlier["properties"]["provisioningState"] == "Running":
        what = f"Unable to edit or replace deployment '{name}': previous deployment is still active."
        raise Rejected("DeploymentActive", what, 409)


async def _predict(
    subscription: Subscription, request: web.Request, group: str, name: str
) -> tuple[Prediction, dict[str, Any]]:
    properties = parse_deployment(await request.text()).get("properties") or {}
    prediction = Prediction(subscription, group)
    await template.deploy(properties, group, name, prediction)
    return prediction, properties


async def _create(subscription: Subscription, properties: dict[str, Any], group: str, name: str) -> None:
    creation = Creation(subscription)
    error = {"code": "StageDefect", "message": "the stage failed; its log says where"}
    try:
        await template.deploy(properties, group, name, creation)
    except Rejected as refusal:
        error = {"code": refusal.code, "message": str(refusal)}
        raise
    finally:
        creation.ended_early(error)


async def _tell(
    prediction: Prediction, properties: dict[str, Any], group: str, name: str, result: dict[str, Any]
) -> None:
    await template.deploy(properties, group, name, prediction)
    result["properties"] = {"changes": prediction.told(), "diagnostics": prediction.diagnostics}


ROUTES: tuple[Route, ...] = (
    ("GET", f"{ANY_GROUP}/providers/{DEPLOYMENTS}", listed),
    ("GET", DEPLOYMENT, show),
    ("PUT", DEPLOYMENT, put),
    ("POST", f"{DEPLOYMENT}/validate", validate),
    ("POST", f"{DEPLOYMENT}/whatIf", what_if),
)
