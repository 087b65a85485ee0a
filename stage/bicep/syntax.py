"""The nouns of a Bicep file: what it declares, and the expressions it declares them with."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias


class At(NamedTuple):
    """A place in a file, both counted from 1."""

    line: int
    column: int


class BicepError(Exception):
    """Why a file cannot be compiled, in the form in which the compiler says it."""

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
