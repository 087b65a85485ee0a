"""What stands in the way of a deployment, before anything is touched: each problem is a sentence with its cure."""

import ipaddress
import json
import re
import shlex


class FilterModule:
    def filters(self):
        return {
            "problems": problems,
            "unchecked": unchecked,
            "lacking": lacking,
            "elsewhere": elsewhere,
            "purge_command": purge_command,
            "misnamed": misnamed,
            "defaults": defaults,
            "miscounted": miscounted,
            "addresses": addresses,
        }


PREFIX = re.compile(r"(?=.{3,20}$)[a-z](?!.*--)[-a-z0-9]*[a-z0-9]")
RELEASE = re.compile(r"[a-z0-9](?!.*--)([-a-z0-9]*[a-z0-9])?")
REVISION_CHARACTERS = 54
"""Of APP--RELEASE; the service refuses a longer one although a DNS label has room for 63."""
PAIR = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}:[!-+\--~]{16,}")
SECRET_ID = re.compile(r"https://[^/\s]+/secrets/[^/\s]+(/[0-9a-f]+)?")
DEFAULT = re.compile(r"^param (\w+) \w+ = (?:'([^'$]*)'|(true|false|\d+)$)", re.MULTILINE)
PROVIDERS = (
    "Microsoft.App",
    "Microsoft.CognitiveServices",
    "Microsoft.ContainerRegistry",
    # An environment in a network of its own is made by it, although no resource of the template is.
    "Microsoft.ContainerService",
    "Microsoft.Insights",
    "Microsoft.ManagedIdentity",
    "Microsoft.Network",
    "Microsoft.OperationalInsights",
)
NOT_FOUND = 3
"""az's exit code for what does not exist."""


def defaults(bicep):
    """{parameter: default} of those that are plain texts, numbers, or true or false, as the template has them."""
    return {name: json.loads(other) if other else text for name, text, other in DEFAULT.findall(bicep)}


def addresses(text):
    """The list that ROLLOUT_ADDRESSES is; the word none is an empty one."""
    return [] if text.strip() == "none" else [each.strip() for each in text.split(",") if each.strip()]


def lacking(needs, environment):
    """Names of ``needs`` that the environment does not have, or has empty."""
    return [name for name in needs if not environment.get(name)]


def elsewhere(pointed_at, cloud, resource_manager, inventory):
    """The problem where az points (cloud, resource_manager) at another cloud than the inventory's, or nothing.

    ``resource_manager`` is a pattern.
    """
    if pointed_at["cloud"] == cloud and re.match(resource_manager, pointed_at["resource_manager"]):
        return ""
    return (
        f"az points at {pointed_at['cloud']} ({pointed_at['resource_manager']}), but {inventory} is for "
        f"{cloud} ({resource_manager}): take the other inventory, or the AZURE_CONFIG_DIR that belongs to this one."
    )


def misnamed(release, app):
    """The problem of a release that no revision of ``app`` can be named after, or nothing."""
    revision = f"{app}--{release}"
    if RELEASE.fullmatch(release) and len(revision) <= REVISION_CHARACTERS:
        return ""
    return (
        f"{release} cannot name a revision: lower-case letters, digits and single dashes, a letter or digit at both "
        f"ends, at most {REVISION_CHARACTERS} characters as {revision}; choose another with -e release=NAME."
    )


def miscounted(numbers):
    """The problem of those of ``numbers``, {name: value}, that are none above 0, or nothing; -e gives texts."""
    wrong = [f"{name} is {value}" for name, value in numbers.items() if not positive(value)]
    return f"{', '.join(wrong)}: it takes a number above 0, of seconds or of calls, without a unit." if wrong else ""


def positive(value):
    try:
        return 0 < float(value) < float("inf")
    except (TypeError, ValueError):
        return False


def problems(seen):
    """Every problem. ``seen``: inputs, and the results of the az tasks; one that was skipped is not judged."""
    return [sentence for check in CHECKS for sentence in check(seen)]


