"""What a template declares of its parameters, and whether what it was given is that."""

from collections.abc import Mapping
from typing import Any

from stage.arm.syntax import invalid
from stage.platform import Rejected

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "securestring": str,
    "int": int,
    "bool": bool,
    "object": dict,
    "secureobject": dict,
    "array": list,
}


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
    if value is None and about.get("nullable"):
        return None
    kind = str(about.get("type", "")).lower()
    if kind not in _TYPES:
        raise invalid(f"the parameter '{name}' is of type '{about.get('type')}', which the stage does not know")
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "bool"):
        raise _unfit(name, about, value, f"it is not of type {about['type']}")
    if "allowedValues" in about and value not in about["allowedValues"]:
        raise _unfit(name, about, value, f"the allowed values are '{', '.join(map(str, about['allowedValues']))}'")
    if isinstance(value, str | list):
        _within(name, about, value, len(value), "minLength", "maxLength", "its length")
    elif isinstance(value, int) and kind == "int":
        _within(name, about, value, value, "minValue", "maxValue", "it")
    return value


def secure(about: Mapping[str, Any]) -> bool:
    """Whether the declaration is of something that nobody may see."""
    return str(about.get("type", "")).lower().startswith("secure")


def _within(name: str, about: Mapping[str, Any], value: Any, size: int, least: str, most: str, what: str) -> None:
    if size < about.get(least, size):
        raise _unfit(name, about, value, f"{what} should be greater than or equal to {about[least]}")
    if size > about.get(most, size):
        raise _unfit(name, about, value, f"{what} should be less than or equal to {about[most]}")


def _unfit(name: str, about: Mapping[str, Any], value: Any, why: str) -> Rejected:
    shown = "provided value" if secure(about) else f"provided value '{value}'"
    return invalid(f"the {shown} for the template parameter '{name}' is not valid: {why}")
