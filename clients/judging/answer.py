"""A verdict as a whole: one sentence for whoever asks whether anybody noticed the rollout, numbers, the exit code."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from clients.evidence import Evidence
from clients.facts import utc
from clients.judging.check import Check, listed, several
from clients.judging.rollback import Rollout, rollout

AS_EXPECTED, OTHERWISE = 0, 1


def verdict(
    evidence: Evidence, checks: Sequence[Check], expected: Mapping[str, str], everything: Sequence[Check] | None = None
) -> dict[str, Any]:
    """What --json writes. A check without an expectation may pass or be inconclusive; one that is missing fails."""
    found = rollout(evidence)
    statuses = {check.name: check.status for check in checks}
    missing = [name for name in expected if name not in statuses]
    rows = [dataclasses.asdict(check) | {"as_expected": _as_expected(check, expected)} for check in checks]
    as_expected = not missing and all(row["as_expected"] for row in rows)
    return {
        "headline": headline(evidence, found, everything or checks),
        "exit_code": AS_EXPECTED if as_expected else OTHERWISE,
        "outcome": found.result,
        "checks": rows,
        "expected_but_missing": missing,
        "counts": counts(evidence),
        "blue": list(found.blue),
        "green": list(found.green),
        "from": utc(evidence.began),
        "to": utc(evidence.ended),
    }


def _as_expected(check: Check, expected: Mapping[str, str]) -> bool:
    return check.status == expected[check.name] if check.name in expected else check.status != "fail"


def counts(evidence: Evidence) -> dict[str, int]:
    """A call that came back after a cut or a move is one call with several sessions."""
    sessions = evidence.sessions
    turns = [turn for each in evidence.turns.values() for turn in each]
    return {
        "calls": sum(session.gap_ms is None for session in sessions),
        "sessions": len(sessions),
        "cut": sum(session.cut for session in sessions),
        "moved": sum(session.moved for session in sessions),
        "refused": len(evidence.refusals),
        "open_at_the_end": sum(session.end is None for session in sessions),
        "turns": len(turns),
        "turns_not_completed": sum(turn.status != "completed" for turn in turns),
        "lines_ignored": evidence.ignored,
    }


def headline(evidence: Evidence, rollout: Rollout, checks: Sequence[Check]) -> str:
    number = counts(evidence)
    calls = several(number["calls"], "call")
    failed = [check.name for check in checks if check.status == "fail" and check.name != "rollback.outcome"]
    if rollout.result == "rolled back":
        return f"Rolled back{_in(rollout)}: {calls}, {number['cut']} cut, {_blue(evidence, rollout)}."
    if not number["sessions"]:
        return f"No call got through: {number['refused']} refused."
    if number["cut"] or number["refused"]:
        cut = f"{number['cut']} of {calls} {'was' if number['cut'] == 1 else 'were'} cut"
        refused = f"{number['refused']} refused" if number["refused"] else ""
        return f"Noticed: {' and '.join(each for each in (cut, refused) if each)}{_while(rollout)}."
    if failed:
        return (
            f"Nobody was cut ({calls}), but {several(len(failed), 'check')} failed{_while(rollout)}: {listed(failed)}."
        )
    if number["moved"]:
        return f"Nobody was cut: {calls}, {number['moved']} moved between two turns{_while(rollout)}."
    return f"Nobody noticed: {calls}, 0 cut{_while(rollout)}."


def _blue(evidence: Evidence, rollout: Rollout) -> str:
    on_blue = [session for session in evidence.sessions if session.revision in rollout.blue]
    calls = several(sum(session.gap_ms is None for session in on_blue), "call")
    hurt = sum(session.cut for session in on_blue)
    names = listed(rollout.blue)
    return f"{hurt} of {calls} on {names} cut" if hurt else f"the {calls} on {names} untouched"


def _while(rollout: Rollout) -> str:
    if rollout.result == "completed":
        return f" while {listed(rollout.blue)} made way for {listed(rollout.green)}{_in(rollout)}"
    if rollout.result == "unfinished":
        return f" while the rollout of {listed(rollout.green)} was under way"
    return ""


def _in(rollout: Rollout) -> str:
    return "" if rollout.took_s is None else f" in {rollout.took_s:.0f} s"
