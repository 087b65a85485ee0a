"""A hold for eyes while it runs, on stderr: a table that moves on a terminal, else a line now and then."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from clients.call import Call
from clients.summary import Tally

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


class View:
    """`watch` shows until it is cancelled. `leave` gives the terminal back, from any state."""

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
        facts = [
            f"{passed:.0f} of {self._lasts_s:.0f} s",
            f"{sum(call.session is not None for call in self._calls)} of {len(self._calls)} sessions open",
            f"{tally.held} so far",
            f"{len(tally.cuts)} cut",
            f"{len(tally.refusals)} refused",
            f"{tally.turns.total()} turns, {tally.failed_turns} failed",
            ", ".join(f"{count} {state}" for state, count in states.most_common()),
        ]
        return Text("  ".join(facts))

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
