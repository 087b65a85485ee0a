"""Apps, revisions, replicas and the environment as ARM shows them: every field that az reads, and no secret's value."""

import copy
from typing import Any

from stage.arm import merge, regions
from stage.arm.hashing import guid
from stage.arm.ids import APPS, group_id, resource_id
from stage.arm.resources import Asked
from stage.arm.subscription import Subscription
from stage.platform import App, Replica, Revision


def app(subscription: Subscription, app: App) -> dict[str, Any]:
    resource = subscription.resource(app.name)
    environment = subscription.environment_id()
    ready = app.latest_ready
    return {
        "id": app_id(subscription, app),
        "name": app.name,
        "type": APPS,
        **_fields(resource.fields),
        **regions.shown(resource.fields, displayed=True),
        "properties": {
            "provisioningState": "InProgress" if subscription.operations.busy(app.name) else app.provisioning_state,
            "runningStatus": "Running",
            "managedEnvironmentId": environment,
            "environmentId": environment,
            "workloadProfileName": app.properties.get("workloadProfileName", "Consumption"),
            "outboundIpAddresses": [],
            "latestRevisionName": app.latest.name,
            "latestReadyRevisionName": ready.name if ready is not None else "",
            "latestRevisionFqdn": app.latest.fqdn,
            "customDomainVerificationId": "",
            "configuration": _configuration(app.properties, app.fqdn, app.traffic),
            "template": merge.shown(app.properties["template"]),
            "eventStreamEndpoint": f"{subscription.streams}{stream_path(resource.group, app.name)}/eventstream",
            "delegatedIdentities": [],
        },
    }


def planned(subscription: Subscription, asked: Asked) -> dict[str, Any]:
    """An app that a what-if thinks of, as far as a template can know it."""
    properties = merge.created(asked.body.get("properties") or {}, {})
    fqdn = f"{asked.name}.{subscription.environment.domain}"
    shown = {**properties, "configuration": _configuration(properties, fqdn, [])}
    return {"id": asked.id, "name": asked.name, "type": APPS, **asked.body, "properties": shown}


def _configuration(properties: dict[str, Any], fqdn: str, traffic: list[dict[str, Any]]) -> dict[str, Any]:
    configuration: dict[str, Any] = without_secrets(properties).get("configuration", {})
    configuration.setdefault("activeRevisionsMode", "Single")
    if ingress := configuration.get("ingress"):
        configuration["ingress"] = {**merge.INGRESS, **ingress, "fqdn": fqdn}
        configuration["ingress"]["traffic"] = copy.deepcopy(traffic or merge.EVERYTHING)
    return configuration


def _fields(fields: dict[str, Any]) -> dict[str, Any]:
    """With what Azure adds to the identities of an app."""
    identity = fields.get("identity") or {}
    if not identity.get("userAssignedIdentities"):
        return fields
    known = {
        each: {"principalId": guid("principal", each.lower()), "clientId": guid("client", each.lower())}
        for each in identity["userAssignedIdentities"]
    }
    return {**fields, "identity": {**identity, "userAssignedIdentities": known}}


def revision(subscription: Subscription, app: App, revision: Revision) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "createdTime": revision.created.isoformat(),
        "fqdn": revision.fqdn,
        "template": merge.shown(revision.template),
        "active": revision.active,
        "replicas": len(revision.replicas),
        "trafficWeight": revision.weight,
        "healthState": revision.health_state,
        "provisioningState": revision.provisioning_state,
        "runningState": revision.running_state,
    }
    if revision.last_active is not None:
        properties["lastActiveTime"] = revision.last_active.isoformat()
    if revision.provisioning_error is not None:
        properties["provisioningError"] = revision.provisioning_error
    return {
        "id": f"{app_id(subscription, app)}/revisions/{revision.name}",
        "name": revision.name,
        "type": f"{APPS}/revisions",
        "properties": properties,
    }


def replica(subscription: Subscription, app: App, revision: Revision, replica: Replica) -> dict[str, Any]:
    group = subscription.resource(app.name).group
    streams = f"{subscription.streams}{stream_path(group, app.name)}/revisions/{revision.name}/replicas/{replica.name}"
    return {
        "id": f"{app_id(subscription, app)}/revisions/{revision.name}/replicas/{replica.name}",
        "name": replica.name,
        "type": f"{APPS}/revisions/replicas",
        "properties": {
            "createdTime": replica.created.isoformat(),
            "runningState": replica.running_state,
            "runningStateDetails": "",
            "initContainers": [],
            "containers": [
                {
                    "name": name,
                    "containerId": f"pid {replica.pid}",
                    "ready": replica.ready,
                    "started": True,
                    "restartCount": replica.restarts,
                    "runningState": replica.running_state,
                    "runningStateDetails": "",
                    "logStreamEndpoint": f"{streams}/containers/{name}/logstream",
                }
                for name in containers(revision)
            ],
        },
    }


def without_secrets(properties: dict[str, Any]) -> dict[str, Any]:
    """A copy with the secrets' names only."""
    shown = copy.deepcopy(properties)
    for secret in shown.get("configuration", {}).get("secrets", ()):
        secret.pop("value", None)
    return shown


def containers(revision: Revision) -> list[str]:
    return [str(container["name"]) for container in revision.template.get("containers", ())]


def app_id(subscription: Subscription, app: App) -> str:
    return resource_id(subscription.resource(app.name).group, APPS, app.name)


def stream_path(group: str, app: str) -> str:
    """Below it lie an app's log streams: az builds these addresses itself, without `providers` in them."""

    return f"{group_id(group)}/containerApps/{app}"
