"""A shape as rows of text, for the terminal and the page alike."""

from typing import NamedTuple

from bench.figures import FIGURES, Figure
from bench.result import ADDED, Shape

NOTHING = "-"


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
    found = []
    for peer in shape.peers:
        cells = (_cell(shape.median(peer, each.name), each, best[each.name]) for each in figures)
        found.append(Row(peer, tuple(cells), f"{_counted(shape, peer)}/{len(shape.rounds)}"))
    return found


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
    said = [Remark(f"{peer}, {_which(shape, numbers)} void: {why}", True) for (peer, why), numbers in void.items()]
    said += [Remark(f"{', '.join(peers)}: {note}") for note, peers in notes.items()]
    if shape.baseline and (direct := _direct(shape, shape.baseline)):
        said.append(Remark(f"without a peer: {direct}; what a peer adds is above that, round by round"))
    return said


def _which(shape: Shape, numbers: list[int]) -> str:
    if len(numbers) == len(shape.rounds):
        return "every round"
    return f"round{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _direct(shape: Shape, baseline: str) -> str:
    found = ((FIGURES[raw], shape.median(baseline, raw)) for raw in ADDED.values())
    return ", ".join(f"{each.head} {each.text(value)} {each.unit}" for each, value in found if value is not None)


def _best(shape: Shape, figure: Figure) -> str:
    """As text: what looks the same in the table is as good. Empty when there is nothing to compare."""
    found = [value for peer in shape.peers if (value := shape.median(peer, figure.name)) is not None]
    if len(found) < 2 or not figure.ranked:
        return ""
    return figure.text(max(found) if figure.more_is_better else min(found))


def _cell(value: float | None, figure: Figure, best: str) -> Cell:
    text = NOTHING if value is None else figure.text(value)
    return Cell(text, text == best)


def _counted(shape: Shape, peer: str) -> int:
    return sum(peer in figures and not figures[peer].void for figures in shape.rounds)
