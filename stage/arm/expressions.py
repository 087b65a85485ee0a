"""The expressions of ARM templates: the text in `[...]` as a tree, and its value in a scope.

A name after a dot and one in brackets are the same; names of functions and of properties have no case. The functions
that depend on their arguments alone are those that our templates use.
"""

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

import lark

from stage.arm.resources import guid, invalid, unique_string

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
_HOLE = re.compile(r"\{\{|\}\}|\{(\d+)\}")
_MAKING = {"createarray", "createobject"}
_MOVING = {"array", "concat", "empty", "first", "flatten", "last", "length", "skip", "take", "tryget", "union"}


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


class Unfit(Exception):
    """An expression that has no value; the message says why."""


def boolean(value: Any) -> bool:
    """``value``, which must be a boolean; raises Unfit."""
    if not isinstance(value, bool):
        raise Unfit(f"a value of type {type(value).__name__} stands where a boolean must")
    return value


def string(value: Any) -> str:
    """The text of ``value``, as the functions `string`, `format` and `concat` write it."""
    if isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _format(pattern: str, *values: Any) -> str:
    def fill(hole: re.Match[str]) -> str:
        return string(values[int(hole[1])]) if hole[1] else hole[0][0]

    return _HOLE.sub(fill, pattern)


def _concat(*values: Any) -> Any:
    if values and isinstance(values[0], list):
        return [each for value in values for each in value]
    return "".join(string(each) for each in values)


def _union(*values: Any) -> Any:
    if isinstance(values[0], list):
        merged: list[Any] = []
        for each in (each for value in values for each in value):
            if each not in merged:
                merged.append(each)
        return merged
    combined: dict[str, Any] = {}
    for value in values:
        for name, inner in value.items():
            both = isinstance(inner, dict) and isinstance(combined.get(name), dict)
            combined[name] = _union(combined[name], inner) if both else inner
    return combined


def _contains(container: Any, wanted: Any) -> bool:
    if isinstance(container, dict):
        return str(wanted).lower() in (name.lower() for name in container)
    return wanted in container


def _create_object(*pairs: Any) -> dict[str, Any]:
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def _try_get(value: Any, *path: Any) -> Any:
    for key in path:
        if isinstance(value, dict):
            value = next((inner for name, inner in value.items() if name.lower() == str(key).lower()), None)
        else:
            value = value[key] if isinstance(value, list) and key < len(value) else None
    return value


