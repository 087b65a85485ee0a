"""A resource as a template asks for it: its type, its id, the hashes made of ids, and the store of all of them.

There is one subscription, and unless the stage is empty one resource group from the start.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stage.platform import Rejected

SUBSCRIPTION = "5eb0a000-0000-4000-8000-000000000001"
TENANT = "7e0a0000-0000-4000-8000-000000000001"
LOCATION = "eastus2"
REGISTRY_SUFFIX = ".azurecr.localhost"
GROUP = "rehearsal"
REGISTRY = "rehearsal"
ACCOUNTS = "Microsoft.CognitiveServices/accounts"
APPS = "Microsoft.App/containerApps"
DEPLOYMENTS = "Microsoft.Resources/deployments"
ENVIRONMENTS = "Microsoft.App/managedEnvironments"
GATEWAYS = "Microsoft.Network/applicationGateways"
NETWORKS = "Microsoft.Network/virtualNetworks"
PUBLIC_ADDRESSES = "Microsoft.Network/publicIPAddresses"
SECURITY_GROUPS = "Microsoft.Network/networkSecurityGroups"
STORAGE_ACCOUNTS = "Microsoft.Storage/storageAccounts"
STORAGES = "Microsoft.App/managedEnvironments/storages"
VAULTS = "Microsoft.KeyVault/vaults"
IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"
REGISTRIES = "Microsoft.ContainerRegistry/registries"
ROLE_ASSIGNMENTS = "Microsoft.Authorization/roleAssignments"
_NAMESPACE = uuid.UUID("11fb06fb-712d-4ddd-98c7-e71bbd588830")
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_LENGTH = 13
_C1, _C2 = 0x239B961B, 0xAB0E9789
_ALL = 0xFFFFFFFF
BODY = ("location", "tags", "kind", "sku", "identity", "zones", "plan", "properties")
"""What of a resource is the resource, and not the template's way of asking for it."""
_ASKING = {"type", "apiVersion", "name", "scope", "etag", "existing", "resourceGroup"}


def group_id(group: str) -> str:
    return f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}"


def resource_id(group: str, kind: str, name: str) -> str:
    return f"{group_id(group)}/providers/{kind}/{name}"


def group_of(resource: str) -> str:
    """The resource group in an id."""
    return resource.split("/")[4]


def guid(*parts: str) -> str:
    """The UUIDv5 of the arguments."""
    return str(uuid.uuid5(_NAMESPACE, "-".join(parts)))


def unique_string(*parts: str) -> str:
    """The hash of the arguments, five bits a letter, the highest first."""
    value, found = _hash("-".join(parts).encode()), ""
    for _ in range(_LENGTH):
        found += _LETTERS[value >> 59]
        value = value << 5 & 0xFFFFFFFFFFFFFFFF
    return found


def _hash(data: bytes) -> int:
    """MurmurHash3 in two lanes of 32 bits, seed 0."""
    one = two = 0
    whole = len(data) - len(data) % 8
    for at in range(0, whole, 8):
        one ^= _first(data[at : at + 4])
        one = ((_turned(one, 19) + two) * 5 + 0x561CCD1B) & _ALL
        two ^= _second(data[at + 4 : at + 8])
        two = ((_turned(two, 13) + one) * 5 + 0x0BCAA747) & _ALL
    one ^= _first(data[whole : whole + 4]) ^ len(data)
    two ^= _second(data[whole + 4 :]) ^ len(data)
    one = one + two & _ALL
    two = two + one & _ALL
    one, two = _mixed(one), _mixed(two)
    one = one + two & _ALL
    return (two + one & _ALL) << 32 | one


def _first(word: bytes) -> int:
    return _turned(int.from_bytes(word, "little") * _C1 & _ALL, 15) * _C2 & _ALL


def _second(word: bytes) -> int:
    return _turned(int.from_bytes(word, "little") * _C2 & _ALL, 17) * _C1 & _ALL


def _mixed(lane: int) -> int:
    lane = (lane ^ lane >> 16) * 0x85EBCA6B & _ALL
    lane = (lane ^ lane >> 13) * 0xC2B2AE35 & _ALL
    return lane ^ lane >> 16


def _turned(word: int, bits: int) -> int:
    return (word << bits | word >> 32 - bits) & _ALL


def invalid(why: str) -> Rejected:
    return Rejected("InvalidTemplate", f"Deployment template validation failed: {why}.")


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
    """The id below ``scope``; a child's ``kind`` and ``name`` have one more part for each level."""
    namespace, *kinds = kind.split("/")
    names = name.split("/")
    if len(kinds) != len(names):
        raise invalid(f"the type '{kind}' wants {len(kinds)} names, and '{name}' has {len(names)}")
    return f"{scope}/providers/{namespace}" + "".join(
        f"/{kind}/{name}" for kind, name in zip(kinds, names, strict=True)
    )


def read_resource(resource: dict[str, Any], group: str) -> Asked:
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


class Store:
    """The resources in the order in which they were made. Ids are compared without regard to case."""

    def __init__(self) -> None:
        self._known: dict[str, Asked] = {}

    def find(self, resource: str) -> Asked | None:
        return self._known.get(resource.lower())

    def put(self, asked: Asked) -> None:
        self._known[asked.id.lower()] = asked

    def of(self, kind: str, group: str | None = None) -> list[Asked]:
        """Those of a type, of all groups or of one."""
        return [each for each in self.all(group) if each.kind.lower() == kind.lower()]

    def all(self, group: str | None = None) -> list[Asked]:
        return [each for each in self._known.values() if group is None or _in(each.id, group)]

    def remove_group(self, group: str) -> list[Asked]:
        """Forgets all that is in a group; what it forgot."""
        gone = self.all(group)
        for each in gone:
            self._known.pop(each.id.lower(), None)
        return gone


def ancestors(asked: Asked) -> Iterator[str]:
    """The ids that must be there before a child or an extension is."""
    scope, _, _ = asked.id.rpartition("/providers/")
    if "/providers/" in scope:
        yield scope
    if "/" in asked.name:
        yield "/".join(asked.id.split("/")[:-2])


def _in(resource: str, group: str) -> bool:
    return group_of(resource).lower() == group.lower()