def inputs(seen):
    given = seen["environment"]
    if missing := lacking(seen["needs"], given):
        yield f"The environment lacks {', '.join(missing)}: export what is missing."
    prefix = given.get("PREFIX") or ""
    if prefix and not PREFIX.fullmatch(prefix):
        yield (
            f"PREFIX is {prefix}: it takes 3 to 20 lower-case letters, digits and single dashes, a letter first, "
            "no dash last."
        )
    if problem := misnamed(seen["release"], prefix):
        yield problem
    if problem := miscounted(seen["numbers"]):
        yield problem
    if wrong := malformed(given.get("RTPROXY_CLIENT_KEYS") or ""):
        yield (
            f"RTPROXY_CLIENT_KEYS is not name:key,name:key at place {', '.join(wrong)}: no spaces, each name and key "
            "once, each key of 16 characters or more."
        )
    parameters = seen.get("parameters", {})
    yield from credentials(given, parameters)


def credentials(given, parameters):
    """What the gateway and the relay are to find: a certificate, and who may call."""
    secret = parameters["certificateId"] if "certificateId" in parameters else given.get("TLS_SECRET_ID") or ""
    if secret and not SECRET_ID.fullmatch(secret):
        yield f"The certificate, TLS_SECRET_ID, is {secret}: it takes https://VAULT.vault.azure.net/secrets/NAME."
    if secret and not (given.get("RTPROXY_GATEWAY_URL") or "").startswith(("https://", "wss://")):
        yield (
            f"With the certificate {secret} callers need a name that it carries: export RTPROXY_GATEWAY_URL, "
            "https://THAT.NAME; -e plain_http=true does without a certificate."
        )
    keys = parameters.get("clientKeysSecretUri") or ""
    if keys and not SECRET_ID.fullmatch(keys):
        yield f"clientKeysSecretUri is {keys}: it takes https://VAULT.vault.azure.net/secrets/NAME."
    settings = {each.get("name"): each.get("value") for each in parameters.get("relaySettings") or []}
    if settings.get("RTPROXY_OIDC_ISSUER") and not settings.get("RTPROXY_OIDC_AUDIENCE"):
        yield "relaySettings has RTPROXY_OIDC_ISSUER, for which the relay needs RTPROXY_OIDC_AUDIENCE too."
    if keyed := sorted({"RTPROXY_CLIENT_KEYS", "RTPROXY_CLIENT_KEYS_FILE", "AZURE_OPENAI_API_KEY"} & set(settings)):
        yield (
            f"relaySettings has {', '.join(keyed)}, which the template sets itself: export a secret, and say "
            "clientKeysSecretUri or clientKeysStorageAccount for keys in a file."
        )


def malformed(keys):
    """Positions, from 1, of the entries that the relay would not take as they are. Never the entries."""
    entries = keys.split(",") if keys else []
    names, values = [each.partition(":")[0] for each in entries], [each.partition(":")[2] for each in entries]
    return [
        str(at + 1)
        for at, each in enumerate(entries)
        if not PAIR.fullmatch(each) or names[at] in names[:at] or values[at] in values[:at]
    ]


def rollouts(seen):
    """Where rollouts come from: it is to be said, be it that they come from inside."""
    if "parameters" not in seen:
        return
    listed = seen["parameters"].get("rolloutAddresses", [])
    if wrong := [each for each in listed if not a_network(each)]:
        yield (
            f"ROLLOUT_ADDRESSES has {', '.join(wrong)}: it takes addresses as the Internet sees them and ranges, "
            "203.0.113.7,198.51.100.0/24; not all of the Internet."
        )
    nowhere = (seen["environment"].get("ROLLOUT_ADDRESSES") or "").strip() == "none"
    if not listed and not nowhere and "rolloutAddresses" not in seen.get("remembered", {}):
        yield (
            "ROLLOUT_ADDRESSES is not set: export the addresses that rollouts come from, comma separated, because "
            "nobody else reaches a revision's own address; none where they come from inside of the network."
        )


