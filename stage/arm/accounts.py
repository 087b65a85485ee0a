"""Model accounts: the models that a region offers, how much of them it lets a subscription deploy, deleted accounts."""

from collections.abc import Iterator
from typing import Any

from aiohttp import web

from stage.arm import catalog
from stage.arm.resources import ACCOUNTS, SUBSCRIPTION, Asked, group_of
from stage.arm.routes import ANY_SUBSCRIPTION, Route, over_subscription
from stage.arm.subscription import Subscription
from stage.platform import Rejected

DEPLOYMENTS_OF_MODELS = f"{ACCOUNTS}/deployments"
_NAMESPACE = ACCOUNTS.partition("/")[0]
_LOCATIONS = f"{ANY_SUBSCRIPTION}/providers/{_NAMESPACE}/locations/{{location}}"
_RIGHT = f"{_NAMESPACE}/locations/resourceGroups/deletedAccounts"
_DELETED = f"{_LOCATIONS}/resourceGroups/{{group}}/deletedAccounts/{{account}}"
# Of the realtime models, as on Azure in the autumn of 2026: one scale, and regions.OFFERING_REALTIME alike.
_OFFERED = (
    ("gpt-realtime", "2025-08-28"),
    ("gpt-realtime-1.5", "2026-02-23"),
    ("gpt-realtime-2.1", "2026-07-07"),
)
_SKU = "GlobalStandard"


def usage_name(sku: str, model: str) -> str:
    return f"OpenAI.{sku}.{model}"


def check_quota(subscription: Subscription, asked: Asked, location: str) -> None:
    """Raises Rejected for a deployment that takes more than there is. What is deployed already does not count twice."""
    name, wanted = _units(asked)
    others = sum(units for each, units in _taken(subscription, location, but=asked.id) if each == name)
    left = subscription.faults.quota - others
    if wanted > left:
        raise Rejected(
            "InsufficientQuota",
            f"This operation require {wanted} new capacity in quota {name}, which is bigger than the current available "
            f"capacity {left}. The current quota usage is {others} and the quota limit is {subscription.faults.quota} "
            f"for quota {name}.",
        )


def usage(subscription: Subscription, location: str, name: str) -> dict[str, Any]:
    return {
        "name": {"value": name, "localizedValue": name},
        "currentValue": sum(units for each, units in _taken(subscription, location) if each == name),
        "limit": subscription.faults.quota,
        "unit": "Count",
    }


def hold(subscription: Subscription, gone: list[Asked]) -> None:
    """Keeps counting what was deployed in deleted accounts until they are purged."""
    subscription.held += [each for each in gone if each.kind == f"{ACCOUNTS}/deployments"]


def release(subscription: Subscription, account: Asked) -> None:
    below = f"{account.id}/".lower()
    subscription.held = [each for each in subscription.held if not each.id.lower().startswith(below)]


def _taken(subscription: Subscription, location: str, but: str = "") -> Iterator[tuple[str, int]]:
    """The units of each deployment in ``location``."""
    deployments = subscription.store.of(f"{ACCOUNTS}/deployments")
    accounts = [*subscription.store.of(ACCOUNTS), *subscription.deleted]
    here = {
        each.id.lower()
        for each in accounts
        if catalog.plain_region(each.body.get("location")) == catalog.plain_region(location)
    }
    for each in (*deployments, *subscription.held):
        if each.id.lower() != but.lower() and each.id.lower().partition("/deployments/")[0] in here:
            yield _units(each)


def _units(deployment: Asked) -> tuple[str, int]:
    sku = deployment.body.get("sku") or {}
    model = (deployment.body.get("properties") or {}).get("model") or {}
    return usage_name(str(sku.get("name")), str(model.get("name"))), int(sku.get("capacity") or 1)


def check_account(subscription: Subscription, asked: Asked) -> None:
    """Raises Rejected for one whose name or subdomain a deleted account still has."""
    properties = asked.body.get("properties") or {}
    for each in subscription.deleted:
        if each.id.lower() == asked.id.lower() and not properties.get("restore"):
            what = f"An existing resource with ID '{each.id}' has been soft-deleted. To restore the resource, you must "
            what += "specify 'restore' to be 'true' in the property. If you don't want to restore existing resource, "
            raise Rejected("FlagMustBeSetForRestore", what + "please purge it first.", 409)
    taken = [*subscription.deleted, *subscription.store.of(ACCOUNTS)]
    subdomain = properties.get("customSubDomainName")
    if subdomain and any(each.id.lower() != asked.id.lower() and _subdomain(each) == subdomain for each in taken):
        what = f"Please pick a different name. The subdomain name '{subdomain}' is not available as it's already used"
        raise Rejected("CustomDomainInUse", f"{what} by a resource.", 409)


