"""An ARM template, deployed resource by resource, in the order of `order`.

Whether that changes anything is the visitor's to say: it is handed each resource and answers what it is then, so that
what refers to it can be evaluated. What the stage cannot do is refused by name: a template that half works here would
say nothing about Azure.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from stage.arm import parameters, resources
from stage.arm.expressions import resolve
from stage.arm.ids import DEPLOYMENTS
from stage.arm.order import Entry, NotKnownYet, at_start, ordered
from stage.arm.resources import Asked
from stage.arm.scope import Document, Place, Scope
from stage.arm.syntax import Unresolved, invalid, is_resolved, shown, tree

_KNOWN = {"$schema", "contentVersion", "languageVersion", "metadata", "definitions", "parameters", "variables"}
_KNOWN |= {"resources", "outputs"}


class Visitor(Protocol):
    """What is done about the resources of a template."""

    def check(self, written: Document) -> None:
        """A resource as the template has it, with nothing evaluated. Raises Rejected."""

    async def resource(self, asked: Asked) -> Document:
        """What the resource is, once it is as ``asked``. Raises Rejected."""

    def place(self, group: str, deployment: str) -> Place:
        """Where a template goes. Raises Rejected when there is no such group."""

    def begun(self, scope: Scope) -> None:
        """A template's parameters are good, and its resources are next."""

    def skipped(self, deployment: str) -> None:
        """A module is left out, because only its deployment can tell what its resources are called."""

    def ended(self, scope: Scope, outputs: Document) -> None:
        """All of a template is there."""


async def deploy(properties: Mapping[str, Any], group: str, deployment: str, visitor: Visitor) -> Document:
    """Deploys the template in the `properties` of a deployment; its outputs. Raises Rejected."""
    template = properties.get("template")
    if not isinstance(template, dict):
        raise invalid("there is no template in the request; templateLink is not on the stage")
    if properties.get("mode", "Incremental") != "Incremental":
        raise invalid(f"mode is {properties['mode']!r}; the stage deploys Incremental only")
    if odd := sorted(set(template) - _KNOWN):
        raise invalid(f"'{odd[0]}' of a template is nothing that the stage can do")
    declared = parameters.declared(template)
    template = {**template, "parameters": declared}
    given = parameters.given(declared, properties.get("parameters") or {})
    scope = Scope(visitor.place(group, deployment), template, given)
    for name in declared:
        scope.parameter(name)
    visitor.begun(scope)
    for entry in ordered(template, scope):
        scope.deployed[entry.key] = await _resource(entry, scope, visitor)
    outputs = _outputs(parameters.declared(template, "outputs"), scope)
    visitor.ended(scope, outputs)
    return outputs


async def _resource(entry: Entry, scope: Scope, visitor: Visitor) -> Document:
    resource = entry.resource
    if str(resource.get("type")).lower() == DEPLOYMENTS.lower():
        try:
            return await _nested(resource, scope, visitor)
        except NotKnownYet:
            visitor.skipped(entry.id)
            return {"id": entry.id}
    visitor.check(resource)
    wanted = {name: value for name, value in resource.items() if name not in ("condition", "dependsOn")}
    return await visitor.resource(resources.read(shown(resolve(wanted, scope)), scope.place.group))


async def _nested(resource: Document, scope: Scope, visitor: Visitor) -> Document:
    """A module: a template of its own, which sees nothing of the one around it but its parameters."""
    properties = resource.get("properties") or {}
    how = (properties.get("expressionEvaluationOptions") or {}).get("scope")
    name = at_start(resource.get("name"), scope)
    if str(how).lower() != "inner":
        raise invalid(f"the deployment '{name}' is evaluated in the scope '{how}'; the stage knows inner only")
    group = at_start(resource.get("resourceGroup", scope.place.group), scope)
    inner = {**properties, "parameters": resolve(properties.get("parameters") or {}, scope)}
    return {"properties": {"outputs": await deploy(inner, group, name, visitor)}}


def _outputs(declared: Mapping[str, Any], scope: Scope) -> Document:
    outputs = {}
    for name, about in declared.items():
        if parameters.secure(about):
            raise invalid(f"the output '{name}' is of type {about['type']}; nothing secret comes out of a deployment")
        if resolve(about.get("condition", True), scope):
            value = resolve(about.get("value"), scope)
            outputs[name] = {
                "type": about.get("type"),
                "value": value if is_resolved(value) else Unresolved(tree(value)),
            }
    return outputs
