"""What a person sees of a run: where it is, then every case in which the relay makes a difference."""

import sys
import time
from collections import Counter
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from stage.conformance.comparison import Compared
from stage.conformance.suite import Told


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)  # noqa: T201


def progress(leg: str) -> Told:
    """A line for each group of cases."""
    began, last = time.monotonic(), ("", "")

    def told(agent: str, case: str) -> None:
        nonlocal last
        group = case.partition(".")[0]
        if last != (agent, group):
            last = agent, group
            say(f"{time.monotonic() - began:4.0f} s  {leg} leg, {agent}: {group}.*")

    return told


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
