"""What became of the rollout, and whether it touched those who had nothing to do with it."""

from dataclasses import dataclass
from typing import Literal

from clients.evidence import Evidence
from clients.judging.check import Check, Named, listed, several

THEME = "rollback"
OUTCOME = Named("rollback.outcome", THEME, "completed")
BLUE_UNTOUCHED = Named("rollback.blue_untouched", THEME, "0")

Result = Literal["completed", "rolled back", "unfinished", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """`blue` had the weight at first, `green` came during the record. `took_s`: see `rollout`."""

    result: Result
    blue: tuple[str, ...] = ()
    green: tuple[str, ...] = ()
    took_s: float | None = None


def rollout(evidence: Evidence) -> Rollout:
    """It took from green's first weight until blue was gone, or until blue had all weight again.

    A green that never got weight counts from its creation to its deactivation.
    """
    if not evidence.windows:
        return Rollout(result="none")
    blue = tuple(evidence.windows[0].weights)
    created = {act["revision"]: act.at for act in evidence.acts_of("revision.created") if act["revision"] not in blue}
    green = tuple(created)
    if not green:
        return Rollout(result="none", blue=blue)
    holders = set(evidence.windows[-1].weights)
    others_stopped = all(_stopped(revision, evidence) for revision in {*blue, *green} - holders)
    began = next((w.start for w in evidence.windows if w.weights.keys() & created.keys()), min(created.values()))
    if others_stopped and holders and holders.isdisjoint(blue):
        return Rollout(result="completed", blue=blue, green=green, took_s=_last_exit(blue, evidence) - began)
    if others_stopped and holders and holders.issubset(blue):
        returned = evidence.windows[-1].start
        over = returned if returned > began else max(_end_of(each, evidence) for each in green)
        return Rollout(result="rolled back", blue=blue, green=green, took_s=over - began)
    return Rollout(result="unfinished", blue=blue, green=green)


def outcome_check(evidence: Evidence) -> Check:
    found = rollout(evidence)
    blue, green = listed(found.blue), listed(found.green)
    match found.result:
        case "completed":
            said = f"All weight is on {green}, and {blue} is deactivated."
        case "rolled back":
            said = f"All weight is back on {blue}, and {green} is deactivated."
        case "unfinished":
            held = " / ".join(f"{name} {weight}" for name, weight in evidence.windows[-1].weights.items()) or "nobody"
            active = [name for name in (*found.blue, *found.green) if not _stopped(name, evidence)]
            said = f"The record ends with the weights at {held} and {listed(active)} active."
        case "none":
            return OUTCOME("inconclusive", "none", "No rollout in this record.")
    return OUTCOME(found.result == "completed", found.result, said)


def blue_untouched(evidence: Evidence) -> Check:
    found = rollout(evidence)
    if found.result == "none":
        return BLUE_UNTOUCHED.unknown("No rollout in this record.")
    mine = [session for session in evidence.sessions if session.revision in found.blue]
    cuts = [f"call {session.call} on {session.replica}" for session in mine if session.cut]
    if not mine:
        return BLUE_UNTOUCHED.unknown(f"No call was on {listed(found.blue)}.")
    if cuts:
        return BLUE_UNTOUCHED(
            False, str(len(cuts)), f"{several(len(cuts), 'call')} cut on {listed(found.blue)}: {listed(cuts)}."
        )
    unseen = sum(session.end is None for session in mine)
    unproven = sum(session.unproven for session in mine)
    if unseen or unproven:
        missing = [f"has no end of {unseen}"] if unseen else []
        missing += [f"does not say whether {unproven} were moved or cut"] if unproven else []
        said = f"None of {several(len(mine), 'session')} was seen cut, but the record {' and '.join(missing)}."
        return BLUE_UNTOUCHED("inconclusive", "0", said)
    return BLUE_UNTOUCHED(True, "0", f"None of {several(len(mine), 'session')} on {listed(found.blue)} was cut.")


def _stopped(revision: str, evidence: Evidence) -> bool:
    said = [act for act in evidence.acts if act["revision"] == revision]
    active = [
        act.name for act in said if act.name in ("revision.activated", "revision.created", "revision.deactivated")
    ]
    return active[-1:] == ["revision.deactivated"]


def _end_of(revision: str, evidence: Evidence) -> float:
    return max((act.at for act in evidence.acts_of("revision.deactivated") if act["revision"] == revision), default=0.0)


def _last_exit(revisions: tuple[str, ...], evidence: Evidence) -> float:
    exits = [stop.exited for stop in evidence.stops if stop.revision in revisions and stop.exited]
    return max(exits + [_end_of(each, evidence) for each in revisions])
