"""Two agents of one report of the suite, case by case: where the relay is worse than no relay."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

DIRECT, RELAYED = "direct", "relayed"
"""The agents: an echo without the relay, and the same echo behind it."""
VERDICTS = (
    "OK",
    "NON-STRICT",  # sound, but a SHOULD is not followed
    "INFORMATIONAL",  # RFC 6455 leaves it open
    "UNIMPLEMENTED",  # of an extension that was not agreed on
    "WRONG CODE",  # closed, with another code than the suite wants
    "FAILED BY CLIENT",  # closed, but the suite had to hang up where the server should have
    "UNCLEAN",  # no closing handshake
    "FAILED",
    "MISSING",  # not in the report: the case was never run to its end
)
"""The suite's verdicts on a case (`behavior`) and on its closing (`behaviorClose`), the best first."""


class Verdict(NamedTuple):
    """Of one agent in one case; ``code`` is of the Close it sent, None where it sent none or an empty one."""

    behavior: str
    closing: str
    code: int | None

    def __str__(self) -> str:
        return f"{self.behavior}, close {self.closing}, {self.code or 'no code'}"


MISSING = Verdict("MISSING", "MISSING", None)


class Compared(NamedTuple):
    """One case. A verdict that stands earlier in VERDICTS is better; a case is worse when either of its two is."""

    case: str
    direct: Verdict
    relayed: Verdict

    @property
    def outcome(self) -> str:
        """worse, better or same. Worse in one and better in the other is worse; the codes do not count."""
        steps = [
            VERDICTS.index(theirs) - VERDICTS.index(ours)
            for theirs, ours in zip(self.direct[:2], self.relayed[:2], strict=True)
        ]
        return "worse" if min(steps) < 0 else "better" if max(steps) > 0 else "same"

    @property
    def differs(self) -> bool:
        """Also where only the code is another one."""
        return self.direct != self.relayed


def compare(index: Mapping[str, Mapping[str, Any]], cases: Sequence[str]) -> list[Compared]:
    """``index`` is the suite's `index.json`, ``cases`` are those that it announced.

    Raises ValueError where there is nothing to compare with: a verdict that is not in VERDICTS, a case that is
    missing without the relay, no case at all.
    """
    direct, relayed = (index.get(agent, {}) for agent in (DIRECT, RELAYED))
    compared = [Compared(case, _verdict(direct.get(case)), _verdict(relayed.get(case))) for case in cases]
    if missing := [each.case for each in compared if each.direct == MISSING]:
        raise ValueError(f"the suite reports nothing of {', '.join(missing)}, even without the relay")
    if not compared:
        raise ValueError("the suite has no such case")
    return compared


def _verdict(entry: Mapping[str, Any] | None) -> Verdict:
    if entry is None:
        return MISSING
    verdict = Verdict(entry["behavior"], entry["behaviorClose"], entry["remoteCloseCode"])
    if strange := [each for each in verdict[:2] if each not in VERDICTS]:
        raise ValueError(f"the suite says {strange[0]!r}, which is none of {', '.join(VERDICTS)}")
    return verdict


def show(leg: str, compared: Sequence[Compared], seconds: float) -> int:
    """Prints what differs, and how many cases do; the number of those that are worse."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    differ = [each for each in compared if each.differs]
    if differ:
        table = Table("case", "direct", "through the relay", "", box=SIMPLE_HEAD)
        for each in differ:
            table.add_row(each.case, str(each.direct), str(each.relayed), each.outcome)
        console.print(table)
    count = Counter(each.outcome for each in compared)
    codes = sum(each.outcome == "same" for each in differ)
    console.print(
        f"{leg} leg: {len(compared)} cases, {count['same']} same ({codes} of them with another close code), "
        f"{count['better']} better, {count['worse']} worse; {seconds:.0f} s"
    )
    return count["worse"]
