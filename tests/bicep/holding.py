"""A resource held against what ARM takes. A fault is a sentence that names file, resource and property."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeAlias

from stage.bicep.syntax import Array, Declaration, Literal, Member, Name, Node, Object, Resource, expressions, walk
from tests.bicep.schema import Properties, Schema, plain
from tests.bicep.values import Values

Schemas: TypeAlias = Mapping[str, Mapping[str, Schema]]
_PLAIN = ("string", "int", "bool")
_UNTYPED = ("any", "object", "array")
_OF_BICEP = (Literal("parent"), Literal("scope"), Literal("dependsOn"))
_OF_EVERY = {"id", "name", "type", "apiVersion"}


def resource_faults(resource: Resource, values: Values, schemas: Schemas) -> Iterator[str]:
    versions = schemas.get(resource.type, {})
    schema = versions.get(resource.api_version)
    if resource.existing and not versions:
        # What is only named needs no type, if the version is one that its parent has.
        versions = schemas.get(resource.type.rpartition("/")[0], {})
        schema = versions.get(resource.api_version)
    if not versions:
        yield f"{resource.name}: no type of {resource.type} is at hand; see tests/bicep/compiler/README.md"
    elif schema is None:
        known = ", ".join(f"@{version}" for version in versions)
        yield f"{resource.name}: {resource.type}@{resource.api_version}, but what is checked is {known}"
    elif not resource.existing:
        body = Object(tuple((key, value) for key, value in resource.body.pairs if key not in _OF_BICEP))
        holding = _Holding(schema, values)
        # A fault in one arm of two is found once for every way to get there.
        yield from dict.fromkeys(f"{resource.name}{path}: {why}" for path, why in holding.object(body, schema.body, ""))


def reading_faults(of: Declaration, values: Values, schemas: Schemas) -> Iterator[str]:
    """Properties of resources that are read although the resource has none of that name."""
    for expression in expressions(of):
        for node in walk(expression):
            if not (isinstance(node, Member) and (found := _path(node, values))):
                continue
            resource, path = found
            schema = schemas.get(resource.type, {}).get(resource.api_version)
            if schema and path[0] not in _OF_EVERY and not schema.has(*path) and schema.has(*path[:-1]):
                yield f"{of.name}: reads {resource.name}.{'.'.join(path)}, but {resource.type} has no such property"


def body_faults(body: Mapping[str, Any], schema: Schema, of: str) -> Iterator[str]:
    """A body as it is sent, held against the same: every expression in it is worked out."""
    holding = _Holding(schema, Values({}))
    node = _node({**body, "name": "any"})
    assert isinstance(node, Object)
    yield from dict.fromkeys(f"{of}{path}: {why}" for path, why in holding.object(node, schema.body, ""))


def _node(value: Any) -> Node:
    match value:
        case dict():
            return Object(tuple((Literal(name), _node(inner)) for name, inner in value.items()))
        case list():
            return Array(tuple(map(_node, value)))
        case float():
            # Bicep has no type for it: a type says int.
            return Literal(int(value))
    return Literal(value)


@dataclass(frozen=True)
class _Holding:
    schema: Schema
    values: Values

    def object(self, node: Object, properties: Properties, at: str) -> Iterator[tuple[str, str]]:
        given = set()
        for key, value in node.pairs:
            name = key.value if isinstance(key, Literal) else None
            written = properties.get(str(name), properties.get("*"))
            if written is None:
                yield f"{at}.{name}" if name else at, _unknown(name, properties)
            elif written.startswith("read-only "):
                yield f"{at}.{name}", "only the platform writes it"
            else:
                yield from self.value(value, plain(written), f"{at}.{name or '*'}")
                if Literal(None) not in self.values.outcomes(value):
                    given.add(name)
        for name, written in properties.items():
            if written.startswith("required ") and name not in given:
                yield f"{at}.{name}", "required, but missing"

    def value(self, node: Node, type_: str, at: str) -> Iterator[tuple[str, str]]:
        for outcome in self.values.outcomes(node):
            if outcome != Literal(None):
                yield from self._outcome(outcome, type_, at)

    def _outcome(self, node: Node, type_: str, at: str) -> Iterator[tuple[str, str]]:
        properties = self.schema.properties(type_)
        expected = _kind(type_, properties)
        actual = self.values.type(node)
        if expected and actual and actual != expected:
            yield at, f"takes {_a(expected)}, not {_a(actual)}"
        elif type_.endswith("[]") and isinstance(node, Array):
            for index, item in enumerate(node.items):
                yield from self.value(item, type_.removesuffix("[]"), f"{at}[{index}]")
        elif properties is not None and isinstance(node, Object):
            yield from self.object(node, properties, at)
        elif expected == "int" and ".." in type_ and isinstance(node, Literal) and isinstance(node.value, int):
            least, most = type_.removeprefix("int ").split("..")
            if not int(least) <= node.value <= int(most):
                yield at, f"{node.value} is not in {least} to {most}"
        elif expected == "string" and type_ != "string" and isinstance(node, Literal):
            words = [word for word in type_.split(" | ") if word != "string"]
            if node.value not in words:
                yield at, f"'{node.value}' is not one of {', '.join(words)}"


def _kind(type_: str, properties: Properties | None) -> str | None:
    if type_ in _UNTYPED:
        return None
    if type_.endswith("[]"):
        return "array"
    if properties is not None:
        return "object"
    return "int" if type_.startswith("int ") else type_ if type_ in _PLAIN else "string"


def _unknown(name: object, properties: Properties) -> str:
    if name is None:
        return "its properties have fixed names, and one is computed"
    near = get_close_matches(str(name), properties, 1)
    return "no such property" + (f"; there is {near[0]}" if near else "")


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aoi" else f"a {kind}"


def _path(node: Member, values: Values) -> tuple[Resource, tuple[str, ...]] | None:
    """`resource.a.b` as what it starts from and how it goes on, as far as the names are fixed."""
    names: list[str] = []
    at: Node = node
    while isinstance(at, Member):
        # What stands behind a computed key is not followed.
        names = [at.key.value, *names] if isinstance(at.key, Literal) and isinstance(at.key.value, str) else []
        at = at.of
    resource = values.declared.get(at.name) if isinstance(at, Name) else None
    return (resource, tuple(names)) if isinstance(resource, Resource) and names else None
