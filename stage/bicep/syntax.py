"""What a Bicep file declares, the expressions it declares them with, and what its names stand for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

_KNOWN_AT_START = {"id", "name", "type", "apiVersion"}
"""Of a resource: what is known without asking the platform."""


class At(NamedTuple):
    """A place in a file, both counted from 1."""

    line: int
    column: int


class BicepError(Exception):
    """Why a file cannot be compiled, in the compiler's format."""

    def __init__(self, path: Path, at: At, why: str) -> None:
        super().__init__(f"{path}({at.line},{at.column}) : Error: {why}")


class Refused(Exception):
    """A fault whose file is known further up; `compile` makes a BicepError of it."""

    def __init__(self, at: At, why: str) -> None:
        super().__init__(why)
        self.at = at


@dataclass(frozen=True)
class Literal:
    value: str | int | bool | None


@dataclass(frozen=True)
class Text:
    """A string with expressions in it."""

    parts: tuple["str | Node", ...]


@dataclass(frozen=True)
class Name:
    name: str
    at: At


@dataclass(frozen=True)
class Call:
    name: str
    arguments: tuple["Node", ...]
    at: At


@dataclass(frozen=True)
class Member:
    """`of.key`, `of['key']`, `of[0]`, and the same with `?`, where what is missing is null."""

    of: "Node"
    key: "Node"
    safe: bool


@dataclass(frozen=True)
class Operation:
    """An operator and its operands; `?:` has three, `!` and the `negative` sign have one."""

    symbol: str
    operands: tuple["Node", ...]


@dataclass(frozen=True)
class Array:
    items: tuple["Node", ...]


@dataclass(frozen=True)
class Object:
    pairs: tuple[tuple["Node", "Node"], ...]

    def get(self, key: str) -> "Node | None":
        return next((value for name, value in self.pairs if name == Literal(key)), None)


Node: TypeAlias = Literal | Text | Name | Call | Member | Operation | Array | Object


@dataclass(frozen=True)
class Decorator:
    name: str
    arguments: tuple[Node, ...]
    at: At


@dataclass(frozen=True)
class Declaration:
    name: str
    at: At
    decorators: tuple[Decorator, ...]


@dataclass(frozen=True)
class Named:
    """A type by its name: Bicep's own, such as `string`, or one that the file declares."""

    name: str
    at: At


@dataclass(frozen=True)
class OneOf:
    """The values that something can have: `'Multiple' | 'Single'`."""

    values: tuple[str | int, ...]


@dataclass(frozen=True)
class ListOf:
    of: "Type"


@dataclass(frozen=True)
class Optional:
    """`of?`: what may be null or left out."""

    of: "Type"


@dataclass(frozen=True)
class Fields:
    """An object with properties of known types."""

    fields: tuple["Field", ...]


Type: TypeAlias = Named | OneOf | ListOf | Optional | Fields


@dataclass(frozen=True)
class Field(Declaration):
    type: Type


@dataclass(frozen=True)
class TypeOf(Declaration):
    """`type name = ...`; `source` is the file that it was imported from."""

    type: Type
    source: str | None = None


@dataclass(frozen=True)
class Param(Declaration):
    type: Type
    default: Node | None


@dataclass(frozen=True)
class Var(Declaration):
    value: Node


@dataclass(frozen=True)
class Output(Declaration):
    type: Type
    value: Node


@dataclass(frozen=True)
class Resource(Declaration):
    type: str
    api_version: str
    existing: bool
    condition: Node | None
    body: Object


@dataclass(frozen=True)
class Module(Declaration):
    path: str
    condition: Node | None
    body: Object


@dataclass
class Source:
    """One file, read. A name means one thing only: `declared` holds all but the outputs.

    `imports` are the names that are declared in other files, each with the path as it is written.
    """

    metadata: dict[str, str] = field(default_factory=dict)
    declared: dict[str, Declaration] = field(default_factory=dict)
    outputs: dict[str, Output] = field(default_factory=dict)
    imports: dict[Name, str] = field(default_factory=dict)


def expressions(declared: Declaration) -> list[Node]:
    """What a declaration is declared with, its decorators aside."""
    match declared:
        case Param(default=default):
            found = [default]
        case Var(value=value) | Output(value=value):
            found = [value]
        case Resource(condition=condition, body=body) | Module(condition=condition, body=body):
            found = [condition, body]
        case _:
            found = []
    return [node for node in found if node is not None]


def walk(node: Node) -> Iterator[Node]:
    """The expression and all inside of it."""
    yield node
    for child in children(node):
        yield from walk(child)


def children(node: Node) -> tuple[Node, ...]:
    """The expressions directly inside of this one."""
    match node:
        case Text(parts):
            return tuple(part for part in parts if not isinstance(part, str))
        case Call(_, inner, _) | Operation(_, inner) | Array(inner):
            return inner
        case Member(of, key):
            return (of, key)
        case Object(pairs):
            return tuple(side for pair in pairs for side in pair)
        case _:
            return ()


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
        """The resources and modules that `node` waits for: those it uses, directly or through other declarations.

        Nothing waits for an `existing` resource, only for what that one uses.
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
        """Whether only the platform knows what `node` is, once something of the template is deployed."""
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
