"""The resources and modules of a file, as entries of an ARM template with symbolic names."""

from collections.abc import Mapping
from typing import Any

from stage.bicep import identity
from stage.bicep.decorators import description
from stage.bicep.expressions import json, text
from stage.bicep.names import Names
from stage.bicep.syntax import Array, Call, Literal, Module, Name, Node, Object, Refused, Resource

_NOT_A_PROPERTY = {"name", "parent", "scope", "dependsOn"}
_OF_EXISTING = {"name", "parent", "scope"}
_OF_MODULE = {"name", "scope", "params", "dependsOn"}
_DEPLOYMENTS_VERSION = "2025-04-01"


def resource(declared: Resource, names: Names) -> dict[str, Any]:
    own = identity.own_name(declared)
    _check_start(declared, names, name=own, scope=declared.body.get("scope"), condition=declared.condition)
    if not declared.api_version:
        raise Refused(declared.at, f"'{declared.type}' has no api version")
    if declared.existing:
        _check_keys(declared, _OF_EXISTING)
    return {
        **({"existing": True} if declared.existing else {}),
        **_condition(declared, names),
        "type": declared.type,
        "apiVersion": declared.api_version,
        **_scope(declared, names),
        "name": json(identity.full_name(declared, names), names),
        **_properties(declared, names),
        **_depends_on(declared, names),
        **description(declared),
    }


def module(declared: Module, names: Names) -> dict[str, Any]:
    _check_keys(declared, _OF_MODULE)
    name, scope = identity.module_name(declared), declared.body.get("scope")
    _check_start(declared, names, name=name, scope=scope, condition=declared.condition)
    template = names.templates[declared.name]
    parameters = _parameters(declared, template, names)
    return {
        **_condition(declared, names),
        "type": "Microsoft.Resources/deployments",
        "apiVersion": _DEPLOYMENTS_VERSION,
        "name": json(name, names),
        **_group(declared, scope, names),
        "properties": {
            "expressionEvaluationOptions": {"scope": "inner"},
            "mode": "Incremental",
            **({"parameters": parameters} if parameters else {}),
            "template": template,
        },
        **_depends_on(declared, names),
        **description(declared),
    }


def _condition(declared: Resource | Module, names: Names) -> dict[str, Any]:
    return {} if declared.condition is None else {"condition": json(declared.condition, names)}


def _scope(declared: Resource, names: Names) -> dict[str, Any]:
    match identity.scope(declared, names):
        case identity.Group(group):
            return {"resourceGroup": json(group, names)}
        case identity.Subscription():
            return {"scope": "[subscription().id]"}
        case identity.Extension(of):
            return {"scope": f"[{text(identity.resource_id(of, names), names)}]"}
    return {}


def _properties(declared: Resource, names: Names) -> dict[str, Any]:
    pairs = tuple(
        (key, value)
        for key, value in declared.body.pairs
        if not (isinstance(key, Literal) and key.value in _NOT_A_PROPERTY)
    )
    found: dict[str, Any] = json(Object(pairs), names)
    return found


def _depends_on(declared: Resource | Module, names: Names) -> dict[str, Any]:
    """What the declaration speaks of, and what its `dependsOn` adds; `dependsOn` may name nothing else."""
    explicit = declared.body.get("dependsOn") or Array(())
    if not isinstance(explicit, Array) or not all(_is_deployed(item, names) for item in explicit.items):
        raise Refused(declared.at, f"dependsOn of '{declared.name}' is not a list of resources and modules")
    found = names.deployed(declared.body)
    if declared.condition is not None:
        found |= names.deployed(declared.condition)
    return {"dependsOn": sorted(found)} if found else {}


def _is_deployed(node: Node, names: Names) -> bool:
    return isinstance(node, Name) and isinstance(names.find(node), Resource | Module)


def _group(declared: Module, scope: Node | None, names: Names) -> dict[str, Any]:
    match scope:
        case None | Call("resourceGroup", ()):
            return {}
        case Call("resourceGroup", (group,)):
            return {"resourceGroup": json(group, names)}
    raise Refused(declared.at, f"the scope of '{declared.name}' is outside of the stage's subset of Bicep")


def _parameters(declared: Module, template: Mapping[str, Any], names: Names) -> dict[str, Any]:
    params = declared.body.get("params") or Object(())
    if not isinstance(params, Object):
        raise Refused(declared.at, f"params of '{declared.name}' is not an object")
    given, known = json(params, names), template.get("parameters", {})
    for name in given:
        if name not in known:
            raise Refused(declared.at, f"{declared.path} has no parameter '{name}'")
    needed = [name for name, about in known.items() if "defaultValue" not in about and not about.get("nullable")]
    missing = [name for name in needed if name not in given]
    if missing:
        raise Refused(declared.at, f"{declared.path} needs the parameter '{missing[0]}'")
    return {name: {"value": value} for name, value in given.items()}


def _check_keys(declared: Resource | Module, allowed: set[str]) -> None:
    for key, _ in declared.body.pairs:
        if not isinstance(key, Literal) or key.value not in allowed:
            what = key.value if isinstance(key, Literal) else "an expression"
            raise Refused(declared.at, f"'{declared.name}' cannot have the property '{what}'")


def _check_start(declared: Resource | Module, names: Names, **nodes: Node | None) -> None:
    for what, node in nodes.items():
        of_a_resource = what == "scope" and isinstance(node, Name)
        if node is not None and not of_a_resource and names.needs_platform(node):
            raise Refused(declared.at, f"the {what} of '{declared.name}' is not known when the deployment starts")
