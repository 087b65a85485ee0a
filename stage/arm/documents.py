"""Container apps in JSON: the properties that a PUT or a PATCH makes of what it asks for, and what ARM shows of an app.

ARM shows every field that az reads, and no secret's value.
"""

import copy
from collections.abc import Mapping
from typing import Any

from stage.arm import catalog
from stage.arm.resources import APPS, Asked, group_id, guid, resource_id
from stage.arm.subscription import Subscription
from stage.platform import App, Replica, Revision

WRITABLE = ("configuration", "environmentId", "managedEnvironmentId", "template", "workloadProfileName")
"""Of `properties`. az sends back all that it read; only the service sets the rest."""
INGRESS = {"external": True, "transport": "Auto", "allowInsecure": False, "exposedPort": 0}
"""What the service fills in."""
EVERYTHING = [{"latestRevision": True, "weight": 100}]
"""The traffic where none is asked for."""


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396: objects are merged, null removes, anything else replaces, lists as a whole."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def created(asked: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The properties after a PUT of ``asked``; ``stored`` is empty for a new app.

    A template that is sent back as it was shown, which az does to change the configuration, stays the stored one.
    """
    accepted = _accepted(merge_patch({}, _writable(asked)), stored)
    if stored and accepted.get("template") == shown_template(stored["template"]):
        accepted["template"] = copy.deepcopy(stored["template"])
    return accepted


def shown_template(template: Mapping[str, Any]) -> dict[str, Any]:
    """The template with what Azure adds: az sends that back in an update, which makes it part of a revision."""
    found: dict[str, Any] = copy.deepcopy(dict(template))
    for container in found.get("containers") or ():
        container.setdefault("imageType", "ContainerImage")
    return found


def patched(asked: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The properties after a PATCH with ``asked``.

    A suffix names one revision: a changed template that brings none gets a new one instead of the last one again.
    """
    merged = _accepted(merge_patch(stored, _writable(asked)), stored)
    template = merged.get("template", {})
    if "revisionSuffix" not in (asked.get("template") or {}) and template != stored.get("template"):
        template.pop("revisionSuffix", None)
    return merged


def comparable(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The properties with the service's defaults and without empty values: two that mean the same are equal."""
    plain: dict[str, Any] = _without_empty(created(properties, properties))
    configuration = plain["configuration"]
    if ingress := configuration.get("ingress"):
        filled = {**INGRESS, "traffic": EVERYTHING, "stickySessions": {"affinity": "none"}}
        configuration["ingress"] = filled | ingress
    plain.setdefault("workloadProfileName", "Consumption")
    environment = plain.pop("managedEnvironmentId", plain.pop("environmentId", ""))
    return {**plain, "environmentId": environment}


def without_nulls(value: Any) -> Any:
    """A copy without nulls: az sends them inside of lists, and crashes when it gets some of them back."""
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [without_nulls(inner) for inner in value if inner is not None]
    return value


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        inner = {name: _without_empty(each) for name, each in value.items()}
        return {name: each for name, each in inner.items() if each not in (None, "", [], {})}
    return [_without_empty(each) for each in value] if isinstance(value, list) else value


def _writable(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {name: properties[name] for name in WRITABLE if name in properties}


def _accepted(properties: dict[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    properties = without_nulls(properties)
    configuration: dict[str, Any] = properties.setdefault("configuration", {})
    configuration["activeRevisionsMode"] = str(configuration.get("activeRevisionsMode") or "Single").capitalize()
    if "secrets" in configuration:
        configuration["secrets"] = _secrets(configuration["secrets"], stored)
    ingress = configuration.get("ingress")
    if ingress is not None:
        ingress.pop("fqdn", None)
        for entry in ingress.get("traffic", ()):
            _tidy(entry)
    return properties


def _tidy(entry: dict[str, Any]) -> None:
    if str(entry.get("weight", "")).isdecimal():  # az sends "50" for a revision it knew and 50 for a new one
        entry["weight"] = int(entry["weight"])
    if entry.get("latestRevision") is False:
        del entry["latestRevision"]


def _secrets(asked: list[dict[str, Any]], stored: Mapping[str, Any]) -> list[dict[str, Any]]:
    # A name alone keeps the value it had: a caller cannot send back what GET does not show.
    known = {secret["name"]: secret for secret in stored.get("configuration", {}).get("secrets", ())}
    return [each if len(each) > 1 else known.get(each.get("name"), each) for each in asked]


def app(subscription: Subscription, app: App) -> dict[str, Any]:
    resource = subscription.resource(app.name)
    environment = subscription.environment_id()
    ready = app.latest_ready
    return {
        "id": app_id(subscription, app),
        "name": app.name,
        "type": APPS,
        **_fields(resource.fields),
        **catalog.shown_region(resource.fields, displayed=True),
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
            "template": shown_template(app.properties["template"]),
            "eventStreamEndpoint": f"{subscription.streams}{stream_path(resource.group, app.name)}/eventstream",
            "delegatedIdentities": [],
        },
    }


def planned(subscription: Subscription, asked: Asked) -> dict[str, Any]:
    """An app that a what-if plans, as far as a template can know it."""
    properties = created(asked.body.get("properties") or {}, {})
    fqdn = f"{asked.name}.{subscription.environment.domain}"
    shown = {**properties, "configuration": _configuration(properties, fqdn, [])}
    return {"id": asked.id, "name": asked.name, "type": APPS, **asked.body, "properties": shown}


def _configuration(properties: dict[str, Any], fqdn: str, traffic: list[dict[str, Any]]) -> dict[str, Any]:
    configuration: dict[str, Any] = without_secrets(properties).get("configuration", {})
    configuration.setdefault("activeRevisionsMode", "Single")
    if ingress := configuration.get("ingress"):
        configuration["ingress"] = {**INGRESS, **ingress, "fqdn": fqdn}
        configuration["ingress"]["traffic"] = copy.deepcopy(traffic or EVERYTHING)
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
        "template": shown_template(revision.template),
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
    """The path of an app's log streams: az builds these addresses itself, without `providers` in them."""

    return f"{group_id(group)}/containerApps/{app}"
