"""From Bicep's expressions to ARM's: as text within one, and as JSON where an expression is one value of many."""

import re
from collections.abc import Sequence
from typing import Any

from stage.bicep import functions, references
from stage.bicep.names import Names
from stage.bicep.syntax import Array, Call, Literal, Member, Name, Node, Object, Operation, Text

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_OPERATORS = {
    "?:": "if({}, {}, {})",
    "??": "coalesce({}, {})",
    "||": "or({}, {})",
    "&&": "and({}, {})",
    "==": "equals({}, {})",
    "!=": "not(equals({}, {}))",
    "<": "less({}, {})",
    "<=": "lessOrEquals({}, {})",
    ">": "greater({}, {})",
    ">=": "greaterOrEquals({}, {})",
    "+": "add({}, {})",
    "-": "sub({}, {})",
    "*": "mul({}, {})",
    "/": "div({}, {})",
    "%": "mod({}, {})",
    "!": "not({})",
    "negative": "sub(0, {})",
}


def json(node: Node, names: Names) -> Any:
    """`node` as a value of the template: objects and lists stay what they are, what must be computed is in brackets."""
    match node:
        case Literal(str(value)):
            return escaped(value)
        case Literal(value):
            return value
        case Operation("negative", (Literal(int(value)),)):
            return -value
        case Array(items):
            return [json(item, names) for item in items]
        case Object(pairs):
            return {json(key, names): json(value, names) for key, value in pairs}
        case Name() | Member():
            start, keys = _resolved(node, names)
            if not keys:
                return json(start, names)
    return f"[{text(node, names)}]"


def escaped(value: str) -> str:
    """ARM takes a string in brackets for an expression, unless the first bracket is doubled."""
    return "[" + value if value.startswith("[") and value.endswith("]") else value


def text(node: Node, names: Names) -> str:
    """`node` within an expression."""
    match node:
        case Literal(value):
            return _literal(value)
        case Text(parts):
            return _formatted(parts, names)
        case Operation("negative", (Literal(int(value)),)):
            return str(-value)
        case Operation(symbol, operands):
            return _OPERATORS[symbol].format(*(text(operand, names) for operand in operands))
        case Array(items):
            return f"createArray({_listed(items, names)})"
        case Object(pairs):
            return f"createObject({_listed([side for pair in pairs for side in pair], names)})"
        case Call("loadTextContent") as call:
            return f"variables('{names.loaded[call]}')"
        case Call(name, arguments) as call:
            functions.check_scope(call)
            return f"{name}({_listed(arguments, names)})"
        case Name() | Member():
            return _keyed(*_resolved(node, names), names)


def _literal(value: str | int | bool | None) -> str:
    match value:
        case None:
            return "null()"
        case bool():
            return f"{value}()".lower()
        case int():
            return str(value)
    return "'" + value.replace("'", "''") + "'"


def _formatted(parts: Sequence[str | Node], names: Names) -> str:
    pattern = ""
    arguments: list[str] = []
    for part in parts:
        if isinstance(part, str):
            pattern += part.replace("{", "{{").replace("}", "}}")
        else:
            pattern += f"{{{len(arguments)}}}"
            arguments.append(text(part, names))
    return f"format({', '.join([_literal(pattern), *arguments])})"


def _listed(nodes: Sequence[Node], names: Names) -> str:
    return ", ".join(text(node, names) for node in nodes)


def _resolved(node: Name | Member, names: Names) -> tuple[Node, list[Member]]:
    """What stands at the start of a chain of keys, in ARM's terms, and the keys to look for in it."""
    if isinstance(node, Name):
        return references.named(node, names), []
    chain = [node]
    while isinstance(chain[0].of, Member):
        chain.insert(0, chain[0].of)
    start = chain[0].of
    return references.member(start, chain, names) if isinstance(start, Name) else (start, chain)


def _keyed(start: Node, keys: list[Member], names: Names) -> str:
    found = text(start, names)
    first = next((at for at, one in enumerate(keys) if one.safe), len(keys))
    for one in keys[:first]:
        found += _key(one.key, names)
    keys = keys[first:]
    while keys:
        # Where a `?` finds nothing, what follows is not looked for, up to the next `?`.
        end = next((at for at, one in enumerate(keys) if at and one.safe), len(keys))
        found, keys = f"tryGet({found}, {_listed([one.key for one in keys[:end]], names)})", keys[end:]
    return found


def _key(key: Node, names: Names) -> str:
    if isinstance(key, Literal) and isinstance(key.value, str) and _IDENTIFIER.fullmatch(key.value):
        return f".{key.value}"
    return f"[{text(key, names)}]"
