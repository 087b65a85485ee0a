"""What a finished hold comes to: the summary, the exit code, and what is printed."""

import dataclasses
import sys
from typing import Any

import orjson

from clients import table
from clients.arguments import Plan
from clients.checks import FAILED, HELD, INTERRUPTED, UNREACHABLE, check
from clients.refusal import cause_and_cure
from clients.summary import Tally


class Outcome:
    def __init__(self, plan: Plan, tally: Tally, lasted_s: float, interrupted: bool) -> None:
        self._plan = plan
        self._tally = tally
        self._lasted_s = lasted_s
        self._interrupted = interrupted
        self._checks = check(plan.limits, tally.measured())

    @property
    def exit_code(self) -> int:
        """A target that let nobody in is no failed check; a record with holes or without an answer proves nothing."""
        if not self._tally.opened:
            return UNREACHABLE if self._tally.refusals else INTERRUPTED
        kept = all(each.held for each in self._checks) and self._plan.record.failure is None
        return HELD if kept and not self._tally.never_answered else FAILED

    def summary(self) -> dict[str, Any]:
        """What --json prints, and the last line of the record carries."""
        return {
            "hold": self._plan.record.hold,
            "url": str(self._plan.target.url),
            "duration_s": self._plan.duration,
            "lasted_s": self._lasted_s,
            "interrupted": self._interrupted,
            **self._tally.numbers(),
            "checks": [dataclasses.asdict(each) | {"held": each.held} for each in self._checks],
            "record_failure": self._plan.record.failure,
            "exit_code": self.exit_code,
        }

    def show(self) -> None:
        """The result on stdout, what went wrong around it on stderr."""
        if self._plan.json:
            sys.stdout.write(orjson.dumps(self.summary()).decode() + "\n")
        elif self._tally.opened:
            until = f"{self._lasted_s:g} s, until the interrupt"
            held_for = until if self._interrupted else f"{self._plan.duration:g} s"
            table.show(self._tally, self._checks, held_for)
        if self.exit_code == UNREACHABLE:
            ((cause, _),) = self._tally.refusals_by_cause().most_common(1)
            complain(f"{self._plan.target.url} let no session in: {cause_and_cure(*cause)}")
        if self._tally.never_answered:
            turns = ", ".join(f"{count} {status}" for status, count in self._tally.turns.most_common())
            complain(f"turns were taken and none was completed: {turns}")
        if self._plan.record.failure:
            complain(f"the record is incomplete: {self._plan.record.failure}")


def complain(text: str) -> None:
    sys.stderr.write(f"clients.hold: {text}\n")
