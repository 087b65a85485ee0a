"""Types as ARM has them: the schema of a parameter, of an output, of a definition."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from stage.bicep.syntax import Declaration, Fields, ListOf, Named, OneOf, Optional, Refused, Type, TypeOf

Declared: TypeAlias = Mapping[str, Declaration]
OWN = ("string", "int", "bool", "object", "array")
"""The types that Bicep has, as many as the stage knows."""


def arm(type_: Type, declared: Declared) -> dict[str, Any]:
    """The schema, without what decorators add."""
    match type_:
        case Named(name) if name in OWN:
            return {"type": name}
        case Named(name):
            return {"$ref": f"#/definitions/{_declared(type_, declared).name}"}
        case OneOf(values):
            return {"type": "int" if isinstance(values[0], int) else "string", "allowedValues": list(values)}
        case ListOf(of):
            return {"type": "array", "items": arm(of, declared)}
        case Optional(of):
            return {**arm(of, declared), "nullable": True}
        case Fields():
            raise Refused(type_.fields[0].at, "an object's type needs a name: `type name = { ... }`")


def needs_definitions(type_: Type) -> bool:
    """Whether the schema is one that only a template of languageVersion 2.0 may have."""
    return not (isinstance(type_, Named) and type_.name in OWN)


def plain(type_: Type, declared: Declared) -> str:
    """The one of Bicep's own types that the values have."""
    match type_:
        case Named(name) if name in OWN:
            return name
        case Named():
            return plain(_declared(type_, declared).type, declared)
        case Optional(of):
            return plain(of, declared)
        case OneOf(values):
            return "int" if isinstance(values[0], int) else "string"
        case ListOf():
            return "array"
        case Fields():
            return "object"


def _declared(type_: Named, declared: Declared) -> TypeOf:
    found = declared.get(type_.name)
    if not isinstance(found, TypeOf):
        known = ", ".join(sorted(OWN))
        raise Refused(type_.at, f"the type {type_.name} is not declared, and outside of the stage's subset: {known}")
    return found
