"""The order of operators.

pycep's grammar has none: it reads `a == b && c` as `a == (b && c)` and `a.b == c` as `a.(b == c)`, always to the
right, so its tree holds the right operands in the right order and nothing else. Here they are put together again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from stage.bicep.syntax import Member, Node, Operation

_BINDS = {
    "?:": 1,
    "??": 2,
    "||": 3,
    "&&": 4,
    "==": 5,
    "!=": 5,
    "<": 6,
    "<=": 6,
    ">": 6,
    ">=": 6,
    "+": 7,
    "-": 7,
    "*": 8,
    "/": 8,
    "%": 8,
}
_PREFIX = 9
KNOWN = frozenset(_BINDS)


@dataclass(frozen=True)
class Prefix:
    symbol: str


@dataclass(frozen=True)
class Infix:
    symbol: str
    middle: Node | None = None
    """Of `?:`, what stands between the two signs."""


@dataclass(frozen=True)
class Access:
    """What follows an operand after a dot or in brackets."""

    key: Node
    safe: bool


Item = Node | Prefix | Infix | Access


def ordered(items: Sequence[Item]) -> Node:
    """The expression which these items, as they stand in the file, are."""
    node, rest = _climb(list(items), 0)
    assert not rest, "every item is an operand or belongs to one"
    return node


def _climb(items: list[Item], at_least: int) -> tuple[Node, list[Item]]:
    left, items = _operand(items)
    while items:
        sign = items[0]
        assert isinstance(sign, Infix)
        binds = _BINDS[sign.symbol]
        if binds < at_least:
            break
        # Of equal operators the left one comes first; only the conditional one goes to the right.
        right, items = _climb(items[1:], binds if sign.middle else binds + 1)
        left = Operation(sign.symbol, (left, sign.middle, right) if sign.middle else (left, right))
    return left, items


def _operand(items: list[Item]) -> tuple[Node, list[Item]]:
    first, rest = items[0], items[1:]
    assert not isinstance(first, Infix | Access)
    if isinstance(first, Prefix):
        inner, rest = _climb(rest, _PREFIX)
        return Operation(first.symbol, (inner,)), rest
    while rest and isinstance(rest[0], Access):
        first, rest = Member(first, rest[0].key, rest[0].safe), rest[1:]
    return first, rest
