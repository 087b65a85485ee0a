"""A dot a window, the median and its interval: a row a shape."""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from bench.bars import ACCENT, ACCENT_LIGHT, GREY, INK, PAPER, SOFT
from bench.beside.report import Comparison
from bench.beside.statistic import LIMIT
from bench.plot import DPI, STYLE

WIDTH_IN, ROW_IN, FRAME_IN = 7.0, 0.8, 1.5
_FURTHEST = 0.25
"""From 1: a ratio beyond is drawn at the edge, so that those near 1 can be told apart."""


def png(found: Comparison, file: Path) -> bool:
    """False when no window counts, and nothing is drawn."""
    shapes = [(shape, spread) for shape in found.shapes if (spread := shape.spread)]
    if not shapes:
        return False
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
        legend = (
            f"A dot a window; the median and its 95 % interval. Dotted: {LIMIT}. Less is better. Before: {found.before}"
        )
        figure.text(0.02, 1 - 0.36 / height, legend, fontsize=8, color=SOFT, va="top")
        figure.text(
            0.02, 0.1 / height, f"{found.interpreter} · {found.date} · {found.command}", fontsize=6.5, color=SOFT
        )
        figure.savefig(file, dpi=DPI, facecolor=PAPER, metadata={"Software": None})
    return True
