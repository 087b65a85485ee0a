"""What the lines of a hold and the findings of a verdict come to, for the play that had them made."""

import json
from collections import Counter
from datetime import datetime

MOVED_CODE = 1012
DEFAULT_GRACE_S = 30
"""The platform's, of a revision that does not say."""


class FilterModule:
    def filters(self):
        return {each.__name__: each for each in (asked_back, unmoved, reasons, only_open, deployed)}


def asked_back(record):
    """Revisions that asked a call to come back, by the lines of a hold."""
    return sorted({end["revision"] for end in ends(record) if end["code"] == MOVED_CODE and end["early"]} - {None})


def unmoved(record, asked):
    """Why not each call of a hold was moved by a revision that was asked to stop at ``asked``, or nothing."""
    problems, lines = Counter(), observations(record)
    closed = list(ends(record))
    for end in closed:
        at = datetime.fromisoformat(end["ts"].replace("Z", "+00:00")).timestamp()
        if not end["early"]:
            problems["never asked to come back"] += 1
        elif at < asked:
            problems[f"ended {end['code']} before it was asked to stop"] += 1
        elif end["code"] != MOVED_CODE or end["closed_by"] != "remote":
            problems[f"ended {end['code']} instead of {MOVED_CODE}"] += 1
    if left := sum(line["observation"] == "opened" for line in lines) - len(closed):
        problems["still open"] += left
    if not closed and not left:
        problems["opened no call"] += 1
    return ", ".join(f"{count} x {problem}" for problem, count in problems.items())


def reasons(findings):
    """Sentences of a verdict's checks that are not as they should be, and names of those that did not come up.

    With them, where the model had no capacity: that says nothing of the release, and checks may be short of turns.
    """
    counts = findings.get("counts", {})
    dials, turns = counts.get("refused_for_quota", 0), counts.get("turns_throttled", 0)
    busy = (
        f"The model answered {dials} dials with 429 and failed {turns} turns for want of capacity, which says "
        "nothing of the release: hold fewer calls, or deploy with more openAiCapacity."
    )
    wrong = [each["sentence"] for each in findings.get("checks", []) if not each["as_expected"]]
    missing = [f"{name}: no such check came up." for name in findings.get("expected_but_missing", [])]
    return wrong + missing + ([busy] if (wrong or missing) and (dials or turns) else [])


def only_open(findings, allowed):
    """Whether nothing is wrong with a verdict but that some of the checks ``allowed`` were not decided."""
    wrong = [each for each in findings.get("checks", []) if not each["as_expected"]]
    decided = bool(wrong) and not findings.get("expected_but_missing")
    return decided and all(each["status"] == "inconclusive" and each["name"] in allowed for each in wrong)


def deployed(revisions, at):
    """The lines of a record that say the grace period of each of ``revisions``, {name: {"grace"}}."""
    ts = at.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
    about = {"ts": ts, "hold": "play", "observation": "deployed"}
    lines = [
        {**about, "revision": name, "grace_s": DEFAULT_GRACE_S if each["grace"] is None else each["grace"]}
        for name, each in revisions.items()
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


def ends(record):
    return (line for line in observations(record) if line["observation"] == "closed")


def observations(record):
    """The lines of a record, which may break off in the middle of one."""
    lines = [line for line in record.splitlines() if line.endswith("}")]
    return [found for found in map(json.loads, lines) if "observation" in found]
