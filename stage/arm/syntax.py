"""The text in the `[...]` of an ARM template, as a tree."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import lark

from stage.platform import Rejected

_GRAMMAR = r"""
?expression: call | text | number | property | index
call: NAME "(" [expression ("," expression)*] ")"
text: TEXT
number: NUMBER
property: expression "." NAME
index: expression "[" expression "]"
NAME: /[A-Za-z_]\w*/
TEXT: /'(?:[^']|'')*'/
NUMBER: /-?\d+/
%ignore /\s+/
"""


@dataclass(frozen=True)
class Literal:
    value: str | int


@dataclass(frozen=True)
class Call:
    name: str
    arguments: tuple["Node", ...]


@dataclass(frozen=True)
class Access:
    target: "Node"
    key: "Node"


Node: TypeAlias = Literal | Call | Access


@lark.v_args(inline=True)
class _Tree(lark.Transformer[lark.Token, Node]):
    def text(self, token: lark.Token) -> Node:
        return Literal(token[1:-1].replace("''", "'"))

    def number(self, token: lark.Token) -> Node:
        return Literal(int(token))

    def call(self, name: lark.Token, *arguments: Node | None) -> Node:
        return Call(str(name), tuple(each for each in arguments if each is not None))

    def property(self, target: Node, name: lark.Token) -> Node:
        return Access(target, Literal(str(name)))

    def index(self, target: Node, key: Node) -> Node:
        return Access(target, key)


_PARSER = lark.Lark(_GRAMMAR, start="expression", parser="lalr", transformer=_Tree(), maybe_placeholders=True)


@lru_cache(maxsize=4096)
def parse(text: str) -> Node:
    """The tree of ``text``, brackets and all. Raises Rejected."""
    try:
        return _PARSER.parse(text[1:-1])  # type: ignore[return-value]  # lark says Tree whatever the transformer does
    except lark.exceptions.UnexpectedInput as fault:
        raise invalid(f"the expression {text} cannot be parsed at column {fault.column}") from None


@dataclass(frozen=True)
class Unresolved:
    """A value that only a deployment can tell: what is left of its expression. A what-if shows the text."""

    node: Node

    def __str__(self) -> str:
        return f"[{written(self.node)}]"


def written(node: Node) -> str:
    """The text of a tree."""
    match node:
        case Literal(str(text)):
            return "'" + text.replace("'", "''") + "'"
        case Literal(number):
            return str(number)
        case Call(name, arguments):
            return f"{name}({', '.join(map(written, arguments))})"
        case Access(target, Literal(str(key))):
            return f"{written(target)}.{key}"
        case Access(target, key):
            return f"{written(target)}[{written(key)}]"


def tree(value: Any) -> Node:
    """The expression whose value is ``value``."""
    match value:
        case Unresolved(node):
            return node
        case None | bool():
            return Call("null" if value is None else str(value).lower(), ())
        case str() | int():
            return Literal(value)
        case list():
            return Call("createArray", tuple(map(tree, value)))
        case dict():
            return Call("createObject", tuple(tree(side) for pair in value.items() for side in pair))
    return Call("json", (Literal(str(value)),))


def shown(value: Any) -> Any:
    """A copy of ``value`` with the text of whatever is unresolved."""
    if isinstance(value, dict):
        return {str(name): shown(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shown(inner) for inner in value]
    return str(value) if isinstance(value, Unresolved) else value


def is_resolved(value: Any) -> bool:
    if isinstance(value, dict):
        return all(is_resolved(side) for pair in value.items() for side in pair)
    return all(map(is_resolved, value)) if isinstance(value, list) else not isinstance(value, Unresolved)


def invalid(why: str) -> Rejected:
    return Rejected("InvalidTemplate", f"Deployment template validation failed: {why}.")
