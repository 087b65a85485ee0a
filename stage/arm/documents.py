"""Apps, revisions, replicas and the environment as ARM shows them: every field that az reads, and no secret's value."""

import copy
from typing import Any

from stage.arm.ids import APPS, ENVIRONMENTS, GROUP, LOCATION, group_id, resource_id
from stage.arm.subscription import Subscription
from stage.platform import App, Environment, Replica, Revision

_EVERYTHING = {"latestRevision": True, "weight": 100}


def app(subscription: Subscription, app: App) -> dict[str, Any]:
    resource = subscription.resource(app.name)
    environment = environment_id(subscription.environment)
    ready = app.latest_ready
    return {
        "id": app_id(subscription, app),
        "name": app.name,
        "type": APPS,
        **resource.fields,
        "properties": {
            "provisioningState": app.provisioning_state,
            "runningStatus": "Running",
            "managedEnvironmentId": environment,
            "environmentId": environment,
            "workloadProfileName": app.properties.get("workloadProfileName", "Consumption"),
            "outboundIpAddresses": [],
            "latestRevisionName": app.latest.name,
            "latestReadyRevisionName": ready.name if ready is not None else "",
            "latestRevisionFqdn": app.latest.fqdn,
            "customDomainVerificationId": "",
            "configuration": _configuration(app),
            "template": copy.deepcopy(app.properties["template"]),
            "eventStreamEndpoint": f"{subscription.streams}{stream_path(resource.group, app.name)}/eventstream",
            "delegatedIdentities": [],
        },
    }


def _configuration(app: App) -> dict[str, Any]:
    configuration: dict[str, Any] = without_secrets(app.properties).get("configuration", {})
    configuration.setdefault("activeRevisionsMode", "Single")
    if configuration.get("ingress"):
        defaults = {"external": True, "transport": "Auto", "allowInsecure": False, "exposedPort": 0}
        traffic = copy.deepcopy(app.traffic) or [dict(_EVERYTHING)]
        configuration["ingress"] = {**defaults, **configuration["ingress"], "fqdn": app.fqdn, "traffic": traffic}
    return configuration


def revision(subscription: Subscription, app: App, revision: Revision) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "createdTime": revision.created.isoformat(),
        "fqdn": revision.fqdn,
        "template": copy.deepcopy(revision.template),
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


def environment(environment: Environment, streams: str) -> dict[str, Any]:
    return {
        "id": environment_id(environment),
        "name": environment.name,
        "type": ENVIRONMENTS,
        "location": LOCATION,
        "properties": {
            "provisioningState": "Succeeded",
            "defaultDomain": environment.domain,
            "staticIp": "127.0.0.1",
            # az pings the app before it streams logs, unless the environment is internal.
            "vnetConfiguration": {"internal": True},
            "zoneRedundant": False,
            "workloadProfiles": [{"name": "Consumption", "workloadProfileType": "Consumption"}],
            "eventStreamEndpoint": f"{streams}{environment_id(environment)}/eventstream",
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


def environment_id(environment: Environment) -> str:
    return resource_id(GROUP, ENVIRONMENTS, environment.name)


def stream_path(group: str, app: str) -> str:
    """Below it lie an app's log streams: az builds these addresses itself, without `providers` in them."""

    return f"{group_id(group)}/containerApps/{app}"
