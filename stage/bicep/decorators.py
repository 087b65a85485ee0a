"""What stands above a declaration with an `@`."""

from typing import Any

from stage.bicep import types
from stage.bicep.expressions import json
from stage.bicep.names import Names
from stage.bicep.syntax import (
    Call,
    Declaration,
    Decorator,
    Field,
    Fields,
    Literal,
    Name,
    Node,
    Output,
    Param,
    Refused,
    TypeOf,
    expressions,
    walk,
)

_LIMITS = {"minLength", "maxLength", "minValue", "maxValue"}
_SECURE = {"string": "securestring", "object": "secureObject"}
Typed = Param | Output | Field | TypeOf


def parameter(declared: Param, names: Names) -> dict[str, Any]:
    found = schema(declared, names, allowed=_LIMITS | {"allowed", "secure"})
    if declared.default is not None:
        _check_default(declared, names)
        found["defaultValue"] = json(declared.default, names)
    for decorator in declared.decorators:
        if decorator.name == "allowed":
            found["allowedValues"] = json(_argument(decorator), names)
    return found


def definition(declared: TypeOf, names: Names) -> dict[str, Any]:
    found = schema(declared, names, allowed=_LIMITS | {"export", "sealed"})
    marks: dict[str, Any] = {}
    if declared.source is not None:
        marks = {"__bicep_imported_from!": {"sourceTemplate": declared.source}}
    elif any(one.name == "export" for one in declared.decorators):
        marks = {"__bicep_export!": True}
    return {**found, "metadata": {**found.get("metadata", {}), **marks}} if marks else found


def schema(declared: Typed, names: Names, allowed: set[str]) -> dict[str, Any]:
    """The type, its limits and its description; raises Refused for a decorator that is neither these nor `allowed`."""
    found: dict[str, Any] = {**_typed(declared, names), **description(declared, allowed)}
    for decorator in declared.decorators:
        if decorator.name in _LIMITS:
            found[decorator.name] = json(_argument(decorator), names)
        elif decorator.name == "sealed":
            if not isinstance(declared.type, Fields):
                raise Refused(decorator.at, "@sealed() is for an object's type with properties")
            found["additionalProperties"] = False
        elif decorator.name == "secure":
            if found["type"] not in _SECURE:
                raise Refused(decorator.at, f"@secure() is for string and object, not for {found['type']}")
            found["type"] = _SECURE[found["type"]]
    return found


def _typed(declared: Typed, names: Names) -> dict[str, Any]:
    if not (isinstance(declared, TypeOf) and isinstance(declared.type, Fields)):
        return types.arm(declared.type, names.declared)
    properties = {field.name: schema(field, names, allowed=_LIMITS | {"secure"}) for field in declared.type.fields}
    return {"type": "object", "properties": properties}


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
