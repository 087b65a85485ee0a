"""A Bicep file and its modules, as one ARM template with symbolic names (languageVersion 2.0)."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from stage.bicep.expressions import (
    Extension,
    Group,
    Subscription,
    escaped,
    full_name,
    json,
    module_name,
    own_name,
    resource_id,
    scope_of,
    text,
)
from stage.bicep.source import read
from stage.bicep.syntax import (
    Array,
    At,
    BicepError,
    Call,
    Declaration,
    Decorator,
    Field,
    Fields,
    ListOf,
    Literal,
    Module,
    Name,
    Named,
    Names,
    Node,
    Object,
    OneOf,
    Optional,
    Output,
    Param,
    Refused,
    Resource,
    Source,
    Type,
    TypeOf,
    Var,
    expressions,
    walk,
)

Declared: TypeAlias = Mapping[str, Declaration]
OWN = ("string", "int", "bool", "object", "array")
"""The types that Bicep has, as many as the stage knows."""
_LIMITS = {"minLength", "maxLength", "minValue", "maxValue"}
_SECURE = {"string": "securestring", "object": "secureObject"}
Typed = Param | Output | Field | TypeOf
_NOT_A_PROPERTY = {"name", "parent", "scope", "dependsOn"}
_OF_EXISTING = {"name", "parent", "scope"}
_OF_MODULE = {"name", "scope", "params", "dependsOn"}
_DEPLOYMENTS_VERSION = "2025-04-01"
VERSION = "0.0.0"
_SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
_SECTIONS = ("definitions", "parameters", "variables", "resources", "outputs")


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


def _declared(type_: Named, declared: Declared) -> TypeOf:
    found = declared.get(type_.name)
    if not isinstance(found, TypeOf):
        known = ", ".join(sorted(OWN))
        raise Refused(type_.at, f"the type {type_.name} is not declared, and outside of the stage's subset: {known}")
    return found


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
        return arm(declared.type, names.declared)
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


def resource(declared: Resource, names: Names) -> dict[str, Any]:
    own = own_name(declared)
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
        **_scope_of(declared, names),
        "name": json(full_name(declared, names), names),
        **_properties(declared, names),
        **_depends_on(declared, names),
        **description(declared),
    }


def module(declared: Module, names: Names) -> dict[str, Any]:
    _check_keys(declared, _OF_MODULE)
    name, scope = module_name(declared), declared.body.get("scope")
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


def _scope_of(declared: Resource, names: Names) -> dict[str, Any]:
    match scope_of(declared, names):
        case Group(group):
            return {"resourceGroup": json(group, names)}
        case Subscription():
            return {"scope": "[subscription().id]"}
        case Extension(of):
            return {"scope": f"[{text(resource_id(of, names), names)}]"}
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
    """What the declaration uses, and what its `dependsOn` adds; `dependsOn` may name nothing else."""
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


def loaded(calls: Iterable[Call], folder: Path) -> dict[Call, str]:
    """What each loadTextContent() of a file reads, from beside the file."""
    return {call: _text_content(call, folder) for call in calls if call.name == "loadTextContent"}


def _text_content(call: Call, folder: Path) -> str:
    match call.arguments:
        case (Literal(str(name)),):
            try:
                return (folder / name).read_text(encoding="utf-8")
            except OSError as unreadable:
                raise Refused(call.at, f"{name} cannot be read: {unreadable.strerror}") from unreadable
    raise Refused(call.at, "loadTextContent takes one plain path here")


def compile(path: Path) -> dict[str, Any]:
    """Raises BicepError, with file and line, for what is wrong and for what the stage's subset of Bicep has not."""
    return _compile(path, ())


def _compile(path: Path, within: tuple[Path, ...]) -> dict[str, Any]:
    source = read(path)
    try:
        source.declared.update(_imported(source, path))
        return _template(source, path, (*within, path.resolve()))
    except Refused as refused:
        raise BicepError(path, refused.at, str(refused)) from refused


def _template(source: Source, path: Path, within: tuple[Path, ...]) -> dict[str, Any]:
    templates = {
        name: _compile(_file(declared, path, within), within)
        for name, declared in source.declared.items()
        if isinstance(declared, Module)
    }
    contents = _loaded(source, path)
    names = Names(source.declared, templates, {call: f"$fxv#{at}" for at, call in enumerate(contents)})
    names.check_cycles()
    sections: dict[str, dict[str, Any]] = {section: {} for section in _SECTIONS}
    sections["variables"] = {names.loaded[call]: escaped(text) for call, text in contents.items()}
    for declared in source.declared.values():
        _enter(sections, declared, names)
    sections["outputs"] = {name: _output(declared, names) for name, declared in source.outputs.items()}
    return {
        "$schema": _SCHEMA,
        "languageVersion": "2.0",
        "contentVersion": "1.0.0.0",
        "metadata": {"_generator": {"name": "stage.bicep", "version": VERSION}, **source.metadata},
        **{name: section for name, section in sections.items() if section or name == "resources"},
    }


def _loaded(source: Source, path: Path) -> dict[Call, str]:
    declared = [*source.declared.values(), *source.outputs.values()]
    calls = (node for one in declared for whole in expressions(one) for node in walk(whole) if isinstance(node, Call))
    return loaded(calls, path.parent)


def _enter(sections: dict[str, dict[str, Any]], declared: Declaration, names: Names) -> None:
    match declared:
        case TypeOf(name):
            sections["definitions"][name] = definition(declared, names)
        case Param(name):
            sections["parameters"][name] = parameter(declared, names)
        case Var(name, value=value):
            description(declared)
            if not names.needs_platform(value):
                sections["variables"][name] = json(value, names)
        case Resource(name):
            sections["resources"][name] = resource(declared, names)
        case Module(name):
            sections["resources"][name] = module(declared, names)


def _output(declared: Output, names: Names) -> dict[str, Any]:
    return {**schema(declared, names, allowed={"secure"}), "value": json(declared.value, names)}


def _imported(source: Source, path: Path) -> dict[str, TypeOf]:
    """The types that the file takes from others."""
    found: dict[str, TypeOf] = {}
    for name, other in source.imports.items():
        declared = read(_beside(path, other, name.at)).declared.get(name.name)
        if not isinstance(declared, TypeOf) or not any(one.name == "export" for one in declared.decorators):
            raise Refused(name.at, f"{other} exports no type '{name.name}'")
        if name.name in source.declared:
            raise Refused(name.at, f"the name '{name.name}' is declared twice")
        found[name.name] = replace(declared, source=other)
    return found


def _beside(path: Path, other: str, at: At) -> Path:
    """The file that `path` names as `other`; raises Refused for what is no file of the same tree."""
    if ":" in other or "$" in other:
        raise Refused(at, f"the module path '{other}' is outside of the stage's subset of Bicep")
    found = path.parent / other
    if not found.is_file():
        raise Refused(at, f"there is no module {other}")
    return found


def _file(declared: Module, path: Path, within: tuple[Path, ...]) -> Path:
    found = _beside(path, declared.path, declared.at)
    if found.resolve() in within:
        raise Refused(declared.at, f"the module {declared.path} contains itself")
    return found
