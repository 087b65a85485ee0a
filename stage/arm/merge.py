"""What a PUT or a PATCH of a container app asks for, as the platform is to have it."""

import copy
from collections.abc import Mapping
from typing import Any

WRITABLE = ("configuration", "environmentId", "managedEnvironmentId", "template", "workloadProfileName")
"""Of `properties`. az sends back what it read, all of it; the rest is the service's to say."""
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

    A template that is sent back as it was shown, which az does to change the configuration, is the one that there was.
    """
    accepted = _accepted(merge_patch({}, _writable(asked)), stored)
    if stored and accepted.get("template") == shown(stored["template"]):
        accepted["template"] = copy.deepcopy(stored["template"])
    return accepted


def shown(template: Mapping[str, Any]) -> dict[str, Any]:
    """With what Azure adds: az sends it back in an update, and then it is part of what a revision is made of."""
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
    """With what the service fills in, and without what is empty: two that ask for the same are equal."""
    plain: dict[str, Any] = _without_empty(created(properties, properties))
    configuration = plain["configuration"]
    if ingress := configuration.get("ingress"):
        filled = {**INGRESS, "traffic": EVERYTHING, "stickySessions": {"affinity": "none"}}
        configuration["ingress"] = filled | ingress
    plain.setdefault("workloadProfileName", "Consumption")
    environment = plain.pop("managedEnvironmentId", plain.pop("environmentId", ""))
    return {**plain, "environmentId": environment}


def without_nulls(value: Any) -> Any:
    """az sends them inside of lists, and breaks on getting some of them back."""
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
    # A name alone keeps the value it had: nobody can send back what GET does not show.
    known = {secret["name"]: secret for secret in stored.get("configuration", {}).get("secrets", ())}
    return [each if len(each) > 1 else known.get(each.get("name"), each) for each in asked]
