"""The end of a hold for eyes: what was measured, what survived, and each cut session in words."""

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from clients.checks import Check
from clients.observations import Closed, Refused
from clients.summary import Tally

SPREADS = {
    "connect_ms": "connect",
    "rtt_ms": "ping to pong",
    "first_audio_ms": "end of speech to first audio",
    "gap_ms": "cut to reconnected",
}
SIDES = {
    "local": "by us",
    "remote": "by the other side, with a Close frame",
    "dropped": "dropped, no Close frame",
}
TURNS = {
    "idle": "between turns",
    "speaking": "while the caller spoke",
    "answering": "before the answer was done",
    "waiting": "while the model waited for the caller",
}


def show(tally: Tally, checks: Sequence[Check], held_for: str) -> None:
    numbers = tally.numbers()
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(_spreads(numbers), "")
    if tally.closes:
        console.print(_closes(tally), "")
    turns = ", ".join(f"{count} {status}" for status, count in tally.turns.most_common()) or "none"
    revisions = ", ".join(f"{count} on {name}" for name, count in numbers["revisions"].items()) or "none"
    console.print(f"turns: {turns}\nsessions by revision: {revisions}")
    if tally.faults:
        faults = ", ".join(f"{count} {fault}" for fault, count in tally.faults.most_common())
        console.print(f"faults in what was heard: {faults}", style="red")
    if tally.unanswered_pings:
        console.print(f"pings without an answer: {tally.unanswered_pings}")
    in_turn = tally.held > len(tally.opened)
    what, in_all = ("places", f", {tally.held} sessions in all") if in_turn else ("sessions", "")
    console.print(f"{tally.survived} of {tally.planned} {what} held for {held_for}{in_all}")
    for cut in tally.cuts:
        console.print(_cut_in_words(cut), style="red")
    for refused in tally.refusals:
        console.print(_refusal_in_words(refused), style="red")
    for check in checks:
        console.print(f"{'held  ' if check.held else 'FAILED'} {check}", style="" if check.held else "bold red")


def _spreads(numbers: dict[str, Any]) -> Table:
    table = Table("ms", box=SIMPLE_HEAD, show_edge=False)
    columns = ("count", "p50", "p95", "p99", "max")
    for column in columns:
        table.add_column(column, justify="right")
    for name, title in SPREADS.items():
        spread = numbers[name]
        if name != "gap_ms" or spread["count"]:
            table.add_row(title, *("-" if spread[column] is None else str(spread[column]) for column in columns))
    return table


def _closes(tally: Tally) -> Table:
    table = Table("closed", "code", box=SIMPLE_HEAD, show_edge=False)
    table.add_column("count", justify="right")
    for (side, code), count in tally.closes.most_common():
        table.add_row(SIDES[side], str(code), str(count))
    return table


def _refusal_in_words(refused: Refused) -> str:
    answer = f"HTTP {refused.status}" if refused.status else refused.code
    return f"refused: call {refused.call}, at {refused.ts}: {answer}, {refused.message}"


def _cut_in_words(cut: Closed) -> str:
    """Which, where, when, how and in the middle of what. The reason is quoted as Python does: it may hold anything."""
    named = cut.session or cut.upstream_session or "without an id"
    where = f"revision {cut.revision or 'unknown'}" + (f", replica {cut.replica}" if cut.replica else "")
    reason = f" {cut.reason!r}" if cut.reason else ""
    return (
        f"cut: call {cut.call}, session {named} on {where}, at {cut.ts} after {cut.age_s:.1f} s, "
        f"{TURNS[cut.turn]}: code {cut.code}{reason}, {SIDES[cut.closed_by]}"
    )
