"""A hold for people: on stderr while it runs, a table that moves on a terminal; on stdout its result at the end."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from clients.call import Call
from clients.observations import Closed, Refused
from clients.summary import Check, Tally

MOST_ROWS = 20
REFRESH_S = 0.5
LINE_EVERY_S = 10.0
STATE_STYLES = {
    "speaking": "cyan",
    "answering": "green",
    "waiting": "blue",
    "reconnecting": "yellow",
    "cut": "red",
    "refused": "red",
}
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


class View:
    """The hold while it runs; without a terminal a line now and then.

    `watch` shows it until it is cancelled. `leave` gives the terminal back, from any state.
    """

    def __init__(self, calls: Sequence[Call], tally: Tally, lasts_s: float) -> None:
        self._calls = calls
        self._tally = tally
        self._lasts_s = lasts_s
        self._began = time.monotonic()
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    async def watch(self) -> None:
        if not self._console.is_terminal:
            while True:
                await asyncio.sleep(LINE_EVERY_S)
                self._console.print(self._totals(), soft_wrap=True)
        with self._live:
            while True:
                self._live.update(self._picture(), refresh=True)
                await asyncio.sleep(REFRESH_S)

    def leave(self) -> None:
        self._live.stop()

    def _picture(self) -> Group:
        many = len(self._calls) > MOST_ROWS
        return Group(self._by_revision() if many else self._rows(), self._totals())

    def _totals(self) -> Text:
        tally, states = self._tally, Counter(call.state for call in self._calls)
        passed = min(time.monotonic() - self._began, self._lasts_s)
        parts = [
            f"{passed:.0f} of {self._lasts_s:.0f} s",
            f"{sum(call.session is not None for call in self._calls)} of {len(self._calls)} sessions open",
            f"{tally.held} so far",
            f"{len(tally.cuts)} cut",
            f"{len(tally.refusals)} refused",
            f"{tally.turns.total()} turns, {tally.failed_turns} failed",
            ", ".join(f"{count} {state}" for state, count in states.most_common()),
        ]
        return Text("  ".join(parts))

    def _rows(self) -> Table:
        table = Table("call", "kind", "revision", "replica", box=None, header_style="bold")
        for heading in ("age s", "turns", "RTT ms", "first audio ms"):
            table.add_column(heading, justify="right")
        table.add_column("state")
        for call in self._calls:
            session = call.session
            connection = session and session.connection
            table.add_row(
                str(call.number),
                call.kind.name,
                Text((connection and connection.revision) or "-"),
                Text((connection and connection.replica) or "-"),
                f"{time.monotonic() - session.opened_at:.0f}" if session else "-",
                str(call.turns),
                _number(call.rtt_ms),
                _number(call.first_audio_ms),
                Text(call.state, STATE_STYLES.get(call.state, "")),
            )
        return table

    def _by_revision(self) -> Table:
        open_now = Counter(call.session.connection.revision for call in self._calls if call.session)
        table = Table("revision", box=None, header_style="bold")
        for heading in ("open", "opened in all", "cut"):
            table.add_column(heading, justify="right")
        cut = Counter(cut.revision for cut in self._tally.cuts)
        for revision, count in self._tally.by_revision.most_common():
            table.add_row(Text(revision or "unknown"), str(open_now[revision]), str(count), str(cut[revision]))
        return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def show(tally: Tally, checks: Sequence[Check], held_for: str) -> None:
    """The result: what was measured, what survived, and each cut session in words."""
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
