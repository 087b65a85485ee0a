"""What became of the rollout, and the verdict as a whole: one sentence, numbers and the exit code."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

from clients.evidence import Evidence
from clients.judging.check import Check, Named, listed, several
from clients.recorded import Session, utc

AS_EXPECTED, OTHERWISE = 0, 1
LIVED_THROUGH = (
    *("survival.cut", "survival.refused", "hearing.cross_talk", "hearing.events", "hearing.session", "hearing.audio"),
    *("quality.turns", "evidence.hold"),
)
"""What must have passed before a headline says that nobody noticed, where nothing else is required."""
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
    """It took from green's first weight until blue had exited, or until blue had all weight again.

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


def outcome(evidence: Evidence) -> Check:
    ended = rollout(evidence)
    blue, green = listed(ended.blue), listed(ended.green)
    match ended.result:
        case "completed":
            sentence = f"All weight is on {green}, and {blue} is deactivated."
        case "rolled back":
            sentence = f"All weight is back on {blue}, and {green} is deactivated."
        case "unfinished":
            held = " / ".join(f"{name} {weight}" for name, weight in evidence.windows[-1].weights.items()) or "nobody"
            active = [name for name in (*ended.blue, *ended.green) if not _stopped(name, evidence)]
            sentence = f"The record ends with the weights at {held} and {listed(active)} active."
        case "none":
            return OUTCOME("inconclusive", "none", "No rollout in this record.")
    return OUTCOME(ended.result == "completed", ended.result, sentence)


def blue_untouched(evidence: Evidence) -> Check:
    ended = rollout(evidence)
    if ended.result == "none":
        return BLUE_UNTOUCHED.unknown("No rollout in this record.")
    mine = [session for session in evidence.sessions if session.revision in ended.blue]
    cuts = [f"call {session.call} on {session.replica}" for session in mine if session.cut]
    if not mine:
        return BLUE_UNTOUCHED.unknown(f"No call was on {listed(ended.blue)}.")
    if cuts:
        return BLUE_UNTOUCHED(
            False, str(len(cuts)), f"{several(len(cuts), 'call')} cut on {listed(ended.blue)}: {listed(cuts)}."
        )
    unseen = sum(session.end is None for session in mine)
    unproven = sum(session.unproven for session in mine)
    if unseen or unproven:
        missing = [f"has no end of {unseen}"] if unseen else []
        missing += [f"does not say whether {unproven} were moved or cut"] if unproven else []
        sentence = f"None of {several(len(mine), 'session')} was seen cut, but the record {' and '.join(missing)}."
        return BLUE_UNTOUCHED("inconclusive", "0", sentence)
    return BLUE_UNTOUCHED(True, "0", f"None of {several(len(mine), 'session')} on {listed(ended.blue)} was cut.")


def _stopped(revision: str, evidence: Evidence) -> bool:
    acts = [act for act in evidence.acts if act["revision"] == revision]
    active = [
        act.name for act in acts if act.name in ("revision.activated", "revision.created", "revision.deactivated")
    ]
    return active[-1:] == ["revision.deactivated"]


def _end_of(revision: str, evidence: Evidence) -> float:
    return max((act.at for act in evidence.acts_of("revision.deactivated") if act["revision"] == revision), default=0.0)


def _last_exit(revisions: tuple[str, ...], evidence: Evidence) -> float:
    exits = [stop.exited for stop in evidence.stops if stop.revision in revisions and stop.exited]
    return max(exits + [_end_of(each, evidence) for each in revisions])


def verdict(
    evidence: Evidence,
    checks: Sequence[Check],
    expected: Mapping[str, str],
    everything: Sequence[Check] | None = None,
    absent: Sequence[str] = (),
    required: Sequence[str] | None = None,
) -> dict[str, Any]:
    """What --json writes. A check without an expectation may pass or be inconclusive; one that is missing fails.

    `absent` were asked for and did not come up. `required`, checks or groups of them, must be decided: one that is
    inconclusive or missing is not as expected, and without a pass of each the headline does not say that nobody
    noticed. None: nothing is required but what the headline needs.
    """
    everything = everything or checks
    ended = rollout(evidence)
    wanted = {name: [check for check in everything if _named(check, name)] for name in required or ()}
    needed = {check.name for each in wanted.values() for check in each}
    checks = [check for check in everything if check in checks or check.name in needed]
    statuses = {check.name: check.status for check in checks}
    unmet = [*absent, *(name for name in expected if name not in statuses)]
    missing = list(dict.fromkeys([*unmet, *(name for name, each in wanted.items() if not each)]))
    rows = [
        dataclasses.asdict(check)
        | {"required": check.name in needed, "as_expected": _as_expected(check, expected, check.name in needed)}
        for check in checks
    ]
    as_expected = not missing and all(row["as_expected"] for row in rows)
    return {
        "headline": headline(evidence, ended, everything, None if required is None else [*wanted]),
        "exit_code": AS_EXPECTED if as_expected else OTHERWISE,
        "outcome": ended.result,
        "checks": rows,
        "undecided": [row["name"] for row in rows if row["required"] and row["status"] == "inconclusive"],
        "expected_but_missing": missing,
        "counts": counts(evidence),
        "blue": list(ended.blue),
        "green": list(ended.green),
        "from": utc(evidence.began),
        "to": utc(evidence.ended),
    }


def _named(check: Check, name: str) -> bool:
    return name in (check.name, check.name.partition(".")[0])


