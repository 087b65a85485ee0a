"""The result of a run beside a commit: for the terminal, as the file, and as a picture.

The picture has a dot a window, the median and its interval: a row a shape.
"""

import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from bench.beside.statistic import COARSE, ENOUGH, LIMIT, Spread, spread
from bench.beside.windows import Window
from bench.result import Machine

WAITED = 0.05
"""From this part of the time on it is reported that another process had the relays' core."""
WIDTH_IN, ROW_IN, FRAME_IN = 7.0, 0.8, 1.5
_FURTHEST = 0.25
"""From 1: a ratio beyond is drawn at the edge, so that those near 1 can be distinguished."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The windows of one shape, those that do not count included."""

    name: str
    title: str
    windows: tuple[Window, ...]

    @property
    def ratios(self) -> list[float]:
        return [each.ratio for each in self.windows if each.ratio is not None]

    @property
    def spread(self) -> Spread | None:
        return spread(self.ratios)

    def median_us(self, side: str) -> float:
        """CPU per frame of ``ours`` or of ``before``."""
        counted = (each for each in self.windows if not each.void)
        return statistics.median(each.ours_us if side == "ours" else each.before_us for each in counted)

    @property
    def held(self) -> bool:
        return bool(self.spread and self.spread.held)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`before` and `ours` say which files; `load_average` is the machine's, when the run began and when it ended."""

    command: str
    date: str
    machine: Machine
    interpreter: str
    before: str
    ours: str
    seconds: float
    load_average: tuple[float, float]
    shapes: tuple[Shape, ...]

    @property
    def held(self) -> bool:
        """At most 1.02 in every shape."""
        return bool(self.shapes) and all(shape.held for shape in self.shapes)


def dump(result: Comparison, file: Path) -> None:
    """Writes all of it as JSON, the windows one by one."""
    file.write_bytes(orjson.dumps(_raw(result), option=orjson.OPT_INDENT_2) + b"\n")


def _raw(result: Comparison) -> dict[str, Any]:
    shapes = [
        {
            "name": shape.name,
            "title": shape.title,
            "held": shape.spread.held if shape.spread else [],
            "spread": asdict(shape.spread) if shape.spread else None,
            "windows": [asdict(each) | {"ratio": each.ratio} for each in shape.windows],
        }
        for shape in result.shapes
    ]
    return {**asdict(result), "limit": LIMIT, "held": result.held, "shapes": shapes}


def lines(result: Comparison) -> Iterator[str]:
    """For the terminal: figures first, then what they mean, then where they were measured."""
    yield "CPU per frame, ours / before: the median of windows that are a turn of each, neighbours in time"
    yield f"  ours:   {result.ours}"
    yield f"  before: {result.before}"
    yield ""
    yield f"{'shape':12}{'windows':>8}{'ours, µs':>10}{'before, µs':>12}{'median':>9}  {'quartiles':18}95 % interval"
    for shape in result.shapes:
        yield _figures(shape)
    yield ""
    for shape in result.shapes:
        yield f"{shape.name}: {_meaning(shape)}"
        yield from (f"{shape.name}: {remark}" for remark in _remarks(shape))
    yield ""
    began, ended = result.load_average
    yield f"{result.machine}; {result.interpreter}; load average {began:.1f}, at the end {ended:.1f}; {result.date}"
    yield "The interval is of order statistics: it takes nothing for granted on how the ratios are spread."


def _figures(shape: Shape) -> str:
    count = f"{len(shape.ratios)}/{len(shape.windows)}"
    spread = shape.spread
    if spread is None:
        return f"{shape.name:12}{count:>8}{'-':>10}{'-':>12}{'-':>9}  {'-':18}-"
    ours, before = (f"{shape.median_us(side):.2f}" for side in ("ours", "before"))
    quartiles = f"{spread.lower_quartile:.4f} {spread.upper_quartile:.4f}"
    within = "-"
    if spread.interval:
        # Ordinals of n smallest: which two of the ratios it is.
        high = spread.count + 1 - spread.interval.rank
        within = f"{spread.interval.low:.4f} {spread.interval.high:.4f}"
        within += f" (no. {spread.interval.rank} and {high} of {spread.count})"
    return f"{shape.name:12}{count:>8}{ours:>10}{before:>12}{spread.median:>9.4f}  {quartiles:18}{within}"


