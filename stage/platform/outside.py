"""What an app takes from outside of its environment: secrets of a Key Vault, and folders of a storage account."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stage.platform.rejected import Rejected


def _no_secret(url: str, identity: str) -> str:
    raise Rejected("ContainerAppSecretInvalid", f"there is no Key Vault at {url}")


def _no_share(storage: str) -> Path:
    raise Rejected("ManagedEnvironmentStorageNotFound", f"the environment has no storage '{storage}'", 404)


@dataclass
class Outside:
    """Whoever knows what there is sets both; each raises Rejected for what is not there, or may not be read."""

    secret: Callable[[str, str], str] = _no_secret
    """The value now of a secret, by its URL, as an identity reads it."""
    share: Callable[[str], Path] = _no_share
    """The folder of a storage of the environment."""
