"""The configuration directory of an az that is logged in to the stage and to nothing else."""

import json
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from stage.arm.ids import REGISTRY_SUFFIX, SUBSCRIPTION, TENANT

CLOUD = "Rehearsal"

_CLOUDS = """\
[{cloud}]
endpoint_resource_manager = {url}
endpoint_active_directory = {url}
endpoint_active_directory_resource_id = https://management.rehearsal.localhost/
endpoint_log_analytics_resource_id = {url}/la
endpoint_microsoft_graph_resource_id = {url}/graph/
suffix_acr_login_server_endpoint = {registry_suffix}
suffix_keyvault_dns = .vault.localhost
suffix_storage_endpoint = storage.localhost
"""
# Without these az asks the Internet: for news of itself, for extensions, with telemetry.
_CONFIG = """\
[cloud]
name = {cloud}
[core]
collect_telemetry = no
only_show_errors = yes
no_color = yes
survey_message = no
[auto-upgrade]
enable = no
[extension]
use_dynamic_install = no
[bicep]
use_binary_from_path = true
check_version = false
[logging]
enable_log_file = no
"""
_PROFILE = {
    "installationId": "00000000-0000-0000-0000-000000000001",
    "subscriptions": [
        {
            "id": SUBSCRIPTION,
            "name": "rehearsal",
            "state": "Enabled",
            "isDefault": True,
            "tenantId": TENANT,
            "homeTenantId": TENANT,
            "environmentName": CLOUD,
            "managedByTenants": [],
            # A managed identity: no secret and no token ever lies in this directory.
            "user": {
                "name": "systemAssignedIdentity",
                "type": "servicePrincipal",
                "assignedIdentityInfo": "MSI",
            },
        }
    ],
}


def write(directory: Path, url: str) -> None:
    """Makes ``directory`` what AZURE_CONFIG_DIR is to name, for the ARM endpoint at ``url``."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "clouds.config").write_text(_CLOUDS.format(cloud=CLOUD, url=url, registry_suffix=REGISTRY_SUFFIX))
    (directory / "config").write_text(_CONFIG.format(cloud=CLOUD))
    (directory / "azureProfile.json").write_text(json.dumps(_PROFILE))
    with suppress(PackageNotFoundError):  # without an az there is nobody to read this
        (directory / "versionCheck.json").write_text(json.dumps(_versions(version("azure-cli-core"))))


def _versions(installed: str) -> dict[str, Any]:
    # No setting keeps a new configuration directory from looking for a newer az on the Internet; having looked does.
    return {"versions": {"azure-cli": {"local": installed}, "core": {"local": installed}}}
