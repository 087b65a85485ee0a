"""A result as rows of text, which the page has too; for the terminal, and as the table of the README."""

import sys
from typing import NamedTuple, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.result import ADDED, FIGURES, OURS, Figure, Result, Shape
from bench.targets import Judged, judge, tally

NOTHING = "-"
WIDTH = 100
"""Columns, where no terminal gives them: a file, a pipe, CI."""
COLOURS = {"met": "green", "missed": "bold red", "not measured": "yellow"}
README = (
    ("CPU per frame, µs", "cpu_us_per_frame", ("steady", "steady-tls")),
    ("RSS per session, KB", "rss_load_kb", ("steady", "steady-tls")),
    ("added p99, µs", "added_p99_us", ("steady", "steady-tls")),
    ("handshakes/s", "handshakes_per_s", ("handshakes", "handshakes-tls")),
)
"""Heads of the README's columns, each the figure with the model on plaintext and on TLS."""


class Cell(NamedTuple):
    text: str
    best: bool = False


class Row(NamedTuple):
    peer: str
    cells: tuple[Cell, ...]
    rounds: str
    """How many counted, of how many."""


class Remark(NamedTuple):
    text: str
    void: bool = False


def columns(shape: Shape) -> list[Figure]:
    """The figures that any peer has; a latency as it was measured only where what was added is not known."""
    has = {name for name in FIGURES if any(shape.values(peer, name) for peer in shape.peers)}
    has -= {raw for added, raw in ADDED.items() if added in has}
    return [figure for name, figure in FIGURES.items() if name in has]


def rows(shape: Shape) -> list[Row]:
    """One a peer: medians of the rounds that count."""
    figures = columns(shape)
    best = {figure.name: _best(shape, figure) for figure in figures}
    rows = []
    for peer in shape.peers:
        cells = (_cell(shape.median(peer, each.name), each, best[each.name]) for each in figures)
        rows.append(Row(peer, tuple(cells), f"{_counted(shape, peer)}/{len(shape.rounds)}"))
    return rows


def remarks(shape: Shape) -> list[Remark]:
    """What a reader must know beside the rows: void rounds and why, notes, and what was measured without a peer."""
    void: dict[tuple[str, str], list[int]] = {}
    notes: dict[str, dict[str, None]] = {}
    for number, figures in enumerate(shape.rounds, start=1):
        for peer, each in figures.items():
            if each.void:
                void.setdefault((peer, each.void), []).append(number)
            if each.note:
                notes.setdefault(each.note, {})[peer] = None
    remarks = [Remark(f"{peer}, {_which(shape, numbers)} void: {why}", True) for (peer, why), numbers in void.items()]
    remarks += [Remark(f"{', '.join(peers)}: {note}") for note, peers in notes.items()]
    if shape.baseline and (direct := _direct(shape, shape.baseline)):
        remarks.append(Remark(f"without a peer: {direct}; what a peer adds is above that, round by round"))
    return remarks


def _which(shape: Shape, numbers: list[int]) -> str:
    if len(numbers) == len(shape.rounds):
        return "every round"
    return f"round{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _direct(shape: Shape, baseline: str) -> str:
    figures = ((FIGURES[raw], shape.median(baseline, raw)) for raw in ADDED.values())
    return ", ".join(f"{each.head} {each.text(value)} {each.unit}" for each, value in figures if value is not None)


def _best(shape: Shape, figure: Figure) -> str:
    """As text: what looks the same in the table is as good. Empty when there is nothing to compare."""
    values = [value for peer in shape.peers if (value := shape.median(peer, figure.name)) is not None]
    if len(values) < 2 or not figure.ranked:
        return ""
    return figure.text(max(values) if figure.more_is_better else min(values))


def _cell(value: float | None, figure: Figure, best: str) -> Cell:
    text = NOTHING if value is None else figure.text(value)
    return Cell(text, text == best)


def _counted(shape: Shape, peer: str) -> int:
    return sum(peer in figures and not figures[peer].void for figures in shape.rounds)


def say(what: str, shape: str = "") -> None:
    """A line on stderr for the person who waits; of a shape where there is one."""
    print(f"bench: {f'{shape}: ' if shape else ''}{what}", file=sys.stderr, flush=True)  # noqa: T201


def show(result: Result, stream: TextIO) -> None:
    """Everything: a table a shape, the targets, peers that are not here. Colours and its own width on a terminal."""
    seen = stream.isatty()
    console = Console(file=stream, force_terminal=seen, width=None if seen else WIDTH, highlight=False, markup=False)
    for shape in result.shapes:
        console.print(Text(f"{shape.name}: {shape.title}", "bold"))
        console.print(_shape(shape))
        for remark in remarks(shape):
            console.print(Text(f"  {remark.text}", "red" if remark.void else "dim"))
        console.print()
    if judged := [each for each in judge(result) if result.shape(each.target.shape)]:
        console.print(_targets(judged))
        console.print(Text(tally(judged), "bold"))
    for peer, get in result.missing.items():
        console.print(Text(f"{peer} is not here; to get it: {get}", "yellow"))
    console.print(Text(f"{result.machine}; {result.date}", "dim"))


def _shape(shape: Shape) -> Table:
    table = Table("peer", box=SIMPLE_HEAD, show_edge=False)
    for figure in columns(shape):
        table.add_column(f"{figure.head}\n{figure.unit}", justify="right")
    table.add_column("rounds", justify="right")
    for row in rows(shape):
        ours = row.peer == OURS
        cells = (Text(cell.text, "bold" if cell.best else "") for cell in row.cells)
        name = Text(f"> {row.peer}" if ours else f"  {row.peer}", "bold" if ours else "")
        table.add_row(name, *cells, row.rounds, style="cyan" if ours else "")
    return table


def _targets(judged: list[Judged]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False)
    for name in ("shape", "target"):
        table.add_column(name, no_wrap=True)
    for name in ("limit", "measured", "rounds"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for each in judged:
        measured = NOTHING if each.value is None else each.target.text(each.value)
        word = Text(each.word + (f": {each.why}" if each.why else ""), COLOURS[each.word])
        rounds = str(each.rounds) if each.rounds else NOTHING
        table.add_row(each.target.shape, str(each.target), each.target.wanted, measured, rounds, word)
    return table


def markdown(result: Result) -> str:
    """One row a peer, each cell ``plaintext / TLS``; our row bold."""
    head = "".join(f" {title} |" for title, _, _ in README)
    lines = [f"| plaintext / TLS |{head}", f"|---|{'---:|' * len(README)}"]
    for peer in result.peers:
        cells = [" / ".join(_median(result, shape, peer, figure) for shape in both) for _, figure, both in README]
        lines.append(f"| {' | '.join(f'**{cell}**' if peer == OURS else cell for cell in (peer, *cells))} |")
    return "\n".join(lines) + "\n"


def _median(result: Result, name: str, peer: str, figure: str) -> str:
    shape = result.shape(name)
    value = shape.median(peer, figure) if shape else None
    return NOTHING if value is None else FIGURES[figure].text(value)
