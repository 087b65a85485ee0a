"""What a what-if says, for a reader and for the play, and what a redeploy hands in of what stands."""

import json
import re

CHANGES = ("Create", "Modify", "Deploy", "Delete")
"""What a what-if can say of a resource that is no riddle; beside these it says why it did not look into something."""
UNKNOWN = re.compile(r"\[.*(reference|listKeys)\(")
"""An expression of the template in the place of a value. Azure's what-if does not work out what another resource has,
and calls every such property changed, every time: it is no difference."""
APP = "Microsoft.App/containerApps"
CONFIGURATION, SECRETS = "properties.configuration", "properties.configuration.secrets"
WEIGHTS = "properties.configuration.ingress.traffic"
OF_GATEWAY = "/providers/microsoft.network/applicationgateway"
"""In the ids of a gateway, of what is attached to one, and of its firewall's policy."""

WORKED_OUT = {
    *("location", "prefix", "containerImage", "revisionSuffix", "traffic", "updateApp", "updateGateway"),
    *("identityClientId", "identityPrincipalId", "gatewayPrincipalId", "publicIpAddress", "standingSecretUri"),
}
"""Parameters that the plays give the template in every deployment."""


class FilterModule:
    def filters(self):
        return {
            "changes": changes,
            "differs": differs,
            "renews": renews,
            "kept": kept,
            "worded": worded,
            "accounts": accounts,
            "models": models,
            "addressed": addressed,
            "added": added,
            "plain": plain,
            "kept_parameters": kept_parameters,
            "touches_gateway": touches_gateway,
        }


def changes(what_if):
    """A line for each resource that would change: sign, type, name, and the paths that differ. Never a value."""
    found = []
    for each in what_if:
        if each["kind"] not in CHANGES:
            sign = "? unknown" if each["kind"] == "Unsupported" else f"? {each['kind']}"
            found.append(" ".join([sign, *(address(each["id"]) if each["id"] else ["what Azure does not name"])]))
            continue
        paths = sorted({path for path, _ in leaves(each["delta"])})
        # Azure calls a resource modified whose only differences it knows to have no effect.
        if each["kind"] != "Modify" or paths:
            *_, beside = ["", *(part.rpartition("/")[2] for part in each["id"].split("/providers/")[1:-1])]
            sign = "+ create" if each["kind"] == "Create" else "~ change"
            line = " ".join([sign, *address(each["id"]), *(["of", beside] if beside else [])])
            found.append(": ".join([line, *filter(None, [", ".join(paths)])]))
    return sorted(found)


def differs(what_if, app):
    """Whether there is something to deploy. What Azure could not look into is no difference: it is made of the rest."""
    others = [each for each in what_if if not of_gateway(each) and not of_app(each, app)]
    return (
        renews(what_if, app)
        or touches_gateway(what_if)
        or any(each["kind"] == "Create" or (each["kind"] == "Modify" and any(leaves(each["delta"]))) for each in others)
    )


def renews(what_if, app):
    """Whether the container app ``app`` differs, which takes a new revision: see `updateApp` in bicep/main.bicep.

    What Azure filled in and the template does not mention shows as deleted: no difference, unless it is an element of
    a list, which the template has whole. The weights are the plays', and no what-if sees the value of a secret: of one
    that exists it sees where a Key Vault has it.
    """
    return any(
        path.startswith("properties.template") or (path.startswith(CONFIGURATION) and configured(path, entry))
        for each in what_if
        if each["kind"] == "Modify" and of_app(each, app)
        for path, entry in differences(each["delta"])
    )


def configured(path, entry):
    if path.startswith(SECRETS):
        last = path.rpartition(".")[2]
        return last == "keyVaultUrl" or (last.isdigit() and entry["propertyChangeType"] != "Modify")
    # Azure answers Http where it was told http.
    same = str(entry.get("before")).lower() == str(entry.get("after")).lower()
    return not (same or path.startswith(WEIGHTS))


def of_app(each, app):
    return bool(each["id"]) and address(each["id"]) == (APP, app)


def of_gateway(each):
    return OF_GATEWAY in (each["id"] or "").lower()


def touches_gateway(what_if):
    """Whether the gateway, its firewall or its logs would be made or changed: they are one module, sent as a whole.

    What Azure filled in is no difference, as in `renews`.
    """
    return any(
        of_gateway(each) and (each["kind"] == "Create" or any(differences(each["delta"])))
        for each in what_if
        if each["kind"] in ("Create", "Modify")
    )


def differences(delta, at=""):
    """The paths of a delta that are known to differ before the deployment, and what is said of each."""
    for each in delta or []:
        path = f"{at}.{each['path']}" if at else each["path"]
        if each.get("children"):
            yield from differences(each["children"], path)
        elif each["propertyChangeType"] == "Delete":
            yield from [(path, each)] if path.rpartition(".")[2].isdigit() else []
        elif each["propertyChangeType"] != "NoEffect" and not unknown(each):
            yield path, each


def unknown(entry):
    return bool(UNKNOWN.match(str(entry.get("after"))))


def address(resource_id):
    """(type, name) of a resource, children with their parents."""
    namespace, *parts = resource_id.rpartition("/providers/")[2].split("/")
    return "/".join([namespace, *parts[::2]]), "/".join(parts[1::2])


def leaves(delta, at=""):
    for each in delta or []:
        path = f"{at}.{each['path']}" if at else each["path"]
        if each.get("children"):
            yield from leaves(each["children"], path)
        elif each["propertyChangeType"] != "NoEffect" and not unknown(each):
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


def kept_parameters(last, bicep):
    """{name: value} of a deployment's parameters that a next one is given again where nobody says otherwise.

    Left out are those that the template ``bicep`` does not have any more, those without a value, which are secret, and
    those that are worked out anew every time.
    """
    declared = set(re.findall(r"^param (\w+)", bicep, re.MULTILINE)) - WORKED_OUT
    return {name: each["value"] for name, each in last.items() if name in declared and "value" in each}


def added(wanted, actual):
    """What ``wanted`` has otherwise than ``actual``, as `green_env` says it; null: not at all."""
    return {name: wanted.get(name) for name in sorted({*wanted, *actual}) if wanted.get(name) != actual.get(name)}


def addressed(resource):
    """A resource of a list in one line."""
    return f"{resource['type']} {resource['name']}"


def models(resources, group):
    """Of the resources of a group, the model accounts, as `accounts` has them."""
    return [
        {"name": each["name"], "group": group, "location": each["location"]}
        for each in resources
        if each["type"] == "Microsoft.CognitiveServices/accounts"
    ]


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
