"""The value of an ARM template's expressions in a scope.

A name after a dot and one in brackets are the same thing; names of functions and of properties have no case.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from stage.arm import functions
from stage.arm.syntax import Access, Call, Literal, Node, Unresolved, invalid, is_resolved, parse, tree


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
    except functions.Unfit as fault:
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
    function = scope.contextual(name) or functions.TABLE.get(name)
    if function is None:
        raise functions.Unfit(f"the stage has no function '{node.name}'")
    arguments = [evaluate(each, scope) for each in node.arguments]
    if not _is_enough(name, arguments):
        return Unresolved(Call(node.name, tuple(map(tree, arguments))))
    try:
        return function(*arguments)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as fault:
        # The texts of arguments may be secrets: their number and kinds are what can be told.
        kinds = ", ".join(type(each).__name__ for each in arguments)
        raise functions.Unfit(f"{node.name}({kinds}) does not fit the function: {type(fault).__name__}") from None


def _is_enough(name: str, arguments: list[Any]) -> bool:
    """Whether the function has a value. Those that only move values need not know all that is inside of them."""
    if name in _MAKING:
        return True
    if name in _MOVING:
        return not any(isinstance(each, Unresolved) for each in arguments)
    return is_resolved(arguments)


def _get(target: Any, key: Any) -> Any:
    if isinstance(target, dict):
        found = next((name for name in target if name.lower() == str(key).lower()), None)
        if found is None:
            raise functions.Unfit(f"the property '{key}' doesn't exist, available properties are '{', '.join(target)}'")
        return target[found]
    if isinstance(target, list) and isinstance(key, int):
        if not 0 <= key < len(target):
            raise functions.Unfit(f"the index {key} is out of an array of {len(target)}")
        return target[key]
    raise functions.Unfit(f"there is no {json.dumps(key)} in a value of type {type(target).__name__}")


_MAKING = {"createarray", "createobject"}
_MOVING = {"array", "concat", "empty", "first", "flatten", "last", "length", "skip", "take", "tryget", "union"}


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
    return evaluate(then if functions.boolean(known) else otherwise, scope)


def _left_of(node: Node, scope: Scope) -> Node:
    """A branch of which nobody knows whether it is taken: what cannot be evaluated stays as it is written."""
    try:
        return tree(evaluate(node, scope))
    except functions.Unfit:
        return node


def _every(arguments: tuple[Node, ...], scope: Scope, *, decided: bool) -> Any:
    """`or` and `and`: an argument that is ``decided`` decides, and those behind it are not looked at."""
    left: list[Node] = []
    for each in arguments:
        value = evaluate(each, scope)
        if isinstance(value, Unresolved):
            left.append(value.node)
        elif functions.boolean(value) is decided:
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
