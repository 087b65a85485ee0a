"""What the names in a file stand for, and what follows from using one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from stage.bicep.syntax import (
    Call,
    Declaration,
    Literal,
    Member,
    Module,
    Name,
    Node,
    Refused,
    Resource,
    Var,
    children,
    expressions,
    walk,
)

_KNOWN_AT_START = {"id", "name", "type", "apiVersion"}
"""Of a resource: what is known without asking the platform."""


@dataclass(frozen=True)
class Names:
    declared: Mapping[str, Declaration]
    templates: Mapping[str, Mapping[str, Any]]
    """Of each module, what its file compiles to."""
    loaded: Mapping[Call, str]
    """Of each loadTextContent(), the variable that holds what it reads."""

    def find(self, name: Name) -> Declaration:
        if name.name not in self.declared:
            raise Refused(name.at, f"the name '{name.name}' is not declared")
        return self.declared[name.name]

    def deployed(self, node: Node) -> set[str]:
        """The resources and modules that `node` waits for: those it speaks of, itself or through other declarations.

        Nothing waits for an `existing` resource, only for what that one speaks of.
        """
        found = set()
        for name in _names(node):
            match self.find(name):
                case Module() | Resource(existing=False):
                    found.add(name.name)
                case Var(value=value):
                    found |= self.deployed(value)
                case Resource(body=body):
                    found |= self.deployed(body)
        return found

    def needs_platform(self, node: Node) -> bool:
        """Whether only the platform can say what `node` is, once something of the template is deployed."""
        match node:
            case Name() as name:
                declaration = self.find(name)
                if isinstance(declaration, Var):
                    return self.needs_platform(declaration.value)
                return isinstance(declaration, Resource | Module)
            case Member(Name() as name, Literal(key)) if isinstance(self.find(name), Resource | Module):
                return key not in _KNOWN_AT_START
        return any(self.needs_platform(child) for child in children(node))

    def check_cycles(self) -> None:
        """Raises Refused where a declaration needs itself in the end."""
        uses = {
            name: {self.find(used).name for node in expressions(declared) for used in _names(node)}
            for name, declared in self.declared.items()
        }
        try:
            TopologicalSorter(uses).prepare()
        except CycleError as cycle:
            ring = cycle.args[1]
            raise Refused(self.declared[ring[0]].at, f"these need each other: {' <- '.join(ring)}") from cycle


def _names(node: Node) -> Iterator[Name]:
    return (one for one in walk(node) if isinstance(one, Name))
