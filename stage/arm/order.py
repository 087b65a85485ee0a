"""The resources of a template and the order in which they are deployed.

A template has them by symbolic names (languageVersion 2.0), or in a list, where they name each other by their ids.
"""

import graphlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stage.arm import resources
from stage.arm.expressions import references, resolve
from stage.arm.functions import Unfit
from stage.arm.scope import Document, Scope
from stage.arm.syntax import invalid, is_resolved


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
    return resources.read(known, known.get("resourceGroup", scope.place.group)).id


_NAMING = ("type", "name", "scope", "resourceGroup")
