"""What no later deployment changes: a region, what an environment was made with, a storage's share, a subnet in use."""

from typing import Any

from stage.arm import regions
from stage.arm.ids import ENVIRONMENTS, NETWORKS, STORAGES
from stage.arm.resources import Asked
from stage.arm.subscription import Subscription
from stage.platform import Rejected

_OF_A_STORAGE = ("azureFile.accountName", "azureFile.shareName", "azureFile.accessMode")
"""microsoft/azure-container-apps#1255 has what the service says to another one."""
_OF_AN_ENVIRONMENT = ("zoneRedundant", "vnetConfiguration.infrastructureSubnetId", "vnetConfiguration.internal")


def check(subscription: Subscription, kind: str, asked: Asked, before: Asked | None) -> None:
    """Raises Rejected where ``asked`` is otherwise than ``before`` in what stays."""
    if kind == ENVIRONMENTS:
        _check_zones(asked)
    if before is None:
        return
    here, there = before.body.get("location"), asked.body.get("location")
    if here and there and regions.plain(here) != regions.plain(there):
        what = f"The resource '{asked.name}' already exists in location '{here}' in resource group '{asked.group}'. A "
        what += (
            f"resource with the same name cannot be created in location '{there}'. Please select a new resource name."
        )
        raise Rejected("InvalidResourceLocation", what, 409)
    if kind == ENVIRONMENTS:
        for path in _OF_AN_ENVIRONMENT:
            if _get(asked, path) != _get(before, path):
                what = (
                    f"The property '{path}' of managed environment '{asked.name}' cannot be changed after its creation."
                )
                raise Rejected("ManagedEnvironmentPropertyImmutable", what)
    elif kind == STORAGES:
        for path in _OF_A_STORAGE:
            if _get(asked, path) != _get(before, path):
                what = f"Invalid request body for managed environment storage '{asked.name.rpartition('/')[2]}'. "
                what += "Only 'properties.azureFile.AccountKey' can be updated."
                raise Rejected("ManagedEnvironmentStorageUpdateBadRequest", what)
    elif kind == NETWORKS:
        _check_subnets(subscription, asked, before)


def _check_zones(asked: Asked) -> None:
    region = asked.body.get("location")
    if _get(asked, "zoneRedundant") and regions.plain(region) in regions.WITHOUT_ZONES:
        raise Rejected("ZoneRedundancyNotSupported", f"Zone redundant environments are not supported in {region}.")


def _check_subnets(subscription: Subscription, asked: Asked, before: Asked) -> None:
    used = {
        str(_get(each, "vnetConfiguration.infrastructureSubnetId")).lower()
        for each in subscription.store.of(ENVIRONMENTS)
    }
    wanted = {name: prefix for name, prefix in _prefixes(asked)}
    for name, prefix in _prefixes(before):
        subnet = f"{before.id}/subnets/{name}"
        if subnet.lower() in used and wanted.get(name) != prefix:
            what = f"IpPrefix {prefix} on Subnet {subnet} has active allocations and cannot be deleted."
            raise Rejected("InUsePrefixCannotBeDeleted", what)


def _prefixes(network: Asked) -> list[tuple[str, str]]:
    subnets = (network.body.get("properties") or {}).get("subnets") or ()
    return [(str(each.get("name")), str((each.get("properties") or {}).get("addressPrefix"))) for each in subnets]


def _get(asked: Asked, path: str) -> Any:
    found: Any = asked.body.get("properties") or {}
    for name in path.split("."):
        found = (found or {}).get(name)
    return found