def a_network(text):
    """Whether it is an address or a range, and not everything."""
    try:
        return ipaddress.ip_network(text).prefixlen > 0
    except ValueError:
        return False


def settings(seen):
    """What the template says itself, and what the sample says of nobody."""
    said = {each.get("name"): each.get("value") for each in seen.get("parameters", {}).get("relaySettings") or []}
    if "RTPROXY_MAX_SESSIONS" in said:
        yield (
            "RTPROXY_MAX_SESSIONS is in relaySettings: say the parameter maxSessions, which also gives each client its "
            "share of them."
        )
    if ".example" in (said.get("RTPROXY_ALLOWED_ORIGINS") or ""):
        yield (
            f"RTPROXY_ALLOWED_ORIGINS is {said['RTPROXY_ALLOWED_ORIGINS']}, which is an example: name the origins of "
            "your pages, or take it out where no page calls."
        )


def target(seen):
    if seen["elsewhere"]:
        yield seen["elsewhere"]
    elif seen["account"]["rc"]:
        yield "az is not logged in: az login, then az account set --subscription NAME."
    if seen["bicep"]["rc"]:
        yield "az has no Bicep compiler: az bicep install."


def reached(seen):
    """The first thing that az could not read, in its own words."""
    there = seen["group"]
    if denied(there):
        yield (
            f"az may not see the group {seen['environment']['RESOURCE_GROUP']}: {there['msg']}. Who has rights on a "
            "group only cannot make it: have it made, and the roles given on it that docs/azure.md names."
        )
        return
    for each in (there, *(seen[name] for name in OF_SUBSCRIPTION)):
        if each.get("rc") and not denied(each) and not (each is there and each["rc"] == NOT_FOUND):
            yield f"az cannot read the subscription: {each['msg']}."
            return


def denied(result):
    """Whether az was not allowed what it tried."""
    return "AuthorizationFailed" in result.get("msg", "")


def unchecked(seen):
    """What was not looked into, because it is the subscription's and the caller has rights on the group only."""
    missing = [what for name, what in OF_SUBSCRIPTION.items() if denied(seen[name])]
    if not missing:
        return ""
    return (
        f"Not checked, because az may not read the whole subscription: {', '.join(missing)}. What is wrong there shows "
        "when it is deployed; Reader on the subscription lets az look first."
    )


def registered(seen):
    lower = {each.lower() for each in seen["unregistered"].get("value") or []}
    if missing := [each for each in PROVIDERS if each.lower() in lower]:
        cure = "; ".join(f"az provider register --wait --namespace {name}" for name in missing)
        yield f"The subscription has not registered {', '.join(missing)}: {cure}."


def group(seen):
    there, wanted = seen["group"].get("value"), seen["environment"].get("LOCATION") or ""
    if there and wanted and plain(there) != plain(wanted):
        yield (
            f"The group {seen['environment']['RESOURCE_GROUP']} is in {there}, not in {wanted}: say LOCATION={there}, "
            "or choose another RESOURCE_GROUP."
        )


def plain(location):
    return location.replace(" ", "").lower()


def model(seen):
    if "value" not in seen["models"]:
        return
    wanted = seen["model"]
    offered = {(each["name"], each["version"], sku) for each in seen["models"]["value"] for sku in each["skus"] or []}
    if (wanted["name"], wanted["version"], wanted["sku"]) not in offered:
        others = ", ".join(f"{name} {version} ({sku})" for name, version, sku in sorted(offered))
        yield (
            f"{seen['location']['model']} does not offer {wanted['name']} {wanted['version']} as {wanted['sku']};"
            f" it offers {others or 'no realtime model'}: choose another openAiLocation"
            + (", or openAiModelName, openAiModelVersion and openAiDeploymentSku," if others else "")
            + " in -e parameters."
        )


