"""Model accounts: which models a region offers, and what is left of an account when it is deleted."""

from typing import Any

from aiohttp import web

from stage.arm import catalog, quota, regions
from stage.arm.ids import ACCOUNTS, SUBSCRIPTION, group_of
from stage.arm.resources import Asked
from stage.arm.rights import over_subscription
from stage.arm.routes import ANY_SUBSCRIPTION, Route
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
    offered = (model.get("name"), model.get("version")) in _OFFERED and regions.plain(
        account.get("location")
    ) in regions.OFFERING_REALTIME
    if not offered or sku != _SKU:
        what = f"The model 'Format: {model.get('format')}, Name: {model.get('name')}, Version: {model.get('version')}'"
        raise Rejected("DeploymentModelNotSupported", f"{what} with sku '{sku}' is not supported in this region.")


def deployed(subscription: Subscription) -> None:
    """Tells the simulated model which deployments there are."""
    if subscription.deployments_file is not None:
        names = [each.name.rpartition("/")[2] for each in subscription.store.of(DEPLOYMENTS_OF_MODELS)]
        subscription.deployments_file.write_text("".join(f"{name}\n" for name in names))


def restored(subscription: Subscription, asked: Asked) -> None:
    """An account was made: no deleted one of its name is left."""
    quota.release(subscription, asked)
    subscription.deleted = [each for each in subscription.deleted if each.id.lower() != asked.id.lower()]


async def models(subscription: Subscription, request: web.Request, location: str) -> web.Response:
    offered = _OFFERED if regions.plain(location) in regions.OFFERING_REALTIME else ()
    return web.json_response({"value": [_model(name, version) for name, version in offered]})


async def usages(subscription: Subscription, request: web.Request, location: str) -> web.Response:
    names = [
        quota.usage_name(_SKU, name)
        for name, _ in (_OFFERED if regions.plain(location) in regions.OFFERING_REALTIME else ())
    ]
    return web.json_response({"value": [quota.document(subscription, location, name) for name in names]})


async def listed(subscription: Subscription, request: web.Request) -> web.Response:
    return web.json_response({"value": [_deleted(subscription, each) for each in subscription.deleted]})


async def show(
    subscription: Subscription, request: web.Request, location: str, group: str, account: str
) -> web.Response:
    return web.json_response(_deleted(subscription, _find(subscription, location, group, account)))


async def purge(
    subscription: Subscription, request: web.Request, location: str, group: str, account: str
) -> web.Response:
    gone = _find(subscription, location, group, account)
    subscription.deleted.remove(gone)
    quota.release(subscription, gone)
    return web.Response(status=200)


def _find(subscription: Subscription, location: str, group: str, account: str) -> Asked:
    for each in subscription.deleted:
        names = (regions.plain(each.body.get("location")), group_of(each.id).lower(), each.name.lower())
        if names == (regions.plain(location), group.lower(), account.lower()):
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
        "skus": [
            {"name": _SKU, "usageName": quota.usage_name(_SKU, name), "capacity": {"maximum": 1000, "default": 10}}
        ],
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
        over_subscription(f"{_NAMESPACE}/deletedAccounts/read", listed),
    ),
    ("GET", _DELETED, over_subscription(f"{_RIGHT}/read", show)),
    ("DELETE", _DELETED, over_subscription(f"{_RIGHT}/delete", purge)),
)