def check_deployment(asked: Asked, account: dict[str, Any]) -> None:
    """Raises Rejected for a model that is not offered there."""
    model = (asked.body.get("properties") or {}).get("model") or {}
    sku = (asked.body.get("sku") or {}).get("name")
    offered = (model.get("name"), model.get("version")) in _OFFERED and catalog.plain_region(
        account.get("location")
    ) in catalog.OFFERING_REALTIME
    if not offered or sku != _SKU:
        what = f"The model 'Format: {model.get('format')}, Name: {model.get('name')}, Version: {model.get('version')}'"
        raise Rejected("DeploymentModelNotSupported", f"{what} with sku '{sku}' is not supported in this region.")


def deployed(subscription: Subscription) -> None:
    """Writes the names of the deployments for the simulated model."""
    if subscription.deployments_file is not None:
        names = [each.name.rpartition("/")[2] for each in subscription.store.of(DEPLOYMENTS_OF_MODELS)]
        subscription.deployments_file.write_text("".join(f"{name}\n" for name in names))


def restored(subscription: Subscription, asked: Asked) -> None:
    """Forgets the deleted account of that name, because an account was made."""
    release(subscription, asked)
    subscription.deleted = [each for each in subscription.deleted if each.id.lower() != asked.id.lower()]


async def models(subscription: Subscription, request: web.Request, location: str) -> web.Response:
    offered = _OFFERED if catalog.plain_region(location) in catalog.OFFERING_REALTIME else ()
    return web.json_response({"value": [_model(name, version) for name, version in offered]})


async def usages(subscription: Subscription, request: web.Request, location: str) -> web.Response:
    names = [
        usage_name(_SKU, name)
        for name, _ in (_OFFERED if catalog.plain_region(location) in catalog.OFFERING_REALTIME else ())
    ]
    return web.json_response({"value": [usage(subscription, location, name) for name in names]})


async def list_deleted(subscription: Subscription, request: web.Request) -> web.Response:
    return web.json_response({"value": [_deleted(subscription, each) for each in subscription.deleted]})


async def show_deleted(
    subscription: Subscription, request: web.Request, location: str, group: str, account: str
) -> web.Response:
    return web.json_response(_deleted(subscription, _find(subscription, location, group, account)))


async def purge(
    subscription: Subscription, request: web.Request, location: str, group: str, account: str
) -> web.Response:
    gone = _find(subscription, location, group, account)
    subscription.deleted.remove(gone)
    release(subscription, gone)
    return web.Response(status=200)


def _find(subscription: Subscription, location: str, group: str, account: str) -> Asked:
    for each in subscription.deleted:
        names = (catalog.plain_region(each.body.get("location")), group_of(each.id).lower(), each.name.lower())
        if names == (catalog.plain_region(location), group.lower(), account.lower()):
            return each
    raise Rejected("ResourceNotFound", f"there is no deleted account '{account}' of group '{group}' in {location}", 404)


def _deleted(subscription: Subscription, asked: Asked) -> dict[str, Any]:
    group, location = group_of(asked.id), asked.body.get("location")
    below = f"/subscriptions/{SUBSCRIPTION}/providers/{_NAMESPACE}/locations/{location}/resourceGroups/{group}"
    return {**catalog.document(subscription, asked), "id": f"{below}/deletedAccounts/{asked.name}"}


def _subdomain(account: Asked) -> str | None:
    found: str | None = (account.body.get("properties") or {}).get("customSubDomainName")
    return found


def _model(name: str, version: str) -> dict[str, Any]:
    model = {
        "format": "OpenAI",
        "name": name,
        "version": version,
        "skus": [{"name": _SKU, "usageName": usage_name(_SKU, name), "capacity": {"maximum": 1000, "default": 10}}],
        "capabilities": {"realtime": "true"},
        "lifecycleStatus": "GenerallyAvailable",
    }
    return {"kind": "OpenAI", "skuName": "S0", "model": model}


ROUTES: tuple[Route, ...] = (
    ("GET", f"{_LOCATIONS}/models", over_subscription(f"{_NAMESPACE}/locations/models/read", models)),
    ("GET", f"{_LOCATIONS}/usages", over_subscription(f"{_NAMESPACE}/locations/usages/read", usages)),
    (
        "GET",
        f"{ANY_SUBSCRIPTION}/providers/{_NAMESPACE}/deletedAccounts",
        over_subscription(f"{_NAMESPACE}/deletedAccounts/read", list_deleted),
    ),
    ("GET", _DELETED, over_subscription(f"{_RIGHT}/read", show_deleted)),
    ("DELETE", _DELETED, over_subscription(f"{_RIGHT}/delete", purge)),
)
