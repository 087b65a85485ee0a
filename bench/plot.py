"""The figure: what a relayed frame costs in CPU, a session in memory and a relay in latency, ours beside the others.

Per peer an upper bar for the model on plaintext and a lower, lighter one for TLS. One drawing, two ways out: a PNG for
the README, and SVG whose colours are the page's own, so that it follows the reader into the dark.
"""

import io
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from bench.bars import ACCENT, ACCENT_LIGHT, GREY, GREY_LIGHT, INK, PAPER, PLAIN, SOFT, TLS, panel
from bench.result import OURS, Result

TITLE = f"What it costs to relay a realtime call: {OURS} and its peers, on one core"
PANELS = (
    ("CPU per relayed frame, µs", "cpu_us_per_frame", "{:.1f}"),
    ("RSS per session under load, KB", "rss_load_kb", "{:.0f}"),
    ("Added latency p50 / p99, µs", "added_p99_us", "{:,.0f}"),
)
THEME = {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    PAPER: "var(--page)",
    ACCENT: "var(--ours)",
    ACCENT_LIGHT: "var(--ours-light)",
    GREY: "var(--other)",
    GREY_LIGHT: "var(--other-light)",
}
"""The colours of the drawing, and what they are called in the style of the page."""
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "text.parse_math": False,  # a dollar sign in the name of a machine is one
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",
}
FONT = "DejaVu Sans"
WIDTH_IN, ROW_IN, FRAME_IN, DPI = 10.0, 0.52, 1.75, 140


def png(result: Result, file: Path) -> None:
    """1400 pixels wide, on white."""
    with rc_context(STYLE):
        _drawing(result).savefig(file, dpi=DPI, facecolor=PAPER, metadata={"Software": None})


def svg(result: Result) -> str:
    """An ``<svg>`` to stand in a page whose style has the colours of `THEME`; its text is text."""
    with rc_context(STYLE):
        out = io.StringIO()
        _drawing(result).savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = out.getvalue()
    for colour, name in THEME.items():
        drawn = drawn.replace(colour, name)
    return drawn[drawn.index("<svg") :].replace(f"'{FONT}'", "system-ui, sans-serif")


def shown(result: Result) -> list[str]:
    """The peers of the figure, the cheapest frame first; none: nothing of a steady shape was measured."""
    costs: dict[str, float] = {}
    for shape in (result.shape(TLS), result.shape(PLAIN)):
        for peer in shape.peers if shape else ():
            if shape and (cost := shape.median(peer, "cpu_us_per_frame")) is not None:
                costs[peer] = cost
    return sorted(costs, key=lambda peer: costs[peer])


def _drawing(result: Result) -> Figure:
    peers = shown(result)
    height = FRAME_IN + ROW_IN * max(len(peers), 1)
    figure = Figure(figsize=(WIDTH_IN, height))
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for axes, (title, name, form) in zip(panels, PANELS, strict=True):
        panel(axes, result, peers, name, form)
        axes.set_title(title, loc="left", fontsize=9, color=INK, fontweight="bold", pad=8)
    panels[0].set_yticks(range(len(peers)), peers)
    panels[0].set_ylim(len(peers) - 0.5, -0.5)
    for label in panels[0].get_yticklabels():
        label.set(color=ACCENT if label.get_text() == OURS else INK, fontsize=10)
        label.set_fontweight("bold" if label.get_text() == OURS else "normal")
    figure.subplots_adjust(left=0.085, right=0.985, top=1 - 1.05 / height, bottom=0.42 / height, wspace=0.08)
    figure.text(0.012, 1 - 0.16 / height, TITLE, fontsize=13, fontweight="bold", color=INK, va="top")
    figure.text(0.012, 1 - 0.43 / height, _subtitle(result), fontsize=9, color=SOFT, va="top")
    figure.text(0.012, 0.1 / height, f"{result.machine} · {result.date} · {result.command}", fontsize=7.5, color=SOFT)
    return figure


def _subtitle(result: Result) -> str:
    shape = result.shape(PLAIN) or result.shape(TLS)
    if shape is None:
        return ""
    rounds = len(shape.rounds)
    medians = f"Medians of {rounds} rounds, a dot for each." if rounds > 1 else "One round."
    return f"{shape.title.partition(', plain')[0].partition(', TLS')[0]}. {medians} Less is better."
