"""The text in the `[...]` of an ARM template, as a tree."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

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


def invalid(why: str) -> Rejected:
    return Rejected("InvalidTemplate", f"Deployment template validation failed: {why}.")