def _equals(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _bool(value: Any) -> bool:
    return value.lower() == "true" if isinstance(value, str) else bool(value)


def _least(*values: Any) -> Any:
    return min(values[0] if isinstance(values[0], list) else values)


def _most(*values: Any) -> Any:
    return max(values[0] if isinstance(values[0], list) else values)


def _cidr_subnet(network: str, prefix: int, index: int) -> str:
    """The network of that many bits at that place, from 0, inside of ``network``."""
    whole = ipaddress.ip_network(network)
    if not whole.prefixlen <= prefix <= whole.max_prefixlen or not 0 <= index < 1 << (prefix - whole.prefixlen):
        raise Unfit(f"{network} has no network /{prefix} at place {index}")
    first = int(whole.network_address) + (index << (whole.max_prefixlen - prefix))
    return f"{ipaddress.ip_address(first)}/{prefix}"


TABLE: Mapping[str, Callable[..., Any]] = {
    # Of texts.
    "concat": _concat,
    "format": _format,
    "string": string,
    "tolower": lambda text: text.lower(),
    "toupper": lambda text: text.upper(),
    "trim": lambda text: text.strip(),
    "replace": lambda text, old, new: text.replace(old, new),
    "split": lambda text, by: re.split("|".join(map(re.escape, [by] if isinstance(by, str) else by)), text),
    "join": lambda parts, between: between.join(string(each) for each in parts),
    "startswith": lambda text, start: text.lower().startswith(start.lower()),
    "endswith": lambda text, end: text.lower().endswith(end.lower()),
    "cidrsubnet": _cidr_subnet,
    "uniquestring": unique_string,
    "guid": guid,
    # Of texts, arrays and objects alike.
    "length": len,
    "empty": lambda value: value is None or len(value) == 0,
    "first": lambda value: value[0] if value else value[:0] if isinstance(value, str) else None,
    "last": lambda value: value[-1] if value else value[:0] if isinstance(value, str) else None,
    "take": lambda value, count: value[: max(count, 0)],
    "skip": lambda value, count: value[max(count, 0) :],
    "contains": _contains,
    "union": _union,
    "array": lambda value: value if isinstance(value, list) else [value],
    "flatten": lambda lists: [each for one in lists for each in one],
    "createarray": lambda *values: list(values),
    "createobject": _create_object,
    "tryget": _try_get,
    "json": json.loads,
    # Of truth and numbers.
    "true": lambda: True,
    "false": lambda: False,
    "null": lambda: None,
    "not": lambda value: not boolean(value),
    "bool": _bool,
    "int": int,
    "equals": _equals,
    "less": lambda one, other: one < other,
    "lessorequals": lambda one, other: one <= other,
    "greater": lambda one, other: one > other,
    "greaterorequals": lambda one, other: one >= other,
    "add": lambda one, other: one + other,
    "sub": lambda one, other: one - other,
    "mul": lambda one, other: one * other,
    "div": lambda one, other: int(one / other),
    "mod": lambda one, other: one % other,
    "min": _least,
    "max": _most,
}


class Scope(Protocol):
    """What an expression may ask of the deployment it is in."""

    def contextual(self, name: str) -> Callable[..., Any] | None:
        """The function of that name, in small letters, which only the deployment can answer."""


def is_expression(value: Any) -> bool:
    """Whether ``value`` is text to be evaluated; `[[` is how a text begins with a bracket."""
    return isinstance(value, str) and value.startswith("[") and value.endswith("]") and not value.startswith("[[")


def resolve(value: Any, scope: Scope) -> Any:
    """``value`` with its expressions evaluated, as far as the scope can. Raises Rejected, naming the expression."""
    if isinstance(value, dict):
        return {resolve(name, scope): resolve(inner, scope) for name, inner in value.items()}
    if isinstance(value, list):
        return [resolve(inner, scope) for inner in value]
    if not is_expression(value):
        return value[1:] if isinstance(value, str) and value.startswith("[[") else value
    try:
        return evaluate(parse(value), scope)
    except Unfit as fault:
        raise invalid(f"unable to evaluate {value}: {fault}") from None


def references(value: Any) -> set[str]:
    """The resources that the expressions in ``value`` ask for by `reference('...')`, whichever branch they are in."""
    if isinstance(value, dict):
        return set().union(*map(references, [*value, *value.values()]))
    if isinstance(value, list):
        return set().union(*map(references, value))
    return set(_references(parse(value))) if is_expression(value) else set()


def evaluate(node: Node, scope: Scope) -> Any:
    """The value of a tree; raises Unfit."""
    if isinstance(node, Literal):
        return node.value
    if isinstance(node, Access):
        target, key = evaluate(node.target, scope), evaluate(node.key, scope)
        if isinstance(target, Unresolved) or isinstance(key, Unresolved):
            return Unresolved(Access(tree(target), tree(key)))
        return _get(target, key)
    name = node.name.lower()
    if name in _LAZY:
        return _LAZY[name](node.arguments, scope)
    function = scope.contextual(name) or TABLE.get(name)
    if function is None:
        raise Unfit(f"the stage has no function '{node.name}'")
    arguments = [evaluate(each, scope) for each in node.arguments]
    if not _is_enough(name, arguments):
        return Unresolved(Call(node.name, tuple(map(tree, arguments))))
    try:
        return function(*arguments)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as fault:
        # The arguments may be secrets: only their number and kinds may be shown.
        kinds = ", ".join(type(each).__name__ for each in arguments)
        raise Unfit(f"{node.name}({kinds}) does not fit the function: {type(fault).__name__}") from None


def _is_enough(name: str, arguments: list[Any]) -> bool:
    """Whether the function has a value. Functions that only move values need not know all that is inside of them."""
    if name in _MAKING:
        return True
    if name in _MOVING:
        return not any(isinstance(each, Unresolved) for each in arguments)
    return is_resolved(arguments)


def _get(target: Any, key: Any) -> Any:
    if isinstance(target, dict):
        found = next((name for name in target if name.lower() == str(key).lower()), None)
        if found is None:
            raise Unfit(f"the property '{key}' doesn't exist, available properties are '{', '.join(target)}'")
        return target[found]
    if isinstance(target, list) and isinstance(key, int):
        if not 0 <= key < len(target):
            raise Unfit(f"the index {key} is out of an array of {len(target)}")
        return target[key]
    raise Unfit(f"there is no {json.dumps(key)} in a value of type {type(target).__name__}")


def _references(node: Node) -> list[str]:
    if isinstance(node, Literal):
        return []
    inner = (node.target, node.key) if isinstance(node, Access) else node.arguments
    found = [name for each in inner for name in _references(each)]
    if isinstance(node, Call) and node.name.lower() == "reference" and isinstance(node.arguments[0], Literal):
        found.append(str(node.arguments[0].value))
    return found


def _if(arguments: tuple[Node, ...], scope: Scope) -> Any:
    condition, then, otherwise = arguments
    known = evaluate(condition, scope)
    if isinstance(known, Unresolved):
        return Unresolved(Call("if", (known.node, _left_of(then, scope), _left_of(otherwise, scope))))
    return evaluate(then if boolean(known) else otherwise, scope)


def _left_of(node: Node, scope: Scope) -> Node:
    """A branch that may or may not be taken: what cannot be evaluated stays as it is written."""
    try:
        return tree(evaluate(node, scope))
    except Unfit:
        return node


def _every(arguments: tuple[Node, ...], scope: Scope, *, decided: bool) -> Any:
    """`or` and `and`: an argument that is ``decided`` decides, and those behind it are not looked at."""
    left: list[Node] = []
    for each in arguments:
        value = evaluate(each, scope)
        if isinstance(value, Unresolved):
            left.append(value.node)
        elif boolean(value) is decided:
            return decided
    return Unresolved(Call("or" if decided else "and", tuple(left))) if left else not decided


def _coalesce(arguments: tuple[Node, ...], scope: Scope) -> Any:
    for at, each in enumerate(arguments):
        value = evaluate(each, scope)
        if isinstance(value, Unresolved):
            return Unresolved(
                Call("coalesce", (value.node, *(_left_of(later, scope) for later in arguments[at + 1 :])))
            )
        if value is not None:
            return value
    return None


_LAZY: Mapping[str, Callable[[tuple[Node, ...], Scope], Any]] = {
    "if": _if,
    "and": lambda arguments, scope: _every(arguments, scope, decided=False),
    "or": lambda arguments, scope: _every(arguments, scope, decided=True),
    "coalesce": _coalesce,
}