def _meaning(shape: Shape) -> str:
    spread = shape.spread
    if spread is None or not spread.decided:
        return f"not decided: {len(shape.ratios)} windows counted, {ENOUGH} are needed"
    if spread.held:
        return f"at most {LIMIT}: {', and '.join(spread.held)}"
    return f"NOT at most {LIMIT}: the median is {spread.median:.4f}, and the whole interval is above 1.00"


def _remarks(shape: Shape) -> Iterator[str]:
    void = Counter(each.void.partition(":")[2].strip().rstrip("0123456789. ms%") for each in shape.windows if each.void)
    for why, count in void.items():
        yield f"{count} window{'s' if count > 1 else ''} void: {why}"
    spread = shape.spread
    if spread and spread.decided and spread.interval and spread.interval.high - spread.interval.low > COARSE:
        yield "the interval is wide: it takes a quiet machine, or more --windows, to tell some percent from nothing"
    waited = statistics.median(each.waited for each in shape.windows) if shape.windows else 0.0
    if waited > WAITED:
        yield f"another process had the relays' core for {100 * waited:.0f} % of the time"


def png(result: Comparison, file: Path) -> bool:
    """False when no window counts, and nothing is drawn."""
    shapes = [(shape, spread) for shape in result.shapes if (spread := shape.spread)]
    if not shapes:
        return False
    # Here, because it takes longer to import than all the rest.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from bench.plot import ACCENT, ACCENT_LIGHT, DPI, GREY, INK, PAPER, SOFT, STYLE

    height = FRAME_IN + ROW_IN * len(shapes)
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, height))
        axes = figure.subplots()
        axes.spines[:].set_visible(False)
        axes.axvline(1, color=GREY, lw=1)
        axes.axvline(LIMIT, color=GREY, lw=1, ls=":")
        for row, (shape, spread) in enumerate(shapes):
            dots = [min(max(each, 1 - _FURTHEST), 1 + _FURTHEST) for each in shape.ratios]
            # Window by window downwards, so that none hides another.
            places = [row + 0.35 * (2 * i / len(dots) - 1) for i in range(len(dots))]
            axes.plot(dots, places, "o", ms=3, mfc=ACCENT_LIGHT, mec=PAPER, mew=0.4)
            within = ""
            if spread.interval:
                axes.plot([spread.interval.low, spread.interval.high], [row, row], color=ACCENT, lw=4)
                within = f" ({spread.interval.low:.3f} to {spread.interval.high:.3f})"
            axes.plot([spread.median], [row], "D", ms=7, mfc=ACCENT, mec=PAPER)
            text = f"{spread.median:.4f}{within}"
            axes.annotate(text, (spread.median, row - 0.42), color=INK, fontsize=9, ha="center", fontweight="bold")
        axes.set_yticks(range(len(shapes)), [shape.name for shape, _ in shapes])
        axes.set_ylim(len(shapes) - 0.4, -0.65)
        axes.tick_params(length=0, colors=INK)
        figure.subplots_adjust(left=0.13, right=0.97, top=1 - 0.7 / height, bottom=0.55 / height)
        title = "CPU per frame, ours / before"
        figure.text(0.02, 1 - 0.12 / height, title, fontsize=10, fontweight="bold", color=INK, va="top")
        legend = f"A dot a window; the median and its 95 % interval. Dotted: {LIMIT}. Less is better."
        legend += f" Before: {result.before}"
        figure.text(0.02, 1 - 0.36 / height, legend, fontsize=8, color=SOFT, va="top")
        figure.text(
            0.02,
            0.1 / height,
            f"{result.interpreter} · {result.date} · {result.command}",
            fontsize=6.5,
            color=SOFT,
        )
        figure.savefig(file, dpi=DPI, facecolor=PAPER, metadata={"Software": None})
    return True
