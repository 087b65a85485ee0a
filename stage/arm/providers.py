"""Resource providers: whether the subscription is registered for them."""

from typing import Any

from aiohttp import web

from stage.arm.catalog import NAMESPACES, TYPES
from stage.arm.ids import ENVIRONMENTS, LOCATION, SUBSCRIPTION
from stage.arm.rights import over_subscription
from stage.arm.routes import ANY_SUBSCRIPTION, Route
from stage.arm.subscription import Subscription
from stage.platform import Rejected

# An environment in a network of its own is made by it, although no resource of the template is.
_CLUSTERS = "Microsoft.ContainerService"
_NAMESPACES = tuple(sorted((*NAMESPACES, _CLUSTERS)))
_RIGHT = "Microsoft.Resources/subscriptions/providers"
_PROVIDER = f"{ANY_SUBSCRIPTION}/providers/{{provider}}"


def check(subscription: Subscription, kind: str) -> None:
    """Raises Rejected when resources of that type cannot be made here yet."""
    namespace = kind.partition("/")[0]
    if namespace.lower() in subscription.faults.unregistered:
        what = f"The subscription is not registered to use namespace '{namespace}'. See "
        raise Rejected(
            "MissingSubscriptionRegistration", f"{what}https://aka.ms/rps-not-found for how to register.", 409
        )
    if kind == ENVIRONMENTS and _CLUSTERS.lower() in subscription.faults.unregistered:
        what = f"Subscription is not registered with the required resource providers, please register with {namespace}"
        raise Rejected("SubscriptionIsNotRegistered", f"{what} and {_CLUSTERS}.")


async def listed(subscription: Subscription, request: web.Request) -> web.Response:
    return web.json_response({"value": [_document(subscription, each) for each in _NAMESPACES]})


async def show(subscription: Subscription, request: web.Request, provider: str) -> web.Response:
    return web.json_response(_document(subscription, _find(provider)))


async def register(subscription: Subscription, request: web.Request, provider: str) -> web.Response:
    found = _find(provider)
    subscription.faults.unregistered.discard(found.lower())
    return web.json_response(_document(subscription, found))


def _find(namespace: str) -> str:
    for known in _NAMESPACES:
        if known.lower() == namespace.lower():
            return known
    raise Rejected("InvalidResourceNamespace", f"The resource namespace '{namespace}' is invalid.", 404)


def _document(subscription: Subscription, namespace: str) -> dict[str, Any]:
    registered = namespace.lower() not in subscription.faults.unregistered
    kinds = [kind.partition("/")[2] for kind in TYPES if kind.startswith(f"{namespace}/")]
    return {
        "id": f"/subscriptions/{SUBSCRIPTION}/providers/{namespace}",
        "namespace": namespace,
        "registrationPolicy": "RegistrationRequired",
        "registrationState": "Registered" if registered else "NotRegistered",
        "resourceTypes": [{"resourceType": kind, "locations": [LOCATION]} for kind in kinds],
    }


ROUTES: tuple[Route, ...] = (
    ("GET", f"{ANY_SUBSCRIPTION}/providers", over_subscription(f"{_RIGHT}/read", listed)),
    ("GET", _PROVIDER, over_subscription(f"{_RIGHT}/read", show)),
    ("POST", f"{_PROVIDER}/register", over_subscription("provider/register/action", register)),
)
