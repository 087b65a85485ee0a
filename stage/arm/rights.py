"""Who may read what is not in a group: a caller with rights on groups only may not."""

from aiohttp import web

from stage.arm.ids import SUBSCRIPTION
from stage.arm.routes import Handler
from stage.arm.subscription import Subscription
from stage.platform import Rejected


def over_subscription(action: str, handler: Handler) -> Handler:
    """``handler``, for whoever has a right to ``action`` on the whole subscription."""

    async def checked(subscription: Subscription, request: web.Request, **names: str) -> web.StreamResponse:
        if subscription.faults.refuses("subscription"):
            raise denied(action, f"/subscriptions/{SUBSCRIPTION}")
        return await handler(subscription, request, **names)

    return checked


def denied(action: str, scope: str) -> Rejected:
    what = "The client 'stage' with object id '00000000-0000-4000-8000-00000000c11e' does not have authorization to "
    what += f"perform action '{action}' over scope '{scope}' or the scope is invalid. If access was recently granted, "
    return Rejected("AuthorizationFailed", what + "please refresh your credentials.", 403)
