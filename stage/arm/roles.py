"""Who may do what: the roles that the relay lives by, read off the role assignments as Azure reads them."""

from typing import Any

from stage.arm import names
from stage.arm.hashing import guid
from stage.arm.ids import ACCOUNTS, REGISTRIES, ROLE_ASSIGNMENTS
from stage.arm.resources import Asked
from stage.arm.subscription import Subscription
from stage.platform import Rejected

ACR_PULL = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
SECRETS_USER = "4633458b-17de-408a-b874-0445c86b69e6"
OPENAI_USER = "5e0bd9bd-7b93-4f28-af87-19fc36ad61bd"


def check(subscription: Subscription, asked: Asked) -> None:
    """Raises Rejected for an assignment that says again what another one says."""
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

    An app that names no registry at all may pull, as the one that stands from the start does.
    """
    servers, entries = names.registry_servers(subscription), (properties.get("configuration") or {}).get("registries")
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
