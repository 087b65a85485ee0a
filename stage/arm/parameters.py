"""What a template declares of its parameters, and whether what it was given is that."""

from collections.abc import Mapping
from typing import Any

from stage.arm.syntax import Unresolved, invalid

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "securestring": str,
    "int": int,
    "bool": bool,
    "object": dict,
    "secureobject": dict,
    "array": list,
}


def declared(template: Mapping[str, Any], section: str = "parameters") -> dict[str, Any]:
    """The parameters or outputs of a template, each with its whole schema: no `$ref` is left. Raises Rejected."""
    found = template.get(section) or {}
    definitions = template.get("definitions") or {}
    return {name: _whole(about, definitions, ()) for name, about in found.items()}


def given(declared: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a deployment's body, by name; those left out have a default. Raises Rejected."""
    for name in values:
        if name not in declared:
            raise invalid(f"the following parameters were supplied, but do not exist in the template: '{name}'")
    found = {}
    for name, about in declared.items():
        if name in values:
            if "value" not in values[name]:
                raise invalid(f"the parameter '{name}' has no value; references to vaults are not on the stage")
            found[name] = values[name]["value"]
        elif "defaultValue" not in about and not about.get("nullable"):
            raise invalid(f"the value for the template parameter '{name}' is not provided")
    return found


def check(name: str, about: Mapping[str, Any], value: Any) -> Any:
    """``value``, if the declaration allows it. Raises Rejected, with no value of a secure parameter."""
    why = _fault(about, value, "it")
    if why is not None:
        shown = "provided value" if secure(about) else f"provided value '{value}'"
        raise invalid(f"the {shown} for the template parameter '{name}' is not valid: {why}")
    return value


def secure(about: Mapping[str, Any]) -> bool:
    """Whether the declaration is of something that nobody may see, or has such a thing inside."""
    others = [about.get("items"), about.get("additionalProperties"), *(about.get("properties") or {}).values()]
    inside = any(secure(each) for each in others if isinstance(each, Mapping))
    return inside or str(about.get("type", "")).lower().startswith("secure")


def _whole(about: Mapping[str, Any], definitions: Mapping[str, Any], within: tuple[str, ...]) -> dict[str, Any]:
    """The schema with what its `$ref` names in its place."""
    found = dict(about)
    reference = found.pop("$ref", None)
    if reference is not None:
        name = str(reference).removeprefix("#/definitions/")
        if name not in definitions or name in within:
            raise invalid(f"'{reference}' of a type is not among the definitions of the template")
        found = {**_whole(definitions[name], definitions, (*within, name)), **found}
    for key in ("items", "additionalProperties"):
        if isinstance(found.get(key), dict):
            found[key] = _whole(found[key], definitions, within)
    if "properties" in found:
        found["properties"] = {name: _whole(inner, definitions, within) for name, inner in found["properties"].items()}
    return found


def _fault(about: Mapping[str, Any], value: Any, what: str) -> str | None:
    """Why ``value``, which the sentence calls ``what``, is not of the schema; None if it is."""
    if isinstance(value, Unresolved) or (value is None and about.get("nullable")):
        return None
    kind = str(about.get("type", "")).lower()
    if kind not in _TYPES:
        return f"{what} is of type '{about.get('type')}', which the stage does not know"
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "bool"):
        return f"{what} is not of type {about['type']}"
    if "allowedValues" in about and value not in about["allowedValues"]:
        return f"the allowed values are '{', '.join(map(str, about['allowedValues']))}'"
    faults: list[str | None] = []
    if isinstance(value, str | list):
        faults.append(_within(about, len(value), "minLength", "maxLength", f"the length of {what}"))
    elif isinstance(value, int) and kind == "int":
        faults.append(_within(about, value, "minValue", "maxValue", what))
    if isinstance(value, list) and "items" in about:
        faults += [_fault(about["items"], each, f"its item {at}") for at, each in enumerate(value)]
    if isinstance(value, dict):
        faults += _of_object(about, value, what)
    return next((fault for fault in faults if fault is not None), None)


def _of_object(about: Mapping[str, Any], value: Mapping[str, Any], what: str) -> list[str | None]:
    known, others = about.get("properties") or {}, about.get("additionalProperties", True)
    found: list[str | None] = []
    for name, inner in known.items():
        if name in value or not inner.get("nullable"):
            missing = name not in value
            said = f"'{name}' of {what}"
            found.append(f"{said} is missing" if missing else _fault(inner, value[name], said))
    for name in value:
        if name not in known and others is False:
            found.append(f"{what} has the property '{name}', and its type has only {', '.join(known)}")
        elif name not in known and isinstance(others, dict):
            found.append(_fault(others, value[name], f"'{name}' of {what}"))
    return found


def _within(about: Mapping[str, Any], size: int, least: str, most: str, what: str) -> str | None:
    if size < about.get(least, size):
        return f"{what} should be greater than or equal to {about[least]}"
    if size > about.get(most, size):
        return f"{what} should be less than or equal to {about[most]}"
    return None
