"""From Bicep's expressions to ARM's: as text within one, and as JSON where an expression is one value of many.

A name becomes a call of parameters(), variables() or reference(), or an expression in its place. The name, the id and
the scope of a resource are worked out in Bicep's own expressions.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stage.bicep.syntax import (
    Array,
    At,
    Call,
    Literal,
    Member,
    Module,
    Name,
    Names,
    Node,
    Object,
    Operation,
    Param,
    Refused,
    Resource,
    Text,
    Var,
)

_ID_OF_GROUP = "/subscriptions/{0}/resourceGroups/{1}"
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_OPERATORS = {
    "?:": "if({}, {}, {})",
    "??": "coalesce({}, {})",
    "||": "or({}, {})",
    "&&": "and({}, {})",
    "==": "equals({}, {})",
    "!=": "not(equals({}, {}))",
    "<": "less({}, {})",
    "<=": "lessOrEquals({}, {})",
    ">": "greater({}, {})",
    ">=": "greaterOrEquals({}, {})",
    "+": "add({}, {})",
    "-": "sub({}, {})",
    "*": "mul({}, {})",
    "/": "div({}, {})",
    "%": "mod({}, {})",
    "!": "not({})",
    "negative": "sub(0, {})",
}


def check_scope(call: Call) -> None:
    """Raises Refused for another group or subscription where no scope is asked for."""
    if call.name in ("resourceGroup", "subscription") and call.arguments:
        raise Refused(call.at, f"{call.name}() with arguments can only be a scope")


@dataclass(frozen=True)
class Here:
    """In the resource group to which the template is deployed."""


@dataclass(frozen=True)
class Group:
    """In another resource group of the subscription."""

    name: Node


@dataclass(frozen=True)
class Subscription:
    """Of the subscription itself, as role definitions are."""


@dataclass(frozen=True)
class Extension:
    """Of another resource, as role assignments are."""

    of: Resource


Scope = Here | Group | Subscription | Extension


def own_name(resource: Resource) -> Node:
    name = resource.body.get("name")
    if name is None:
        raise Refused(resource.at, f"the resource '{resource.name}' has no name")
    return name


def module_name(module: Module) -> Node:
    """Its own, or the one that the compiler makes up: it differs by the deployment around it."""
    own = module.body.get("name")
    if own is not None:
        return own
    deployment = Member(Call("deployment", (), module.at), Literal("name"), safe=False)
    unique = Call("uniqueString", (Literal(module.name), deployment), module.at)
    return Text((f"{module.name}-", unique))


def parent(resource: Resource, names: Names) -> Resource | None:
    node = resource.body.get("parent")
    if node is None:
        return None
    found = names.find(node) if isinstance(node, Name) else None
    if not isinstance(found, Resource):
        raise Refused(resource.at, f"the parent of '{resource.name}' is not a resource")
    if found.type.lower() != resource.type.rpartition("/")[0].lower():
        raise Refused(resource.at, f"'{found.name}', a {found.type}, cannot be the parent of a {resource.type}")
    return found


def scope_of(resource: Resource, names: Names) -> Scope:
    """Raises Refused where a template of this group cannot deploy: elsewhere only `existing` is possible."""
    found = _scope(resource, names)
    outermost = found
    while isinstance(outermost, Extension):
        outermost = scope_of(outermost.of, names)
    if not resource.existing and not isinstance(outermost, Here):
        raise Refused(resource.at, f"'{resource.name}' is in another scope: deploy it with a module of that scope")
    return found


def _scope(resource: Resource, names: Names) -> Scope:
    above = parent(resource, names)
    if above is not None:
        return scope_of(above, names)
    match resource.body.get("scope"):
        case None | Call("resourceGroup", ()):
            return Here()
        case Call("resourceGroup", (group,)):
            return Group(group)
        case Call("subscription", ()):
            return Subscription()
        case Name() as name:
            found = names.find(name)
            if isinstance(found, Resource):
                return Extension(found)
    raise Refused(resource.at, f"the scope of '{resource.name}' is outside of the stage's subset of Bicep")


def full_name(resource: Resource, names: Names) -> Node:
    """The names of the parents and its own, with slashes between them."""
    if parent(resource, names) is None:
        return own_name(resource)
    parts = _own_names(resource, names)
    return Text(tuple(piece for part in parts for piece in ("/", part))[1:])


def resource_id(resource: Resource, names: Names) -> Node:
    at, rest = resource.at, (Literal(resource.type), *_own_names(resource, names))
    match scope_of(resource, names):
        case Here():
            return Call("resourceId", rest, at)
        case Subscription():
            return Call("subscriptionResourceId", rest, at)
        case Extension(of):
            return Call("extensionResourceId", (resource_id(of, names), *rest), at)
        case Group(name):
            subscription = Member(Call("subscription", (), at), Literal("subscriptionId"), safe=False)
            group = Call("format", (Literal(_ID_OF_GROUP), subscription, name), at)
            return Call("extensionResourceId", (group, *rest), at)


def _own_names(resource: Resource, names: Names) -> tuple[Node, ...]:
    """One name for each part of the type."""
    own, above = own_name(resource), parent(resource, names)
    if above is not None:
        return (*_own_names(above, names), own)
    depth = resource.type.count("/")
    if depth == 1:
        return (own,)
    parts = Call("split", (own, Literal("/")), resource.at)
    return tuple(Member(parts, Literal(at), safe=False) for at in range(depth))


def named(name: Name, names: Names) -> Node:
    match names.find(name):
        case Param(declared):
            return Call("parameters", (Literal(declared),), name.at)
        case Var(declared, value=value):
            # ARM computes the variables before it deploys anything.
            return value if names.needs_platform(value) else Call("variables", (Literal(declared),), name.at)
        case Resource() as resource:
            return _whole(resource, name.at)
    raise _only_outputs(name)


def member(name: Name, keys: list[Member], names: Names) -> tuple[Node, list[Member]]:
    """Of `name.a.b.c`: what the name and the first keys come to, and the keys that are left."""
    match names.find(name):
        case Module() as module:
            return _of_module(module, name, keys, names)
        case Resource() as resource:
            return _of_resource(resource, name.at, keys, names)
    return named(name, names), keys


def _of_module(module: Module, name: Name, keys: list[Member], names: Names) -> tuple[Node, list[Member]]:
    match [one.key for one in keys]:
        case [Literal("name"), *_]:
            return module_name(module), keys[1:]
        case [Literal("outputs"), Literal(str(output)), *_]:
            if output not in names.templates[module.name].get("outputs", {}):
                raise Refused(name.at, f"the module '{module.name}' has no output '{output}'")
            found: Node = Call("reference", (Literal(module.name),), name.at)
            for key in ("outputs", output, "value"):
                found = Member(found, Literal(key), safe=False)
            return found, keys[2:]
    raise _only_outputs(name)


def _of_resource(resource: Resource, at: At, keys: list[Member], names: Names) -> tuple[Node, list[Member]]:
    match keys[0].key:
        case Literal("id"):
            return resource_id(resource, names), keys[1:]
        case Literal("name"):
            return own_name(resource), keys[1:]
        case Literal("type"):
            return Literal(resource.type), keys[1:]
        case Literal("apiVersion"):
            return Literal(resource.api_version), keys[1:]
        case Literal("properties") if not keys[0].safe:
            return Call("reference", (Literal(resource.name),), at), keys[1:]
    return _whole(resource, at), keys


def _whole(resource: Resource, at: At) -> Call:
    return Call("reference", (Literal(resource.name), Literal(resource.api_version), Literal("full")), at)


def _only_outputs(name: Name) -> Refused:
    return Refused(name.at, f"of the module '{name.name}' only the name and the outputs can be used")


def json(node: Node, names: Names) -> Any:
    """`node` as a value of the template: objects and lists stay what they are, what must be computed is in brackets."""
    match node:
        case Literal(str(value)):
            return escaped(value)
        case Literal(value):
            return value
        case Operation("negative", (Literal(int(value)),)):
            return -value
        case Array(items):
            return [json(item, names) for item in items]
        case Object(pairs):
            return {json(key, names): json(value, names) for key, value in pairs}
        case Name() | Member():
            start, keys = _resolved(node, names)
            if not keys:
                return json(start, names)
    return f"[{text(node, names)}]"


def escaped(value: str) -> str:
    """ARM takes a string in brackets for an expression, unless the first bracket is doubled."""
    return "[" + value if value.startswith("[") and value.endswith("]") else value


def text(node: Node, names: Names) -> str:
    """`node` within an expression."""
    match node:
        case Literal(value):
            return _literal(value)
        case Text(parts):
            return _formatted(parts, names)
        case Operation("negative", (Literal(int(value)),)):
            return str(-value)
        case Operation(symbol, operands):
            return _OPERATORS[symbol].format(*(text(operand, names) for operand in operands))
        case Array(items):
            return f"createArray({_listed(items, names)})"
        case Object(pairs):
            return f"createObject({_listed([side for pair in pairs for side in pair], names)})"
        case Call("loadTextContent") as call:
            return f"variables('{names.loaded[call]}')"
        case Call(name, arguments) as call:
            check_scope(call)
            return f"{name}({_listed(arguments, names)})"
        case Name() | Member():
            return _keyed(*_resolved(node, names), names)


def _literal(value: str | int | bool | None) -> str:
    match value:
        case None:
            return "null()"
        case bool():
            return f"{value}()".lower()
        case int():
            return str(value)
    return "'" + value.replace("'", "''") + "'"


def _formatted(parts: Sequence[str | Node], names: Names) -> str:
    pattern = ""
    arguments: list[str] = []
    for part in parts:
        if isinstance(part, str):
            pattern += part.replace("{", "{{").replace("}", "}}")
        else:
            pattern += f"{{{len(arguments)}}}"
            arguments.append(text(part, names))
    return f"format({', '.join([_literal(pattern), *arguments])})"


def _listed(nodes: Sequence[Node], names: Names) -> str:
    return ", ".join(text(node, names) for node in nodes)


def _resolved(node: Name | Member, names: Names) -> tuple[Node, list[Member]]:
    """What stands at the start of a chain of keys, in ARM's terms, and the keys to look for in it."""
    if isinstance(node, Name):
        return named(node, names), []
    chain = [node]
    while isinstance(chain[0].of, Member):
        chain.insert(0, chain[0].of)
    start = chain[0].of
    return member(start, chain, names) if isinstance(start, Name) else (start, chain)


def _keyed(start: Node, keys: list[Member], names: Names) -> str:
    found = text(start, names)
    first = next((at for at, one in enumerate(keys) if one.safe), len(keys))
    for one in keys[:first]:
        found += _key(one.key, names)
    keys = keys[first:]
    while keys:
        # Where a `?` finds nothing, what follows is not looked for, up to the next `?`.
        end = next((at for at, one in enumerate(keys) if at and one.safe), len(keys))
        found, keys = f"tryGet({found}, {_listed([one.key for one in keys[:end]], names)})", keys[end:]
    return found


def _key(key: Node, names: Names) -> str:
    if isinstance(key, Literal) and isinstance(key.value, str) and _IDENTIFIER.fullmatch(key.value):
        return f".{key.value}"
    return f"[{text(key, names)}]"
