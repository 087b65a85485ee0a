"""Who carries the calls of an app, and which weights give a new revision its share: no arithmetic for YAML."""


class FilterModule:
    def filters(self):
        ours = (standing, weights, already, sends, healthy, environment, served, of_the_way)
        return {each.__name__: each for each in ours}


def standing(app, revisions, green):
    """Blue, green and their weights now.

    ``app``: mode, traffic, latest_ready. ``revisions``: name, active, created, last_active and more, inactive ones too.
    Blue is {revision: weight} of what is active, is not green and is in the traffic list: with a weight, or at 0
    without a label, as an interrupted rollout leaves it. A revision outside the list, or only labelled, is somebody's
    test. A deactivated revision stays in Azure's list with its weight.
    """
    known = {each["name"]: each for each in revisions}
    active = {name for name, each in known.items() if each["active"]}
    listed, shared, labelled = {}, {}, set()
    for entry in app["traffic"] or []:
        name, weight = "latest" if entry.get("latestRevision") else entry["revisionName"], entry.get("weight") or 0
        listed[name] = listed.get(name, 0) + weight
        # "Latest" is pinned to the name it means now, before a newer revision exists.
        name = app["latest_ready"] if name == "latest" else name
        shared[name] = shared.get(name, 0) + weight
        if entry.get("label"):
            labelled.add(name)
    blue = {
        name: weight for name, weight in shared.items() if name in active - {green} and (weight or name not in labelled)
    }
    return {
        "mode": app["mode"],
        "listed": {name: weight for name, weight in listed.items() if name in {"latest", *known}},
        "carrying": [name for name, weight in shared.items() if name in active and weight],
        "blue": blue,
        "oldest": min(blue, key=lambda name: known[name]["created"], default=None),
        "before": before(revisions, green),
        "green": {"name": green, "active": False, **known.get(green, {}), "exists": green in known},
        "green_weight": shared.get(green, 0) if green in active else 0,
        "revisions": known,
    }


def before(revisions, green):
    """What ``green`` may have taken over from: of the revisions that are off, the one that was active last.

    Where that one is newer than green it may have failed to replace it, and the last of the older ones comes first.
    """
    off = [each for each in revisions if each["name"] != green and not each["active"]]
    off.sort(key=lambda each: (each["last_active"] or "", each["created"]))
    born = next((each["created"] for each in revisions if each["name"] == green), "")
    older = [each for each in off if each["created"] < born]
    return list(dict.fromkeys(each["name"] for each in older[-1:] + off[-1:]))


def weights(now, share):
    """Every revision of the traffic list by name, 100 in all: ``share`` to green, the rest to blue as blue had it.

    A list that leaves a name out would be rescaled by az without a word. Where green has all of it already, the oldest
    of blue stands for what blue had: it is the one that was proven.
    """
    blue = now["blue"] if any(now["blue"].values()) else dict.fromkeys([now["oldest"]] if now["oldest"] else [], 1)
    named = dict.fromkeys([*now["listed"], *now["blue"]], 0) | parts(blue, 100 - share)
    return named | ({now["green"]["name"]: share} if share or now["green"]["exists"] else {})


def already(now, named):
    """Whether the app sends its calls so."""
    return {name: each for name, each in now["listed"].items() if each} == {
        name: each for name, each in named.items() if each
    }


def healthy(revision):
    """Whether a revision (health, provisioning, running, least) is up, or is asleep and may be."""
    if revision["provisioning"] != "Provisioned":
        return False
    if revision["running"] == "ScaledToZero":
        return not revision["least"] and revision["health"] != "Unhealthy"
    # Azure says RunningAtMaxScale too.
    return revision["health"] == "Healthy" and revision["running"].startswith("Running")


def sends(traffic):
    """{revision: weight} of what an app's traffic gives a share."""
    return {
        "latest" if each.get("latestRevision") else each["revisionName"]: each["weight"]
        for each in traffic
        if each.get("weight")
    }


def environment(variables):
    """{name: value} of a container's variables, as --replace-env-vars takes them."""
    return {
        each["name"]: f"secretref:{each['secretRef']}" if each.get("secretRef") else each.get("value") or ""
        for each in variables or []
    }


def of_the_way(options):
    """Of the options of clients.hold those that say how to get there, which every other client takes, too."""
    words = [str(each) for each in options]
    valued = ("--ca-file", "--connect-to")
    kept = [(word, *words[at + 1 : at + 2]) if word in valued else (word,) for at, word in enumerate(words)]
    named = [each for each in kept if each[0].partition("=")[0] in (*valued, "--insecure")]
    return [word for each in named for word in each]


def served(variables):
    """The deployment that a revision with this `environment` serves; empty where a secret has its name, or nothing."""
    name = variables.get("AZURE_OPENAI_DEPLOYMENT", "")
    return "" if name.startswith("secretref:") else name


def parts(shares, total):
    """``total`` in whole parts as ``shares`` are to each other; what rounding leaves goes to the largest remainders."""
    whole = sum(shares.values())
    exact = {name: divmod(total * share, whole) for name, share in shares.items()}
    left = total - sum(quotient for quotient, _ in exact.values())
    favoured = sorted(exact, key=lambda name: exact[name][1], reverse=True)[:left]
    return {name: quotient + (name in favoured) for name, (quotient, _) in exact.items()}
