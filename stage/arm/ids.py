"""Names that stand in every path: there is one subscription, and one resource group from the start."""

SUBSCRIPTION = "5eb0a000-0000-4000-8000-000000000001"
TENANT = "7e0a0000-0000-4000-8000-000000000001"
LOCATION = "eastus2"
GROUP = "rehearsal"
REGISTRY = "rehearsal"

APPS = "Microsoft.App/containerApps"
ENVIRONMENTS = "Microsoft.App/managedEnvironments"
REGISTRIES = "Microsoft.ContainerRegistry/registries"
DEPLOYMENTS = "Microsoft.Resources/deployments"


def group_id(group: str) -> str:
    return f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}"


def resource_id(group: str, kind: str, name: str) -> str:
    return f"{group_id(group)}/providers/{kind}/{name}"
