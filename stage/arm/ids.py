"""Names that stand in every path: there is one subscription, and unless the stage is empty one group from the start."""

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


def group_id(group: str) -> str:
    return f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}"


def resource_id(group: str, kind: str, name: str) -> str:
    return f"{group_id(group)}/providers/{kind}/{name}"


def group_of(resource: str) -> str:
    """The resource group in an id."""
    return resource.split("/")[4]
