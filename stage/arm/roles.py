"""Who may do what, as the role assignments say, and what apps read by a role: secrets of vaults, shares of accounts.

A vault's secret gets its value from a template; there is no data plane. A share is a folder below the stage's own, in
which its files are put by hand.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from stage.arm import catalog
from stage.arm.resources import (
    ACCOUNTS,
    ENVIRONMENTS,
    REGISTRIES,
    ROLE_ASSIGNMENTS,
    STORAGE_ACCOUNTS,
    STORAGES,
    VAULTS,
    Asked,
    guid,
)
from stage.arm.subscription import Subscription
from stage.platform import Rejected
from stage.platform.host import Outside

ACR_PULL = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
SECRETS_USER = "4633458b-17de-408a-b874-0445c86b69e6"
OPENAI_USER = "5e0bd9bd-7b93-4f28-af87-19fc36ad61bd"
SECRETS = f"{VAULTS}/secrets"
SHARES = f"{STORAGE_ACCOUNTS}/fileServices/shares"


def check_assignment(subscription: Subscription, asked: Asked) -> None:
    """Raises Rejected for an assignment that repeats another one."""
    wanted = _meaning(asked)
    for each in subscription.store.of(ROLE_ASSIGNMENTS):
        if each.id.lower() != asked.id.lower() and _meaning(each) == wanted:
            raise Rejected("RoleAssignmentExists", f"The role assignment already exists as {each.name}.", 409)


def may_call_model(subscription: Subscription, client_id: str) -> bool:
    """Whether the identity is a user of the model's account."""
    identity = identity_of(subscription, client_id)
    return identity is not None and _may(subscription, identity, OPENAI_USER, ACCOUNTS)


def may_read(subscription: Subscription, identity: str, secret: str) -> bool:
    """Whether the identity is a user of that secret of a vault."""
    return granted(subscription, identity, SECRETS_USER, [secret]) is not None


def granted(subscription: Subscription, identity: str, role: str, targets: list[str]) -> Asked | None:
    """The assignment that gives the identity a role at one of these resources, or above it."""
    principal = guid("principal", identity.lower())
    for each in subscription.store.of(ROLE_ASSIGNMENTS):
        who, what, scope = _meaning(each)
        below = any(f"{target}/".lower().startswith(f"{scope}/") for target in targets)
        if (who, what) == (principal, role) and below:
            return each
    return None


def check_pull(subscription: Subscription, fields: dict[str, Any], properties: dict[str, Any]) -> None:
    """Raises Rejected when an app names an identity for our registry that is not the app's or may not pull from it.

    An app that names no registry at all may pull, as the app does that exists from the start.
    """
    servers, entries = catalog.registry_servers(subscription), (properties.get("configuration") or {}).get("registries")
    for container in (properties.get("template") or {}).get("containers") or ():
        server = str(container.get("image")).partition("/")[0]
        if entries and server in servers and not any(entry.get("server") in servers for entry in entries):
            raise _invalid(f"GET https://{server}/oauth2/token: UNAUTHORIZED: no entry of registries names this server")
    for entry in entries or ():
        server, identity = entry.get("server"), str(entry.get("identity") or "")
        if server not in servers or not identity or identity.lower() == "system":
            continue
        if identity.lower() not in assigned(fields):
            raise _invalid(f"the identity {identity} of registry {server} is not assigned to the app")
        if not _may(subscription, identity, ACR_PULL, REGISTRIES):
            raise _invalid(f"GET https://{server}/oauth2/token: UNAUTHORIZED: {identity} has no role to pull")


def assigned(fields: dict[str, Any]) -> set[str]:
    """The ids, in small letters, of the identities that an app with these `fields` has."""
    return {each.lower() for each in (fields.get("identity") or {}).get("userAssignedIdentities") or ()}


def identity_of(subscription: Subscription, client_id: str) -> str | None:
    """The id of the identity with that client id, if an app has it."""
    for app in subscription.apps():
        for identity in assigned(subscription.resource(app.name).fields):
            if guid("client", identity) == client_id and subscription.store.find(identity):
                return identity
    return None


def _may(subscription: Subscription, identity: str, role: str, kind: str) -> bool:
    return granted(subscription, identity, role, [each.id for each in subscription.store.of(kind)]) is not None


def _meaning(assignment: Asked) -> tuple[str, str, str]:
    """Principal, role and scope."""
    properties = assignment.body.get("properties") or {}
    role = str(properties.get("roleDefinitionId")).rpartition("/")[2]
    return str(properties.get("principalId")), role, assignment.id.rpartition("/providers/")[0].lower()


def _invalid(details: str) -> Rejected:
    return Rejected(
        "InvalidParameterValueInContainerTemplate",
        "The following field(s) are either invalid or missing. Field 'template.containers.image' is invalid with "
        f"details: '{details}'.",
    )


def attach(outside: Outside, subscription: Subscription, root: Path) -> None:
    """Connects the apps of the environment with the vaults and shares; shares are folders below ``root``."""
    outside.secret = lambda url, identity: secret_value(subscription, url, identity)
    outside.share = lambda storage: _share(subscription, storage, root)


def secret_value(subscription: Subscription, url: str, identity: str) -> str:
    """The value of a secret of a vault. Raises Rejected when there is none, or the identity has no role at it."""
    found = find_secret(subscription, url)
    if found is None or not may_read(subscription, identity, found.id):
        raise _unreadable(url, identity)
    return str((found.body.get("properties") or {}).get("value"))


def _unreadable(url: str, identity: str) -> Rejected:
    what = f"Unable to get value using Managed identity {identity} for secret {url.rpartition('/secrets/')[2]}"
    return Rejected(
        "InvalidParameterValueInContainerTemplate",
        "The following field(s) are either invalid or missing. Field 'configuration.secrets' is invalid with "
        f"details: 'Invalid value: \"{url}\": {what}.'.",
    )


def find_secret(subscription: Subscription, url: str) -> Asked | None:
    """The secret that a URL https://VAULT.DOMAIN/secrets/NAME names, with a version or without."""
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
        if each.get("keyVaultUrl") and identity and identity.lower() not in assigned(fields):
            what = f"the identity {identity} of secret '{each.get('name')}' is not assigned to the app"
            raise Rejected("ContainerAppSecretInvalid", what)


def check_values(subscription: Subscription, app: Asked, too_new: Collection[str]) -> None:
    """Raises Rejected when an app reads a vault's secret by a role that is ``too_new``."""
    for each in ((app.body.get("properties") or {}).get("configuration") or {}).get("secrets") or ():
        url, identity = str(each.get("keyVaultUrl") or ""), str(each.get("identity") or "")
        found = find_secret(subscription, url)
        role = found and granted(subscription, identity, SECRETS_USER, [found.id])
        if role and role.id.lower() in too_new and identity.lower() in assigned(app.body):
            raise _unreadable(url, identity)


def check_certificate(subscription: Subscription, gateway: Asked, too_new: Collection[str]) -> None:
    """Raises Rejected when a gateway cannot read a certificate by its identity: by no role, or by one ``too_new``."""
    for each in (gateway.body.get("properties") or {}).get("sslCertificates") or ():
        url = str((each.get("properties") or {}).get("keyVaultSecretId") or "")
        found = find_secret(subscription, url)
        identities = assigned(gateway.body)
        known = [granted(subscription, who, SECRETS_USER, [found.id]) for who in identities if found]
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
    """Makes the folder of a share."""
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
