"""What there is in the subscription, apps and all the rest alike; and how it is made and unmade."""

import dataclasses
from collections.abc import Callable
from typing import Any

from stage.arm import accounts, apps, catalog, documents, gateways, immutable, monitor, outside, providers, quota, roles
from stage.arm.ids import (
    ACCOUNTS,
    APPS,
    ENVIRONMENTS,
    GATEWAYS,
    NETWORKS,
    PUBLIC_ADDRESSES,
    REGISTRIES,
    ROLE_ASSIGNMENTS,
    SECURITY_GROUPS,
)
from stage.arm.resources import Asked
from stage.arm.store import ancestors
from stage.arm.subscription import Subscription
from stage.platform import Rejected

Document = dict[str, Any]
_ONE_OF = (ENVIRONMENTS, REGISTRIES, GATEWAYS, ACCOUNTS)
"""The stage has one of each, wherever it is deployed."""
_OF_THE_WAY_IN = (GATEWAYS, NETWORKS, PUBLIC_ADDRESSES, SECURITY_GROUPS)
"""What says together where the gateway leads, and whom."""


def find(subscription: Subscription, resource: str) -> Document | None:
    """The resource with that id as Azure shows it."""
    asked = subscription.store.find(resource)
    if asked is not None:
        return catalog.document(subscription, asked)
    for app in subscription.apps():
        if documents.app_id(subscription, app).lower() == resource.lower():
            return documents.app(subscription, app)
    return None


def everything(subscription: Subscription, group: str | None = None) -> list[Document]:
    """All that there is in a group, or at all."""
    stored = [catalog.document(subscription, each) for each in subscription.store.all(group)]
    return stored + [documents.app(subscription, each) for each in subscription.apps(group)]


def listed(subscription: Subscription, group: str | None = None) -> list[Document]:
    """Those with a location, which children and extensions do not have: that is what ARM lists."""
    return [each for each in everything(subscription, group) if "location" in each]


def check(subscription: Subscription, asked: Asked, known: Callable[[str], Document | None]) -> None:
    """Raises Rejected for what Azure would refuse before it makes anything; ``known`` tells what is there by then."""
    kind = catalog.canonical(asked.kind)
    providers.check(subscription, kind)
    for parent in ancestors(asked):
        if known(parent) is None:
            what = f"Can not perform requested operation on nested resource. Parent resource '{parent}' not found."
            raise Rejected("ParentResourceNotFound", what, 404)
    for other in subscription.store.of(kind) if kind in _ONE_OF else ():
        if other.id.lower() != asked.id.lower():
            raise Rejected("NotOnTheStage", f"the stage has one resource of type {kind}, and that is {other.id}", 409)
    immutable.check(subscription, kind, asked, asked_before(subscription, asked))
    if kind == ACCOUNTS:
        accounts.check_account(subscription, asked)
    elif kind == accounts.DEPLOYMENTS_OF_MODELS:
        account = known(next(iter(ancestors(asked)))) or {}
        accounts.check_deployment(asked, account)
        quota.check(subscription, asked, str(account.get("location")))
    elif kind == ROLE_ASSIGNMENTS:
        roles.check(subscription, asked)
    elif kind == monitor.ALERT_RULES:
        monitor.check_rule(asked)


def asked_before(subscription: Subscription, asked: Asked) -> Asked | None:
    """What was asked for the last time, of the resource that is asked for now."""
    if asked.kind.lower() != APPS.lower():
        return subscription.store.find(asked.id)
    app = subscription.find(asked.group, asked.name)
    if app is None:
        return None
    fields = subscription.resource(app.name).fields
    return Asked(asked.id, APPS, app.name, asked.group, {**fields, "properties": app.properties})


async def make(subscription: Subscription, asked: Asked) -> Document:
    """Makes it so, for good; what it is then. Raises Rejected."""
    check(subscription, asked, lambda resource: find(subscription, resource))
    kind = catalog.canonical(asked.kind)
    if kind == APPS:
        operation = await apps.write(subscription, asked.group, asked.name, asked.body)
        await operation.ended.wait()
        if operation.error is not None:
            raise Rejected(operation.error["code"], operation.error["message"], 409)
        return documents.app(subscription, subscription.app(asked.group, asked.name))
    subscription.faults.check(kind)
    if kind == monitor.DIAGNOSTICS:
        # Nobody is told before it is written.
        monitor.check_setting(subscription, asked)
    subscription.store.put(dataclasses.replace(asked, kind=kind))
    if kind == ACCOUNTS:
        accounts.restored(subscription, asked)
    elif kind == accounts.DEPLOYMENTS_OF_MODELS:
        accounts.deployed(subscription)
    elif kind == outside.SHARES:
        outside.make_share(asked, subscription.timeline.parent)
    elif kind in _OF_THE_WAY_IN:
        for gateway in subscription.store.of(GATEWAYS):
            domain = subscription.environment.domain
            await subscription.environment.set_gateway(gateways.read(gateway, domain, subscription.store))
    return catalog.document(subscription, asked)


async def unmake(subscription: Subscription, group: str) -> None:
    """Deletes all that is in a group. A model account can be restored until it is purged."""
    for app in subscription.apps(group):
        await subscription.environment.delete(app.name)
        subscription.forget(app.name)
    gone = subscription.store.remove_group(group)
    quota.hold(subscription, gone)
    for asked in gone:
        if asked.kind == ACCOUNTS:
            subscription.deleted.append(asked)
        elif asked.kind == accounts.DEPLOYMENTS_OF_MODELS:
            accounts.deployed(subscription)
        elif asked.kind == REGISTRIES:
            subscription.registry.clear()
        elif asked.kind == GATEWAYS:
            await subscription.environment.set_gateway(None)