def quota(seen):
    """Whether the deployment of the model fits. What stands of it already is taken from the quota and stays."""
    wanted, offers = seen["model"], seen["models"].get("value") or []
    names = {
        usage
        for each in offers
        for sku, usage in each.get("usages") or []
        if (each["name"], sku) == (wanted["name"], wanted["sku"])
    }
    standing = [each for each in seen["standing"] if (each["model"], each["sku"]) == (wanted["name"], wanted["sku"])]
    more = wanted["units"] - sum(each["units"] or 0 for each in standing)
    for each in seen["usages"].get("value") or []:
        left = max(0, int(each["limit"] - each["used"]))
        if each["name"] in names and more > left:
            yield (
                f"{seen['location']['model']} has {left} of {int(each['limit'])} units of quota left for "
                f"{wanted['name']} as {wanted['sku']}, and this takes {more}: say fewer with openAiCapacity in -e "
                "parameters, free what other deployments and deleted accounts hold, or ask for more quota."
            )


def fixed(seen):
    """What stands, and would have to be made anew to be as it is asked for."""
    asked, anew = seen.get("asked") or {}, "or choose another RESOURCE_GROUP, or PREFIX, and move the callers there"
    for account in (seen.get("model_accounts") or {}).get("value") or []:
        wanted = seen["location"]["model"]
        if wanted and plain(account["location"]) != plain(wanted):
            yield (
                f"The account {account['name']} is in {account['location']}, not in {wanted}, and cannot move: say "
                f"openAiLocation {plain(account['location'])}, {anew}."
            )
    for environment in (seen.get("environments") or {}).get("value") or []:
        wanted = seen["location"]["app"]
        if wanted and plain(environment["location"]) != plain(wanted):
            yield (
                f"The environment is in {environment['location']}, not in {wanted}, and cannot move: say "
                f"LOCATION={plain(environment['location'])}, {anew}."
            )
        for name in ("zoneRedundant", "internal"):
            stands, wants = bool(environment.get(name)), str(asked.get(name)).lower() == "true"
            if name in asked and stands != wants:
                yield (
                    f"The environment was made with {name} {str(stands).lower()}, which cannot change: say so in -e "
                    f"parameters, {anew}."
                )
        for network in (seen.get("networks") or {}).get("value") or []:
            if network.get("subnet") and subnet(asked.get("addressPrefix")) not in (None, network["subnet"]):
                yield (
                    f"The environment is in the subnet {network['subnet']}, which cannot change: say addressPrefix "
                    f"{network['space']} in -e parameters, {anew}."
                )


def address_space(seen):
    asked = (seen.get("asked") or {}).get("addressPrefix")
    if asked is not None and subnet(asked) is None:
        yield f"addressPrefix is {asked}: it takes a network of private addresses, /23 or larger, as 10.60.0.0/23."


def subnet(space):
    """The environment's part of an address space, as bicep/modules/network.bicep divides it; None where it has none."""
    try:
        network = ipaddress.IPv4Network(space)
    except (TypeError, ValueError):
        return None
    if network.prefixlen > 23 or not network.is_private:
        return None
    return f"{network.network_address + 256}/24"


def soft_deleted(seen):
    """An account that went with an earlier group of this name keeps its name for 48 hours."""
    for each in seen["deleted"].get("value") or []:
        yield f"The deleted model account {each['name']} still holds its name: {purge_command(each)}."


def purge_command(account):
    """What purges a deleted model account: ``name``, ``group`` and ``location``."""
    purge = ["az", "cognitiveservices", "account", "purge", "--location", account["location"]]
    return shlex.join([*purge, "--resource-group", account["group"], "--name", account["name"]])


# What az asks the subscription, by the name of its answer.
OF_SUBSCRIPTION = {
    "unregistered": "whether its resource providers are registered",
    "models": "whether the region offers the model",
    "usages": "whether there is quota for it",
    "deleted": "whether a deleted model account holds the name",
}
CHECKS = (
    *(inputs, rollouts, settings, target, reached, registered, group, model, quota),
    *(address_space, fixed, soft_deleted),
)
