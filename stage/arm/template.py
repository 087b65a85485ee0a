"""An ARM template, as far as the stage can apply one: container apps, written out or through parameters and variables.

Anything else - another type of resource, another expression - is refused by name before anything changes: a template
that half works here would say nothing about Azure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stage.arm.ids import APPS
from stage.platform import Rejected

_REFERENCE = re.compile(r"\[\s*(parameters|variables)\(\s*'([^']+)'\s*\)\s*\]")


@dataclass(frozen=True)
class Template:
    """What a deployment comes to."""

    apps: list[dict[str, Any]]
    outputs: dict[str, Any]
    parameters: dict[str, Any]
    """As given, in ARM's form; those of a secure type are left out."""


def evaluate(properties: Mapping[str, Any]) -> Template:
    """The `properties` of a deployment's body; raises Rejected for what the stage cannot do."""
    template, given = properties.get("template"), properties.get("parameters") or {}
    if not isinstance(template, dict):
        raise _invalid("there is no template in the request; templateLink is not on the stage")
    if properties.get("mode", "Incremental") != "Incremental":
        raise _invalid(f"mode is {properties['mode']!r}; the stage deploys Incremental only")
    declared = template.get("parameters") or {}
    values = {
        "parameters": _parameters(declared, given),
        "variables": template.get("variables") or {},
    }
    listed = template.get("resources") or []
    resources = list(listed.values()) if isinstance(listed, dict) else listed
    return Template(
        apps=[_app(_resolve(resource, values), at) for at, resource in enumerate(resources)],
        outputs=_resolve(template.get("outputs") or {}, values),
        parameters={
            name: {"type": about.get("type"), "value": values["parameters"][name]}
            for name, about in declared.items()
            if not str(about.get("type", "")).lower().startswith("secure")
        },
    )


def _parameters(declared: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(given) - set(declared))
    if unknown:
        raise _invalid(f"the template has no parameter '{unknown[0]}'")
    values = {}
    for name, about in declared.items():
        if name in given:
            values[name] = given[name].get("value")
        elif "defaultValue" in about:
            values[name] = about["defaultValue"]
        else:
            raise _invalid(f"the parameter '{name}' has no value and no default")
    return values


def _app(resource: dict[str, Any], at: int) -> dict[str, Any]:
    kind = str(resource.get("type"))
    if kind.lower() != APPS.lower():
        raise _invalid(f"resource {at + 1} is of type '{kind}'; the stage can deploy {APPS} only")
    if not isinstance(resource.get("name"), str):
        raise _invalid(f"resource {at + 1}, of type '{kind}', has no name")
    return resource


def _resolve(value: Any, values: Mapping[str, Mapping[str, Any]]) -> Any:
    if isinstance(value, dict):
        return {name: _resolve(inner, values) for name, inner in value.items()}
    if isinstance(value, list):
        return [_resolve(inner, values) for inner in value]
    if not isinstance(value, str) or not (value.startswith("[") and value.endswith("]")):
        return value
    if value.startswith("[["):  # an escaped bracket is text
        return value[1:]
    found = _REFERENCE.fullmatch(value)
    if found is None:
        raise _invalid(f"the stage cannot evaluate the expression {value}; it knows parameters('x') and variables('x')")
    kind, name = found.groups()
    if name not in values[kind]:
        raise _invalid(f"{value} names nothing in the template")
    return _resolve(values[kind][name], values) if kind == "variables" else values[kind][name]


def _invalid(why: str) -> Rejected:
    return Rejected("InvalidTemplate", f"Deployment template validation failed: {why}.")
