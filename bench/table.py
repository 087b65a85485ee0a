"""A result for the terminal, and as the table of the README."""

from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.figures import FIGURES
from bench.result import OURS, Result, Shape
from bench.rows import NOTHING, columns, remarks, rows
from bench.targets import Judged, judge, tally

WIDTH = 100
"""Where nobody tells: a file, a pipe, CI."""
COLOURS = {"met": "green", "missed": "bold red", "not measured": "yellow"}


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


README = (
    ("CPU per frame, µs", "cpu_us_per_frame", ("steady", "steady-tls")),
    ("RSS per session, KB", "rss_load_kb", ("steady", "steady-tls")),
    ("added p99, µs", "added_p99_us", ("steady", "steady-tls")),
    ("handshakes/s", "handshakes_per_s", ("handshakes", "handshakes-tls")),
)
"""Heads of the README's columns, each the figure with the model on plaintext and on TLS."""


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
