"""The value of an ARM template's expressions in a scope.

A name after a dot and one in brackets are the same thing; names of functions and of properties have no case.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from stage.arm import functions
from stage.arm.syntax import Access, Call, Literal, Node, invalid, parse


class Scope(Protocol):
    """What an expression may ask of the deployment it is in."""

    def contextual(self, name: str) -> Callable[..., Any] | None:
        """The function of that name, in small letters, which only the deployment can answer."""


def is_expression(value: Any) -> bool:
    """Whether ``value`` is text to be evaluated; `[[` is how a text begins with a bracket."""
    return isinstance(value, str) and value.startswith("[") and value.endswith("]") and not value.startswith("[[")


def resolve(value: Any, scope: Scope) -> Any:
    """``value`` with every expression in it evaluated. Raises Rejected, naming the expression."""
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
        return _get(evaluate(node.target, scope), evaluate(node.key, scope))
    name = node.name.lower()
    if name in _LAZY:
        return _LAZY[name](node.arguments, scope)
    function = scope.contextual(name) or functions.TABLE.get(name)
    if function is None:
        raise functions.Unfit(f"the stage has no function '{node.name}'")
    arguments = [evaluate(each, scope) for each in node.arguments]
    try:
        return function(*arguments)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as fault:
        # The texts of arguments may be secrets: their number and kinds are what can be told.
        kinds = ", ".join(type(each).__name__ for each in arguments)
        raise functions.Unfit(f"{node.name}({kinds}) does not fit the function: {type(fault).__name__}") from None


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
    return evaluate(then if functions.boolean(evaluate(condition, scope)) else otherwise, scope)


def _coalesce(arguments: tuple[Node, ...], scope: Scope) -> Any:
    return next((value for each in arguments if (value := evaluate(each, scope)) is not None), None)


_LAZY: Mapping[str, Callable[[tuple[Node, ...], Scope], Any]] = {
    "if": _if,
    "and": lambda arguments, scope: all(functions.boolean(evaluate(each, scope)) for each in arguments),
    "or": lambda arguments, scope: any(functions.boolean(evaluate(each, scope)) for each in arguments),
    "coalesce": _coalesce,
}
