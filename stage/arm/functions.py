"""The functions of ARM templates that depend on their arguments alone, as many as our templates use."""

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from stage.arm.hashing import guid, unique_string

_HOLE = re.compile(r"\{\{|\}\}|\{(\d+)\}")


class Unfit(Exception):
    """An expression that has no value; the message says why."""


def boolean(value: Any) -> bool:
    """``value``, which must be one already; raises Unfit."""
    if not isinstance(value, bool):
        raise Unfit(f"a value of type {type(value).__name__} stands where a boolean must")
    return value


def string(value: Any) -> str:
    """As the function `string` writes it, and as `format` and `concat` do."""
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
