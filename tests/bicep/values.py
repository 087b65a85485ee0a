"""What an expression of Bicep can come to, as far as the file itself says."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product

from stage.bicep.syntax import (
    Array,
    Call,
    Declaration,
    Fields,
    ListOf,
    Literal,
    Name,
    Named,
    Node,
    Object,
    OneOf,
    Operation,
    Optional,
    Param,
    Text,
    Type,
    TypeOf,
    Var,
)
from stage.bicep.template import OWN

_RESULTS = {
    **dict.fromkeys(("string", "format", "replace", "toLower", "toUpper", "trim", "join", "loadTextContent"), "string"),
    **dict.fromkeys(("guid", "uniqueString", "resourceId", "subscriptionResourceId"), "string"),
    **dict.fromkeys(("empty", "contains", "startsWith", "endsWith", "bool"), "bool"),
    **dict.fromkeys(("length", "int"), "int"),
    **dict.fromkeys(("split", "array"), "array"),
}
_OPERATIONS = {
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "&&", "||", "!"), "bool"),
    **dict.fromkeys(("+", "-", "*", "/", "%", "negative"), "int"),
}


@dataclass(frozen=True)
class Values:
    """Reads expressions with the declarations of their file at hand, and with what its callers give it."""

    declared: Mapping[str, Declaration]
    given: Mapping[str, list[Literal]] = field(default_factory=dict)

    def outcomes(self, node: Node) -> Iterator[Node]:
        """Everything that `node` can be: both arms, what a variable or default says, objects and lists put together.

        What only a deployment can say comes out as it is written.
        """
        match node:
            case Operation("?:", (_, yes, no)):
                yield from self.outcomes(yes)
                yield from self.outcomes(no)
            case Operation("??", operands):
                for operand in operands:
                    yield from self.outcomes(operand)
            case Name(name) if name in self.declared:
                yield from self._named(node, self.declared[name])
            case Call("union", arguments):
                for parts in product(*(list(self.outcomes(argument)) for argument in arguments)):
                    yield _united(node, parts)
            case Call("concat", arguments):
                yield self._joined(node, arguments)
            case _:
                yield node

    def type(self, node: Node) -> str | None:
        """string, int, bool, array or object; None for what is not known, and for null."""
        match node:
            case Literal(None):
                return None
            case Literal(bool()):
                return "bool"
            case Literal(int()):
                return "int"
            case Literal() | Text():
                return "string"
            case Array():
                return "array"
            case Object():
                return "object"
            case Operation(symbol):
                return _OPERATIONS.get(symbol)
            case Call(name):
                return _RESULTS.get(name)
            case Name(name):
                declaration = self.declared.get(name)
                return plain(declaration.type, self.declared) if isinstance(declaration, Param) else None
        return None

    def _named(self, name: Node, declaration: Declaration) -> Iterator[Node]:
        match declaration:
            case Var(value=value):
                yield from self.outcomes(value)
            case Param(parameter, default=default):
                yield from self.given.get(parameter, [])
                for decorator in declaration.decorators:
                    if decorator.name == "allowed" and isinstance(decorator.arguments[0], Array):
                        yield from decorator.arguments[0].items
                if isinstance(default, Literal) and default.value != "":
                    yield default
                yield name
            case _:
                yield name

    def _joined(self, call: Node, arguments: tuple[Node, ...]) -> Node:
        """One list with whatever can be in it; concat() puts texts together as well."""
        parts = [outcome for argument in arguments for outcome in self.outcomes(argument)]
        lists = [part for part in parts if isinstance(part, Array)]
        return Array(tuple(item for part in lists for item in part.items)) if lists else call


def _united(call: Node, parts: tuple[Node, ...]) -> Node:
    pairs: dict[Node, Node] = {}
    for part in parts:
        if not isinstance(part, Object):
            return call
        pairs.update(part.pairs)
    return Object(tuple(pairs.items()))


def plain(type_: Type, declared: Mapping[str, Declaration]) -> str:
    """The one of Bicep's own types that the values have."""
    match type_:
        case Named(name) if name in OWN:
            return name
        case Named(name):
            found = declared[name]
            assert isinstance(found, TypeOf)
            return plain(found.type, declared)
        case Optional(of):
            return plain(of, declared)
        case OneOf(values):
            return "int" if isinstance(values[0], int) else "string"
        case ListOf():
            return "array"
        case Fields():
            return "object"
