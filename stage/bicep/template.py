"""A Bicep file and its modules, as one ARM template with symbolic names (languageVersion 2.0)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from stage.bicep import resources
from stage.bicep.decorators import definition, description, parameter, schema
from stage.bicep.expressions import escaped, json
from stage.bicep.functions import loaded
from stage.bicep.names import Names
from stage.bicep.source import read
from stage.bicep.syntax import (
    At,
    BicepError,
    Call,
    Declaration,
    Module,
    Output,
    Param,
    Refused,
    Resource,
    Source,
    TypeOf,
    Var,
    expressions,
    walk,
)

VERSION = "0.0.0"
_SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
_SECTIONS = ("definitions", "parameters", "variables", "resources", "outputs")


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
            sections["resources"][name] = resources.resource(declared, names)
        case Module(name):
            sections["resources"][name] = resources.module(declared, names)


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
