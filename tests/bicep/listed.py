"""A `bicep` that writes templates in the form of the real compiler: resources in a list, which name each other by ids.

It is made of the stage's compiler, whose resources have symbolic names. As with the real one, a template whose types
need languageVersion 2.0 keeps its symbolic names, and each module has the form that it needs itself.
"""

import json
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stage.arm.expressions import Literal, parse, written
from stage.arm.resources import DEPLOYMENTS
from stage.bicep import compile

VERSION = "Bicep CLI version 0.49.2 (of the tests)"
_ROOT = Path(__file__).parents[2]
_OF_LANGUAGE_2 = {"$ref", "items", "properties", "nullable"}
_REFERENCE = re.compile(r"\breference\('(\w+)'(?:, '[^']*'(, 'full'))?\)")
_GROUP = "format('/subscriptions/{{0}}/resourceGroups/{{1}}', subscription().subscriptionId, {})"


def install(directory: Path) -> None:
    """Writes `directory/bicep`."""
    script = directory / "bicep"
    # az asks for the version before each template, and the compiler takes half a second to start.
    version = f'case "$1" in --version) echo {shlex.quote(VERSION)}; exit ;; esac'
    run = f'PYTHONPATH={shlex.quote(str(_ROOT))} exec {shlex.quote(sys.executable)} -m tests.bicep.listed "$@"'
    script.write_text(f"#!/bin/sh\n{version}\n{run}\n", encoding="utf-8")
    script.chmod(0o755)


def listed(template: Mapping[str, Any]) -> dict[str, Any]:
    """`template`, which has symbolic names, in the form of the real compiler."""
    resources = {name: _with_module(resource) for name, resource in template["resources"].items()}
    if _needs_symbols(template):
        return {**template, "resources": resources}
    ids = {name: (_id(resource), resource["apiVersion"]) for name, resource in resources.items()}
    found: dict[str, Any] = {name: value for name, value in template.items() if name != "languageVersion"}
    found["resources"] = [_entry(each, resources, ids) for each in resources.values() if not each.get("existing")]
    if "outputs" in found:
        found["outputs"] = _by_id(found["outputs"], ids)
    return found


def _needs_symbols(template: Mapping[str, Any]) -> bool:
    typed = [*template.get("parameters", {}).values(), *template.get("outputs", {}).values()]
    return "definitions" in template or any(_OF_LANGUAGE_2 & set(each) for each in typed)


def _with_module(resource: dict[str, Any]) -> dict[str, Any]:
    if resource["type"] != DEPLOYMENTS:
        return resource
    properties = resource["properties"]
    return {**resource, "properties": {**properties, "template": listed(properties["template"])}}


def _entry(resource: dict[str, Any], resources: Mapping[str, Any], ids: Mapping[str, tuple[str, str]]) -> Any:
    own = {name: value for name, value in resource.items() if name not in ("dependsOn", "properties")}
    properties = dict(resource.get("properties") or {})
    inner = {"template": properties.pop("template")} if resource["type"] == DEPLOYMENTS else {}
    found = _by_id(own, ids)
    if "properties" in resource:
        found["properties"] = {**_by_id(properties, ids), **inner}
    waits_for = [name for name in resource.get("dependsOn", ()) if not resources[name].get("existing")]
    if waits_for:
        found["dependsOn"] = [f"[{ids[name][0]}]" for name in waits_for]
    return found


def _by_id(value: Any, ids: Mapping[str, tuple[str, str]]) -> Any:
    """`value` with an id and a version in the place of every symbolic name."""
    if isinstance(value, dict):
        return {_by_id(name, ids): _by_id(inner, ids) for name, inner in value.items()}
    if isinstance(value, list):
        return [_by_id(inner, ids) for inner in value]
    if not isinstance(value, str) or not value.startswith("[") or value.startswith("[["):
        return value
    return _REFERENCE.sub(lambda found: "reference({}, '{}'{})".format(*ids[found[1]], found[2] or ""), value)


def _id(resource: Mapping[str, Any]) -> str:
    kind, names = f"'{resource['type']}'", ", ".join(_names(resource))
    if "scope" in resource:
        return f"extensionResourceId({_text(resource['scope'])}, {kind}, {names})"
    if "resourceGroup" in resource:
        return f"extensionResourceId({_GROUP.format(_text(resource['resourceGroup']))}, {kind}, {names})"
    return f"resourceId({kind}, {names})"


def _names(resource: Mapping[str, Any]) -> list[str]:
    """The expression of each part of the name."""
    name, depth = resource["name"], resource["type"].count("/")
    if depth == 1:
        return [_text(name)]
    pattern, *parts = parse(name).arguments  # type: ignore[union-attr]  # a name of many parts is format() always
    assert pattern == Literal("/".join(f"{{{at}}}" for at in range(depth))), name
    return [written(part) for part in parts]


def _text(value: str) -> str:
    """A value of the template within an expression."""
    return value[1:-1] if value.startswith("[") else f"'{value}'"


def main(arguments: list[str]) -> None:
    (file,) = (argument for argument in arguments if not argument.startswith("-") and argument != "build")
    sys.stdout.write(json.dumps(listed(compile(Path(file)))))


if __name__ == "__main__":
    main(sys.argv[1:])
