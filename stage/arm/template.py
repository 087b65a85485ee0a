"""An ARM template, deployed resource by resource in the order that they need one another.

Whether that changes anything is the visitor's to say: it is handed each resource and answers what it is then, so that
what refers to it can be evaluated. What the stage cannot do is refused by name: a template that half works here would
say nothing about Azure.
"""

import graphlib
from collections.abc import Mapping
from typing import Any, Protocol

from stage.arm import parameters, resources
from stage.arm.expressions import references, resolve
from stage.arm.ids import DEPLOYMENTS
from stage.arm.resources import Asked
from stage.arm.scope import Document, Place, Scope
from stage.arm.syntax import invalid

_KNOWN = {"$schema", "contentVersion", "languageVersion", "metadata", "definitions", "parameters", "variables"}
_KNOWN |= {"resources", "outputs"}


class Visitor(Protocol):
    """What is done about the resources of a template."""

    async def resource(self, asked: Asked) -> Document:
        """What the resource is, once it is as ``asked``. Raises Rejected."""

    def place(self, group: str, deployment: str) -> Place:
        """Where a template goes. Raises Rejected when there is no such group."""

    def begun(self, scope: Scope) -> None:
        """A template's parameters are good, and its resources are next."""

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
    listed = _by_symbol(template.get("resources") or {})
    scope.existing |= {name: _id(each, scope) for name, each in listed.items() if each.get("existing")}
    for name in _ordered(listed):
        if resolve(listed[name].get("condition", True), scope):
            scope.deployed[name] = await _resource(listed[name], scope, visitor)
    outputs = _outputs(parameters.declared(template, "outputs"), scope)
    visitor.ended(scope, outputs)
    return outputs


async def _resource(resource: Document, scope: Scope, visitor: Visitor) -> Document:
    if str(resource.get("type")).lower() == DEPLOYMENTS.lower():
        return await _nested(resource, scope, visitor)
    wanted = {name: value for name, value in resource.items() if name not in ("condition", "dependsOn")}
    return await visitor.resource(resources.read(resolve(wanted, scope), scope.place.group))


async def _nested(resource: Document, scope: Scope, visitor: Visitor) -> Document:
    """A module: a template of its own, which sees nothing of the one around it but its parameters."""
    properties = resource.get("properties") or {}
    how = (properties.get("expressionEvaluationOptions") or {}).get("scope")
    name = resolve(resource.get("name"), scope)
    if str(how).lower() != "inner":
        raise invalid(f"the deployment '{name}' is evaluated in the scope '{how}'; the stage knows inner only")
    group = resolve(resource.get("resourceGroup", scope.place.group), scope)
    inner = {**properties, "parameters": resolve(properties.get("parameters") or {}, scope)}
    return {"properties": {"outputs": await deploy(inner, group, name, visitor)}}


def _by_symbol(listed: Any) -> dict[str, Document]:
    """The resources by their symbolic names; those of a list have their places instead."""
    if isinstance(listed, list):
        if any("dependsOn" in each for each in listed):
            raise invalid("dependsOn in a list of resources: the stage wants symbolic names, languageVersion 2.0")
        listed = {str(at + 1): each for at, each in enumerate(listed)}
    return dict(listed)


def _ordered(listed: Mapping[str, Document]) -> list[str]:
    """Every resource to be deployed after those it depends on; else as written."""
    sorter: graphlib.TopologicalSorter[str] = graphlib.TopologicalSorter()
    for name, resource in listed.items():
        asked = resource.get("dependsOn") or ()
        if unknown := sorted(set(asked) - set(listed)):
            raise invalid(f"the resource '{name}' depends on '{unknown[0]}', which the template does not have")
        sorter.add(name, *asked, *(references(_own(resource)) & set(listed)))
    try:
        return [name for name in sorter.static_order() if not listed[name].get("existing")]
    except graphlib.CycleError as fault:
        raise invalid(f"a circular dependency: {' -> '.join(fault.args[1])}") from None


def _own(resource: Document) -> Document:
    """What is evaluated in the template's own scope: not the template inside of a module."""
    properties = {name: value for name, value in (resource.get("properties") or {}).items() if name != "template"}
    return {**resource, "properties": properties}


def _id(resource: Document, scope: Scope) -> str:
    named = {name: resource[name] for name in ("type", "name", "scope", "resourceGroup") if name in resource}
    known = resolve(named, scope)
    return resources.read(known, known.get("resourceGroup", scope.place.group)).id


def _outputs(declared: Mapping[str, Any], scope: Scope) -> Document:
    outputs = {}
    for name, about in declared.items():
        if parameters.secure(about):
            raise invalid(f"the output '{name}' is of type {about['type']}; nothing secret comes out of a deployment")
        if resolve(about.get("condition", True), scope):
            outputs[name] = {"type": about.get("type"), "value": resolve(about.get("value"), scope)}
    return outputs
