"""The template with its parameters worked out: what a deployment would send, as the stage's ARM evaluates it."""

import asyncio
from collections.abc import Mapping
from typing import Any, TypeAlias

from stage.arm import template
from stage.arm.resources import Asked
from stage.arm.scope import Document, Place, Scope

Sent: TypeAlias = Mapping[str, Any]
"""Type of a resource -> its properties."""
_READ = ("clientId", "principalId", "endpoint", "loginServer", "customerId", "defaultDomain", "staticIp", "ipAddress")
OF_AZURE = "<of Azure>"
_ADDED = dict.fromkeys(_READ, OF_AZURE)
"""What Azure adds to resources and the template reads, beside a name below a domain of its own."""


def sent(compiled: Document, **parameters: Any) -> Sent:
    """``compiled``: main.bicep, by the stage's compiler. Raises Rejected for what ARM refuses, such as a parameter."""
    return {each.kind: each.body.get("properties", {}) for each in asked(compiled, **parameters)}


def asked(compiled: Document, **parameters: Any) -> list[Asked]:
    """The same with every resource, in the order of their making. Raises Rejected."""
    notes = _Notes()
    given = {name: {"value": value} for name, value in parameters.items()}
    asyncio.run(template.deploy({"template": compiled, "parameters": given}, "any", "any", notes))
    return notes.asked


class _Notes:
    """A visitor who takes everything down and has nothing against it."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._known: dict[str, Document] = {}

    def check(self, written: Document) -> None: ...

    async def resource(self, asked: Asked) -> Document:
        self.asked.append(asked)
        self._known[asked.id.lower()] = {"properties": _shown(asked.body.get("properties", {}), asked.name)}
        return self._known[asked.id.lower()]

    def place(self, group: str, deployment: str) -> Place:
        return Place(group, {"location": "anywhere"}, deployment, self._find)

    def begun(self, scope: Scope) -> None: ...

    def skipped(self, deployment: str) -> None: ...

    def ended(self, scope: Scope, outputs: Document) -> None: ...

    def _find(self, resource: str) -> Document | None:
        """A storage account is the operator's, and there before the template."""
        return self._known.get(resource.lower()) or ({"properties": {}} if "/Microsoft.Storage/" in resource else None)


def _shown(value: Any, of: str) -> Any:
    """With all that Azure adds, at every place where it could stand."""
    if not isinstance(value, dict):
        return value
    return {**_ADDED, "fqdn": f"{of}.{OF_AZURE}", **{name: _shown(inner, of) for name, inner in value.items()}}
