"""Key Vaults and storage accounts, as far as an app reads from them: a secret's value, and a share's folder.

A vault's secret has its value by a template; there is no data plane. A share is a folder below the stage's own, in
which its files are put by hand.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from stage.arm import roles
from stage.arm.hashing import guid
from stage.arm.ids import ENVIRONMENTS, STORAGE_ACCOUNTS, STORAGES, VAULTS
from stage.arm.resources import Asked
from stage.arm.subscription import Subscription
from stage.platform import Rejected
from stage.platform.host import Outside

SECRETS = f"{VAULTS}/secrets"
SHARES = f"{STORAGE_ACCOUNTS}/fileServices/shares"


def attach(outside: Outside, subscription: Subscription, root: Path) -> None:
    """Lets the apps of the environment read what there is; shares are folders below ``root``."""
    outside.secret = lambda url, identity: value(subscription, url, identity)
    outside.share = lambda storage: _share(subscription, storage, root)


def value(subscription: Subscription, url: str, identity: str) -> str:
    """Of a secret of a vault. Raises Rejected when there is none, or the identity has no role at it."""
    found = secret(subscription, url)
    if found is None or not roles.may_read(subscription, identity, found.id):
        raise _unreadable(url, identity)
    return str((found.body.get("properties") or {}).get("value"))


def _unreadable(url: str, identity: str) -> Rejected:
    what = f"Unable to get value using Managed identity {identity} for secret {url.rpartition('/secrets/')[2]}"
    return Rejected(
        "InvalidParameterValueInContainerTemplate",
        "The following field(s) are either invalid or missing. Field 'configuration.secrets' is invalid with "
        f"details: 'Invalid value: \"{url}\": {what}.'.",
    )


def secret(subscription: Subscription, url: str) -> Asked | None:
    """What a URL https://VAULT.DOMAIN/secrets/NAME, with a version or without, names."""
    host, _, path = url.removeprefix("https://").partition("/secrets/")
    vault, name = host.partition(".")[0].lower(), path.partition("/")[0].lower()
    for each in subscription.store.of(SECRETS):
        if each.name.lower() == f"{vault}/{name}":
            return each
    return None


def check_secrets(subscription: Subscription, fields: dict[str, Any], properties: dict[str, Any]) -> None:
    """Raises Rejected when an app names an identity for a vault that it does not have."""
    for each in (properties.get("configuration") or {}).get("secrets") or ():
        identity = str(each.get("identity") or "")
        if each.get("keyVaultUrl") and identity and identity.lower() not in roles.assigned(fields):
            what = f"the identity {identity} of secret '{each.get('name')}' is not assigned to the app"
            raise Rejected("ContainerAppSecretInvalid", what)


def check_values(subscription: Subscription, app: Asked, too_new: Collection[str]) -> None:
    """Raises Rejected when an app reads a vault's secret by a role that is ``too_new``."""
    for each in ((app.body.get("properties") or {}).get("configuration") or {}).get("secrets") or ():
        url, identity = str(each.get("keyVaultUrl") or ""), str(each.get("identity") or "")
        found = secret(subscription, url)
        role = found and roles.granted(subscription, identity, roles.SECRETS_USER, [found.id])
        if role and role.id.lower() in too_new and identity.lower() in roles.assigned(app.body):
            raise _unreadable(url, identity)


def check_certificate(subscription: Subscription, gateway: Asked, too_new: Collection[str]) -> None:
    """Raises Rejected when a gateway cannot read a certificate by its identity: by no role, or by one ``too_new``."""
    for each in (gateway.body.get("properties") or {}).get("sslCertificates") or ():
        url = str((each.get("properties") or {}).get("keyVaultSecretId") or "")
        found = secret(subscription, url)
        identities = roles.assigned(gateway.body)
        known = [roles.granted(subscription, who, roles.SECRETS_USER, [found.id]) for who in identities if found]
        if url and not any(role is not None and role.id.lower() not in too_new for role in known):
            what = (
                "Problem occurred while accessing and validating KeyVault Secrets associated with Application Gateway "
            )
            raise Rejected("ApplicationGatewayKeyVaultSecretException", f"{what}'{gateway.id}'. See details below:")


def account_keys(account: str) -> dict[str, Any]:
    """What `listKeys` answers for the id of a storage account."""
    value = guid("storage", account.lower()).replace("-", "")
    return {"keys": [{"keyName": "key1", "value": value, "permissions": "FULL"}]}


def make_share(asked: Asked, root: Path) -> None:
    """A share was made: there is a folder of it."""
    _folder(root, *asked.name.split("/")[::2]).mkdir(parents=True, exist_ok=True)


def _share(subscription: Subscription, storage: str, root: Path) -> Path:
    for each in subscription.store.of(STORAGES):
        if each.name.rpartition("/")[2] == storage:
            file = (each.body.get("properties") or {}).get("azureFile") or {}
            account, share = str(file.get("accountName")), str(file.get("shareName"))
            known = [each.id for each in subscription.store.of(STORAGE_ACCOUNTS) if each.name == account]
            if not known or file.get("accountKey") != account_keys(known[0])["keys"][0]["value"]:
                raise Rejected("ManagedEnvironmentStorageInvalid", f"storage '{storage}': wrong key for '{account}'")
            return _folder(root, account, share)
    kind = ENVIRONMENTS.partition("/")[2]
    raise Rejected("ManagedEnvironmentStorageNotFound", f"no storage '{storage}' in any of {kind}", 404)


def _folder(root: Path, account: str, share: str) -> Path:
    return root / "shares" / account / share
