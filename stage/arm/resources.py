"""A resource as a template asks for it, and how its id is made."""

from dataclasses import dataclass
from typing import Any

from stage.arm.ids import group_id
from stage.arm.syntax import invalid

BODY = ("location", "tags", "kind", "sku", "identity", "zones", "plan", "properties")
"""What of a resource is the resource, and not the template's way of asking for it."""
_ASKING = {"type", "apiVersion", "name", "scope", "etag", "existing", "resourceGroup"}


@dataclass(frozen=True)
class Asked:
    """One resource, every expression of it evaluated."""

    id: str
    kind: str
    name: str
    group: str
    body: dict[str, Any]
    """The fields of `BODY` that it has."""


def id_in(scope: str, kind: str, name: str) -> str:
    """The id below ``scope``; a child's ``kind`` and ``name`` have as many parts more as it is deep."""
    namespace, *kinds = kind.split("/")
    names = name.split("/")
    if len(kinds) != len(names):
        raise invalid(f"the type '{kind}' wants {len(kinds)} names, and '{name}' has {len(names)}")
    return f"{scope}/providers/{namespace}" + "".join(
        f"/{kind}/{name}" for kind, name in zip(kinds, names, strict=True)
    )


def read(resource: dict[str, Any], group: str) -> Asked:
    """A resource of a template, already evaluated. Raises Rejected for what the stage cannot do with one."""
    kind, name = resource.get("type"), resource.get("name")
    if not isinstance(kind, str) or not isinstance(name, str):
        raise invalid(f"a resource of type '{kind}' has the name '{name}'; both must be texts")
    if odd := sorted(set(resource) - {*BODY, *_ASKING}):
        raise invalid(f"'{odd[0]}' of '{name}', of type '{kind}', is nothing that the stage can do")
    return Asked(
        id=id_in(_scope(resource.get("scope"), group), kind, name),
        kind=kind,
        name=name,
        group=group,
        body={field: resource[field] for field in BODY if resource.get(field) is not None},
    )


def _scope(scope: str | None, group: str) -> str:
    """Where an extension is attached: an id, or `Namespace/type/name` in the group."""
    if scope is None:
        return group_id(group)
    return scope.rstrip("/") if scope.startswith("/") else f"{group_id(group)}/providers/{scope}"
