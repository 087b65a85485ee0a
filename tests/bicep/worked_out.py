"""The template with its parameters worked out, as far as that needs no Azure: what a deployment would send.

What only Azure can say is UNKNOWN.
"""

import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from stage.bicep.syntax import (
    Array,
    Call,
    Literal,
    Member,
    Module,
    Name,
    Node,
    Object,
    Operation,
    Param,
    Resource,
    Source,
    Text,
    Var,
)

UNKNOWN = "<of Azure>"


Template: TypeAlias = Mapping[str, Mapping[str, Any]]
"""File -> name in the file -> body of a resource."""


def limits(sources: Mapping[str, Source], parameter: str) -> dict[str, Any]:
    """What stands above a parameter of main.bicep with one argument, and its default."""
    param = sources["main.bicep"].declared[parameter]
    assert isinstance(param, Param)
    worked = _File({}, {})
    found = {each.name: worked.value(each.arguments[0]) for each in param.decorators if each.arguments}
    return found | {"default": worked.value(param.default) if param.default else None}


def template(sources: Mapping[str, Source], **parameters: Any) -> Template:
    """``sources`` by file, as `project.sources` reads them; ``parameters`` are those of main.bicep."""
    main = sources["main.bicep"]
    file = _File(main.declared, parameters)
    found: dict[str, Mapping[str, Any]] = {"main.bicep": file.bodies()}
    for module in main.declared.values():
        if isinstance(module, Module):
            name = posixpath.normpath(module.path)
            arguments = file.value(module.body.get("params") or Object(()))
            found[name] = _File(sources[name].declared, arguments).bodies()
    return found


@dataclass(frozen=True)
class _File:
    declared: Mapping[str, Any]
    parameters: Mapping[str, Any]

    def bodies(self) -> dict[str, Any]:
        """Of the resources that are there with these parameters."""
        return {
            name: self.value(each.body)
            for name, each in self.declared.items()
            if isinstance(each, Resource) and (each.condition is None or self.value(each.condition))
        }

    def value(self, node: Node) -> Any:
        match node:
            case Literal(value):
                return value
            case Text(parts):
                return "".join(part if isinstance(part, str) else str(self.value(part)) for part in parts)
            case Array(items):
                return [self.value(item) for item in items]
            case Object(pairs):
                return {self.value(key): self.value(value) for key, value in pairs}
            case Name(name):
                return self._named(name)
            case Operation("?:", (condition, yes, no)):
                return self.value(yes if self.value(condition) else no)
            case Operation(symbol, operands):
                return _operate(symbol, *(self.value(operand) for operand in operands))
            case Call(name, arguments):
                return _call(name, *(self.value(argument) for argument in arguments))
            case Member():
                return UNKNOWN

    def _named(self, name: str) -> Any:
        match self.declared[name]:
            case Param(default=default):
                if name in self.parameters:
                    return self.parameters[name]
                assert default is not None, f"{name} is neither given nor has a default"
                return self.value(default)
            case Var(value=value):
                return self.value(value)
        return UNKNOWN


def _operate(symbol: str, left: Any, right: Any = None) -> Any:
    match symbol:
        case "==":
            return left == right
        case "!=":
            return left != right
        case "<":
            return left < right
        case "!":
            return not left
        case "&&":
            return left and right
        case "||":
            return left or right
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
    return UNKNOWN


def _call(name: str, *arguments: Any) -> Any:
    match name, arguments:
        case "empty", (of,):
            return not of
        case "string", (of,):
            return str(of)
        case "json", (of,):
            return json.loads(of)
        case "concat", _ if all(isinstance(each, list) for each in arguments):
            return [item for each in arguments for item in each]
        case "union", _ if all(isinstance(each, dict) for each in arguments):
            return {key: value for each in arguments for key, value in each.items()}
    return UNKNOWN
