"""What the lines of a hold and the findings of a verdict come to, for the play that had them made."""

import json
from collections import Counter
from datetime import datetime

MOVED_CODE = 1012


class FilterModule:
    def filters(self):
        return {"asked_back": asked_back, "unmoved": unmoved, "reasons": reasons, "only_open": only_open}


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
    """Sentences of a verdict's checks that are not as they should be, and names of those that did not come up."""
    wrong = [each["sentence"] for each in findings.get("checks", []) if not each["as_expected"]]
    return wrong + [f"{name}: no such check came up." for name in findings.get("expected_but_missing", [])]


def only_open(findings, allowed):
    """Whether nothing is wrong with a verdict but that some of the checks ``allowed`` were not decided."""
    wrong = [each for each in findings.get("checks", []) if not each["as_expected"]]
    decided = bool(wrong) and not findings.get("expected_but_missing")
    return decided and all(each["status"] == "inconclusive" and each["name"] in allowed for each in wrong)


def ends(record):
    return (line for line in observations(record) if line["observation"] == "closed")


def observations(record):
    """The lines of a record, which may break off in the middle of one."""
    lines = [line for line in record.splitlines() if line.endswith("}")]
    return [found for found in map(json.loads, lines) if "observation" in found]
