"""What stands above a declaration with an `@`."""

from typing import Any

from stage.bicep.expressions import json
from stage.bicep.names import Names
from stage.bicep.syntax import Call, Declaration, Decorator, Literal, Name, Node, Param, Refused, expressions, walk

_LIMITS = {"minLength", "maxLength", "minValue", "maxValue"}
_SECURE = {"string": "securestring", "object": "secureObject"}


def parameter(declared: Param, names: Names) -> dict[str, Any]:
    found: dict[str, Any] = {"type": typed(declared, declared.type)}
    if declared.default is not None:
        _check_default(declared, names)
        found["defaultValue"] = json(declared.default, names)
    for decorator in declared.decorators:
        if decorator.name == "allowed":
            found["allowedValues"] = json(_argument(decorator), names)
        elif decorator.name in _LIMITS:
            found[decorator.name] = json(_argument(decorator), names)
    return {**found, **description(declared, allowed=_LIMITS | {"allowed", "secure"})}


def typed(declared: Declaration, written: str) -> str:
    """ARM's name of the type, which says whether the value is a secret."""
    secure = next((one for one in declared.decorators if one.name == "secure"), None)
    if secure is None:
        return written
    if written not in _SECURE:
        raise Refused(secure.at, f"@secure() is for string and object, not for {written}")
    return _SECURE[written]


def description(declared: Declaration, allowed: set[str] | None = None) -> dict[str, Any]:
    """The description as metadata; raises Refused for a decorator that is neither that nor `allowed`."""
    found: dict[str, Any] = {}
    for decorator in declared.decorators:
        if decorator.name == "description":
            said = _argument(decorator)
            if not isinstance(said, Literal):
                raise Refused(decorator.at, "@description() takes a plain string")
            found = {"metadata": {"description": said.value}}
        elif decorator.name not in (allowed or set()):
            raise Refused(decorator.at, f"@{decorator.name}() cannot stand here in the stage's subset of Bicep")
    return found


def _check_default(declared: Param, names: Names) -> None:
    for node in expressions(declared):
        for used in walk(node):
            if isinstance(used, Name) and not isinstance(names.find(used), Param):
                raise Refused(used.at, f"a default can use other parameters only, not '{used.name}'")


def _argument(decorator: Decorator) -> Node:
    match decorator.arguments:
        case (argument,) if all(not isinstance(used, Name | Call) for used in walk(argument)):
            return argument
    raise Refused(decorator.at, f"@{decorator.name}() takes one argument, a constant")
