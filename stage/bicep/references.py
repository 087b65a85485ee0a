"""What a name stands for in ARM: a call of parameters(), variables() or reference(), or an expression in its place."""

from stage.bicep import identity
from stage.bicep.names import Names
from stage.bicep.syntax import At, Call, Literal, Member, Module, Name, Node, Param, Refused, Resource, Var


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
            return identity.module_name(module), keys[1:]
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
            return identity.resource_id(resource, names), keys[1:]
        case Literal("name"):
            return identity.own_name(resource), keys[1:]
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
