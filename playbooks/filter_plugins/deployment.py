"""What a what-if says, for a reader and for the play, and what a redeploy hands in of what stands."""

import json
import re

UNKNOWN = re.compile(r"\[.*reference\(")
"""An expression of the template in the place of a value."""
OF_GATEWAY = "/providers/microsoft.network/applicationgateway"
"""In the ids of a gateway, of what is attached to one, and of its firewall's policy."""


class FilterModule:
    def filters(self):
        return {
            "changes": changes,
            "renews": renews,
            "kept": kept,
            "worded": worded,
            "accounts": accounts,
            "added": added,
            "plain": plain,
            "touches_gateway": touches_gateway,
        }


def changes(what_if):
    """A line for each resource that would change: sign, type, name, and the paths that differ. Never a value."""
    found = []
    for each in what_if:
        paths = sorted({path for path, _ in leaves(each["delta"])})
        # Azure calls a resource modified whose only differences it knows to have no effect.
        if each["kind"] != "Modify" or paths:
            *_, beside = ["", *(part.rpartition("/")[2] for part in each["id"].split("/providers/")[1:-1])]
            sign = "+ create" if each["kind"] == "Create" else "~ change"
            line = " ".join([sign, *address(each["id"]), *(["of", beside] if beside else [])])
            found.append(": ".join([line, *filter(None, [", ".join(paths)])]))
    return sorted(found)


def renews(what_if, app):
    """Whether the template of the container app ``app`` would change, which needs a new revision.

    What Azure filled in and the template does not mention shows as deleted: no difference, unless it is an element of
    a list, which the template has whole.
    """
    return any(
        path.startswith("properties.template") and (kind != "Delete" or path.rpartition(".")[2].isdigit())
        for each in what_if
        if each["kind"] == "Modify" and address(each["id"]) == ("Microsoft.App/containerApps", app)
        for path, kind in leaves(each["delta"])
    )


def touches_gateway(what_if):
    """Whether the gateway, its firewall or its logs would be made or changed: they are one module, sent as a whole.

    Azure's what-if works out no reference() to another resource and calls whatever has one changed, every time; that is
    no difference. Nor is what Azure filled in, as in `renews`.
    """
    return any(
        OF_GATEWAY in each["id"].lower() and (each["kind"] == "Create" or any(differences(each["delta"])))
        for each in what_if
        if each["kind"] in ("Create", "Modify")
    )


def differences(delta, at=""):
    """The paths of a delta that are known to differ before the deployment."""
    for each in delta or []:
        path = f"{at}.{each['path']}" if at else each["path"]
        if each.get("children"):
            yield from differences(each["children"], path)
        elif each["propertyChangeType"] == "Delete":
            yield from [path] if path.rpartition(".")[2].isdigit() else []
        elif each["propertyChangeType"] != "NoEffect" and not UNKNOWN.match(str(each.get("after"))):
            yield path


def address(resource_id):
    """(type, name) of a resource, children with their parents."""
    namespace, *parts = resource_id.rpartition("/providers/")[2].split("/")
    return "/".join([namespace, *parts[::2]]), "/".join(parts[1::2])


def leaves(delta, at=""):
    for each in delta or []:
        path = f"{at}.{each['path']}" if at else each["path"]
        if each.get("children"):
            yield from leaves(each["children"], path)
        elif each["propertyChangeType"] != "NoEffect":
            yield path, each["propertyChangeType"]


def kept(app, revisions):
    """The traffic list as it is, for a deployment that must not undo a rollout.

    "Latest" with a weight becomes the name it means now; what names a revision that is gone is left out.
    """
    entries = app["traffic"] or [{"latestRevision": True, "weight": 100}]
    listed = {}
    for entry in entries:
        weight, label = entry.get("weight") or 0, {"label": entry["label"]} if entry.get("label") else {}
        if entry.get("latestRevision") and not weight:
            listed["latest"] = {"latestRevision": True, "weight": 0} | label
            continue
        name = app["latest_ready"] if entry.get("latestRevision") else entry["revisionName"]
        if name in revisions:
            before = listed.get(name, {"weight": 0})
            listed[name] = {**before, "revisionName": name, "weight": before["weight"] + weight, **label}
    return list(listed.values())


def worded(parameters):
    """{name: text} as --parameters takes them: lists and mappings as JSON."""
    return {name: json.dumps(value) if isinstance(value, (dict, list)) else value for name, value in parameters.items()}


def plain(parameters):
    """{name: value}, be each value said as it is or as a file of parameters has it."""
    return {
        name: value["value"] if isinstance(value, dict) and set(value) == {"value"} else value
        for name, value in parameters.items()
    }


def added(wanted, actual):
    """What ``wanted`` has otherwise than ``actual``, as `green_env` says it; null: not at all."""
    return {name: wanted.get(name) for name in sorted({*wanted, *actual}) if wanted.get(name) != actual.get(name)}


def accounts(deleted, group, prefix):
    """Of the soft-deleted accounts of a subscription, those that went with ``group``: name, group, location.

    An id ends in locations/L/resourceGroups/G/deletedAccounts/A.
    """
    found = []
    for resource_id in deleted:
        *_, location, _, at, _, name = resource_id.split("/")
        if at.lower() == group.lower() and re.fullmatch(rf"{re.escape(prefix)}-[a-z0-9]{{13}}", name):
            found.append({"name": name, "group": at, "location": location})
    return found
