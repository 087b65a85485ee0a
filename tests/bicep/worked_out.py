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
_ADDED = dict.fromkeys((*_READ, "fqdn"), "<of Azure>")
"""What Azure adds to resources and the template reads."""


def sent(compiled: Document, **parameters: Any) -> Sent:
    """``compiled``: main.bicep, by the stage's compiler. Raises Rejected for what ARM refuses, such as a parameter."""
    notes = _Notes()
    given = {name: {"value": value} for name, value in parameters.items()}
    asyncio.run(template.deploy({"template": compiled, "parameters": given}, "any", "any", notes))
    return notes.sent


class _Notes:
    """A visitor who takes everything down and has nothing against it."""

    def __init__(self) -> None:
        self.sent: dict[str, Any] = {}
        self._known: dict[str, Document] = {}

    async def resource(self, asked: Asked) -> Document:
        self.sent[asked.kind] = asked.body.get("properties", {})
        self._known[asked.id.lower()] = {"properties": _shown(self.sent[asked.kind])}
        return self._known[asked.id.lower()]

    def place(self, group: str, deployment: str) -> Place:
        return Place(group, {"location": "anywhere"}, deployment, lambda resource: self._known.get(resource.lower()))

    def begun(self, scope: Scope) -> None: ...

    def ended(self, scope: Scope, outputs: Document) -> None: ...


def _shown(value: Any) -> Any:
    """With all that Azure adds, at every place where it could stand."""
    return {**_ADDED, **{name: _shown(inner) for name, inner in value.items()}} if isinstance(value, dict) else value