def _as_expected(check: Check, expected: Mapping[str, str], required: bool) -> bool:
    if required and check.status == "inconclusive":
        return False
    return check.status == expected[check.name] if check.name in expected else check.status != "fail"


def counts(evidence: Evidence) -> dict[str, int]:
    """A call that came back after a cut or a move is one call with several sessions."""
    sessions = evidence.sessions
    turns = list(evidence.all_turns)
    return {
        "calls": sum(session.gap_ms is None for session in sessions),
        "sessions": len(sessions),
        "cut": sum(session.cut for session in sessions),
        "moved": sum(session.moved for session in sessions),
        "moved_or_cut": sum(session.unproven for session in sessions),
        "refused": len(evidence.refusals),
        "refused_for_quota": sum(refused.for_quota for refused in evidence.refusals),
        "open_at_the_end": sum(session.end is None for session in sessions),
        "turns": len(turns),
        "turns_not_completed": sum(turn.status not in ("completed", "unanswered") for turn in turns),
        "turns_throttled": sum(turn.throttled for turn in turns),
        "faults": len(evidence.faults),
        "lines_ignored": evidence.ignored,
    }


def _calls(evidence: Evidence, chosen: Callable[[Session], bool]) -> int:
    """How many calls had such a session. A place has one call after the other; what has no gap begins one."""
    count = 0
    for sessions in evidence.calls.values():
        numbers = accumulate(session.gap_ms is None for session in sessions)
        count += len({number for number, session in zip(numbers, sessions, strict=True) if chosen(session)})
    return count


def headline(
    evidence: Evidence, rollout: Rollout, checks: Sequence[Check], required: Sequence[str] | None = None
) -> str:
    """`checks` are all of them. `required`: see `verdict`."""
    number = counts(evidence)
    calls = several(number["calls"], "call")
    hurt = _calls(evidence, lambda session: session.cut)
    failed = [check.name for check in checks if check.status == "fail" and check.name != "rollback.outcome"]
    if rollout.result == "rolled back":
        return f"Rolled back{_in(rollout)}: {calls}, {hurt} cut, {_blue(evidence, rollout)}."
    if not number["sessions"]:
        return f"No call got through: {number['refused']} refused."
    if number["cut"] or number["refused"]:
        times = f" {number['cut']} times in all" if number["cut"] > hurt else ""
        cut = f"{hurt} of {calls} {'was' if hurt == 1 else 'were'} cut{times}"
        refused = f"{number['refused']} refused" if number["refused"] else ""
        return f"Noticed: {' and '.join(each for each in (cut, refused) if each)}{_while(rollout)}."
    if failed:
        return (
            f"Nobody was cut ({calls}), but {several(len(failed), 'check')} failed{_while(rollout)}: {listed(failed)}."
        )
    if number["open_at_the_end"]:
        unseen = number["open_at_the_end"]
        return f"Nobody was seen cut: {calls}, but the record has no end of {unseen}{_while(rollout)}."
    lived_through = [name for name in LIVED_THROUGH if name != "evidence.hold" or len(evidence.windows) > 1]
    unseen_checks = _not_seen(checks, lived_through if required is None else required)
    rest = (
        f", but not everything was seen, so somebody may have noticed: {listed(unseen_checks)}" if unseen_checks else ""
    )
    if number["moved_or_cut"]:
        undecided = f"the record does not say whether {number['moved_or_cut']} of them were moved or cut"
        return f"Nobody was seen cut: {calls}, but {undecided}{_while(rollout)}{rest}."
    if number["moved"]:
        moved = f"{number['moved']} moved between two turns"
        if not unseen_checks and any(name in ("survival", "survival.moved") for name in required or ()):
            return f"Nobody noticed: {calls}, 0 cut, {moved}{_while(rollout)}."
        return f"Nobody was cut: {calls}, {moved}{_while(rollout)}{rest}."
    if unseen_checks:
        return f"Nobody was cut: {calls}{_while(rollout)}{rest}."
    return f"Nobody noticed: {calls}, 0 cut{_while(rollout)}."


def _not_seen(checks: Sequence[Check], required: Sequence[str]) -> list[str]:
    """Of what is required the checks that did not decide, and what did not come up at all."""
    undecided = [check.name for check in checks if check.status != "pass" and any(_named(check, n) for n in required)]
    absent = [name for name in required if not any(_named(check, name) for check in checks)]
    return [*undecided, *absent]


def _blue(evidence: Evidence, rollout: Rollout) -> str:
    calls = several(_calls(evidence, lambda session: session.revision in rollout.blue), "call")
    hurt = _calls(evidence, lambda session: session.revision in rollout.blue and session.cut)
    unseen = _calls(evidence, lambda session: session.revision in rollout.blue and session.end is None)
    names = listed(rollout.blue)
    if hurt:
        return f"{hurt} of {calls} on {names} cut"
    if unseen:
        return f"none of {calls} on {names} was seen cut, but the record has no end of {unseen}"
    if unproven := _calls(evidence, lambda session: session.revision in rollout.blue and session.unproven):
        return f"none of {calls} on {names} was seen cut, but the record does not say whether {unproven} moved"
    return f"the {calls} on {names} untouched"


def _while(rollout: Rollout) -> str:
    if rollout.result == "completed":
        return f" while {listed(rollout.blue)} made way for {listed(rollout.green)}{_in(rollout)}"
    if rollout.result == "unfinished":
        return f" while the rollout of {listed(rollout.green)} was under way"
    return ""


def _in(rollout: Rollout) -> str:
    return "" if rollout.took_s is None else f" in {rollout.took_s:.0f} s"
