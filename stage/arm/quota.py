"""How much of a model a region lets the subscription deploy, in units of capacity."""

from collections.abc import Iterator
from typing import Any

from stage.arm import regions
from stage.arm.ids import ACCOUNTS
from stage.arm.resources import Asked
from stage.arm.subscription import Subscription
from stage.platform import Rejected


def usage_name(sku: str, model: str) -> str:
    return f"OpenAI.{sku}.{model}"


def check(subscription: Subscription, asked: Asked, location: str) -> None:
    """Raises Rejected for a deployment that takes more than there is. What stands already does not count twice."""
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


def document(subscription: Subscription, location: str, name: str) -> dict[str, Any]:
    return {
        "name": {"value": name, "localizedValue": name},
        "currentValue": sum(units for each, units in _taken(subscription, location) if each == name),
        "limit": subscription.faults.quota,
        "unit": "Count",
    }


def hold(subscription: Subscription, gone: list[Asked]) -> None:
    """What was deployed in deleted accounts counts until they are purged."""
    subscription.held += [each for each in gone if each.kind == f"{ACCOUNTS}/deployments"]


def release(subscription: Subscription, account: Asked) -> None:
    below = f"{account.id}/".lower()
    subscription.held = [each for each in subscription.held if not each.id.lower().startswith(below)]


def _taken(subscription: Subscription, location: str, but: str = "") -> Iterator[tuple[str, int]]:
    """The units of each deployment in ``location``."""
    deployments = subscription.store.of(f"{ACCOUNTS}/deployments")
    accounts = [*subscription.store.of(ACCOUNTS), *subscription.deleted]
    here = {each.id.lower() for each in accounts if regions.plain(each.body.get("location")) == regions.plain(location)}
    for each in (*deployments, *subscription.held):
        if each.id.lower() != but.lower() and each.id.lower().partition("/deployments/")[0] in here:
            yield _units(each)


def _units(deployment: Asked) -> tuple[str, int]:
    sku = deployment.body.get("sku") or {}
    model = (deployment.body.get("properties") or {}).get("model") or {}
    return usage_name(str(sku.get("name")), str(model.get("name"))), int(sku.get("capacity") or 1)
