"""What a resource is called and where it is: its name, its id, its scope. All of it in Bicep's own expressions."""

from dataclasses import dataclass

from stage.bicep.names import Names
from stage.bicep.syntax import Call, Literal, Member, Module, Name, Node, Refused, Resource, Text

_ID_OF_GROUP = "/subscriptions/{0}/resourceGroups/{1}"


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


def scope(resource: Resource, names: Names) -> Scope:
    """Raises Refused where a template of this group cannot deploy: elsewhere only `existing` is possible."""
    found = _scope(resource, names)
    outermost = found
    while isinstance(outermost, Extension):
        outermost = scope(outermost.of, names)
    if not resource.existing and not isinstance(outermost, Here):
        raise Refused(resource.at, f"'{resource.name}' is in another scope: deploy it with a module of that scope")
    return found


def _scope(resource: Resource, names: Names) -> Scope:
    above = parent(resource, names)
    if above is not None:
        return scope(above, names)
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
    parts = _names(resource, names)
    return Text(tuple(piece for part in parts for piece in ("/", part))[1:])


def resource_id(resource: Resource, names: Names) -> Node:
    at, rest = resource.at, (Literal(resource.type), *_names(resource, names))
    match scope(resource, names):
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


def _names(resource: Resource, names: Names) -> tuple[Node, ...]:
    """One name for each part of the type."""
    own, above = own_name(resource), parent(resource, names)
    if above is not None:
        return (*_names(above, names), own)
    depth = resource.type.count("/")
    if depth == 1:
        return (own,)
    parts = Call("split", (own, Literal("/")), resource.at)
    return tuple(Member(parts, Literal(at), safe=False) for at in range(depth))
