"""An ARM template, deployed resource by resource, each after those that it depends on.

Whether that changes anything is decided by the visitor: it gets each resource and returns what the resource is then, so
that what refers to it can be evaluated. What the stage cannot do is refused by name: a template that half works here
would prove nothing about Azure. A template has its resources by symbolic names (languageVersion 2.0), or in a list,
where they name each other by their ids.
"""

import graphlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from stage.arm import resources
from stage.arm.expressions import Unfit, Unresolved, is_resolved, references, resolve, shown, tree
from stage.arm.resources import DEPLOYMENTS, Asked, invalid
from stage.arm.scope import Document, Place, Scope, declarations, given_values, is_secure

_KNOWN = {"$schema", "contentVersion", "languageVersion", "metadata", "definitions", "parameters", "variables"}
_KNOWN |= {"resources", "outputs"}
_NAMING = ("type", "name", "scope", "resourceGroup")


@dataclass(frozen=True)
class Entry:
    """One resource; `key` is what the template's other expressions call it, in the scope's `deployed`."""

    key: str
    id: str
    resource: Document
    after: tuple[str, ...]
    """The keys of those that it waits for."""
    wanted: bool
    """Whether its condition holds."""


class NotKnownYet(Exception):
    """A name or a condition of a template that only a deployment can tell, because a parameter is such a value."""


def ordered(template: Mapping[str, Any], scope: Scope) -> list[Entry]:
    """Every resource to be deployed after those it depends on; else as written. Raises Rejected and NotKnownYet.

    What the template only names (`existing`) is in the scope from now on.
    """
    declared = template.get("resources") or {}
    if isinstance(declared, dict) and declared and template.get("languageVersion") != "2.0":
        raise invalid("resources by their symbolic names need languageVersion 2.0")
    entries = _by_symbol(declared, scope) if isinstance(declared, dict) else _by_id(declared, scope)
    sorter = graphlib.TopologicalSorter({entry.key: entry.after for entry in entries.values()})
    try:
        known = [entries[key] for key in sorter.static_order()]
    except graphlib.CycleError as fault:
        raise invalid(f"a circular dependency: {' -> '.join(fault.args[1])}") from None
    return [entry for entry in known if entry.wanted and not entry.resource.get("existing")]


def at_start(value: Any, scope: Scope) -> Any:
    """`value`, which has to be known before anything is deployed.

    Raises Rejected where it asks what a resource is, NotKnownYet where a parameter does.
    """
    found = resolve(value, _Start(scope))
    if not is_resolved(found):
        raise NotKnownYet
    return found


@dataclass(frozen=True)
class _Start:
    """A scope in which nothing is deployed yet."""

    scope: Scope

    def contextual(self, name: str) -> Callable[..., Any] | None:
        return _unexpected if name == "reference" else self.scope.contextual(name)


def _unexpected(*_: str) -> Any:
    raise Unfit("the template function 'reference' is not expected at this location")


def _by_symbol(declared: Mapping[str, Document], scope: Scope) -> dict[str, Entry]:
    found = {}
    for name, resource in declared.items():
        asked = resource.get("dependsOn") or ()
        if unknown := sorted(set(asked) - set(declared)):
            raise invalid(f"the resource '{name}' depends on '{unknown[0]}', which the template does not have")
        after = (*asked, *sorted(references(_own(resource)) & set(declared)))
        found[name] = Entry(name, _id(resource, scope), resource, after, _wanted(resource, scope))
        if resource.get("existing"):
            scope.existing[name] = found[name].id
    return found


def _by_id(declared: list[Document], scope: Scope) -> dict[str, Entry]:
    """A reference by id says nothing about the order: the compiler writes `dependsOn` for each."""
    ids = [_id(resource, scope) for resource in declared]
    found: dict[str, Entry] = {}
    for own, resource in zip(ids, declared, strict=True):
        if own.lower() in found:
            raise invalid(f"the resource '{own}' is in the template twice")
        after = [str(each).lower() for each in at_start(resource.get("dependsOn") or [], scope)]
        if unknown := sorted(set(after) - {each.lower() for each in ids}):
            raise invalid(f"the resource '{unknown[0]}' is not defined in the template; '{own}' depends on it")
        found[own.lower()] = Entry(own.lower(), own, resource, tuple(after), _wanted(resource, scope))
    return found


def _wanted(resource: Document, scope: Scope) -> bool:
    return bool(at_start(resource.get("condition", True), scope))


def _own(resource: Document) -> Document:
    """What is evaluated in the template's own scope: not the template inside of a module."""
    properties = {name: value for name, value in (resource.get("properties") or {}).items() if name != "template"}
    return {**resource, "properties": properties}


def _id(resource: Document, scope: Scope) -> str:
    known = at_start({name: resource[name] for name in _NAMING if name in resource}, scope)
    return resources.read_resource(known, known.get("resourceGroup", scope.place.group)).id


class Visitor(Protocol):
    """What is done with the resources of a template."""

    def check(self, written: Document) -> None:
        """A resource as the template has it, with nothing evaluated. Raises Rejected."""

    async def resource(self, asked: Asked) -> Document:
        """What the resource is, once it is as ``asked``. Raises Rejected."""

    def place(self, group: str, deployment: str) -> Place:
        """Where a template goes. Raises Rejected when there is no such group."""

    def begun(self, scope: Scope) -> None:
        """The parameters of a template are valid, and its resources follow."""

    def skipped(self, deployment: str) -> None:
        """A module is left out, because only its deployment can tell what its resources are called."""

    def ended(self, scope: Scope, outputs: Document) -> None:
        """All resources of a template exist."""


async def deploy(properties: Mapping[str, Any], group: str, deployment: str, visitor: Visitor) -> Document:
    """Deploys the template in the `properties` of a deployment; its outputs. Raises Rejected."""
    template = properties.get("template")
    if not isinstance(template, dict):
        raise invalid("there is no template in the request; templateLink is not on the stage")
    if properties.get("mode", "Incremental") != "Incremental":
        raise invalid(f"mode is {properties['mode']!r}; the stage deploys Incremental only")
    if odd := sorted(set(template) - _KNOWN):
        raise invalid(f"'{odd[0]}' of a template is nothing that the stage can do")
    declared = declarations(template)
    template = {**template, "parameters": declared}
    given = given_values(declared, properties.get("parameters") or {})
    scope = Scope(visitor.place(group, deployment), template, given)
    for name in declared:
        scope.parameter(name)
    visitor.begun(scope)
    for entry in ordered(template, scope):
        scope.deployed[entry.key] = await _resource(entry, scope, visitor)
    outputs = _outputs(declarations(template, "outputs"), scope)
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
    return await visitor.resource(resources.read_resource(shown(resolve(wanted, scope)), scope.place.group))


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
        if is_secure(about):
            raise invalid(f"the output '{name}' is of type {about['type']}; nothing secret comes out of a deployment")
        if resolve(about.get("condition", True), scope):
            value = resolve(about.get("value"), scope)
            outputs[name] = {
                "type": about.get("type"),
                "value": value if is_resolved(value) else Unresolved(tree(value)),
            }
    return outputs
