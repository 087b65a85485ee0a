"""The figure: what a relayed frame costs in CPU, a session in memory and a relay in latency, ours beside the others.

Per peer an upper bar for the model on plaintext and a lower, lighter one for TLS. One drawing, two forms: a PNG for
the README, and SVG whose colours are the page's own, so that it follows the reader into the dark.
"""

import io
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.result import OURS, Result

INK, SOFT, PAPER = "#22272e", "#5b6470", "#ffffff"
ACCENT, ACCENT_LIGHT, GREY, GREY_LIGHT = "#0072b2", "#7fb8d9", "#8d96a0", "#c9ced4"
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
PLAIN, TLS = "steady", "steady-tls"
UPSTREAM = {PLAIN: "plaintext", TLS: "TLS"}
BAR, OFFSET = 0.36, 0.2
"""In rows: how thick a bar is, and how far from the middle of its row."""
LETTER = 0.025
"""Of the width of a panel: what a letter of a label takes at most."""
LONGEST = 4
"""Times the median of its panel; a bar beyond is cut off there, so that the others can still be distinguished."""


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


def panel(axes: Axes, result: Result, peers: list[str], name: str, form: str) -> None:
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xticks([])
    bars = [(statistics.median(bar.rounds), bar) for bar in _bars(result, peers, name)]
    medians = [value for value, _ in bars] or [1.0]
    longest = max(min(max(medians), LONGEST * statistics.median(medians)), 0.1)
    widths = [longest]
    labelled: set[str] = set()
    for value, bar in bars:
        end = max(min(value, longest), 0)  # what a fast peer adds can be lost in the noise, below nothing
        text = form.format(value)
        if name == "added_p99_us":
            text = _latency(axes, bar, end) + text
        else:
            axes.barh(bar.y, end, BAR, color=bar.colour)
        dots = [each for each in bar.rounds if 0 <= each <= longest * 1.2] if len(bar.rounds) > 1 else []
        axes.plot(dots, [bar.y] * len(dots), "o", ms=3, mfc=INK, mec=PAPER, mew=0.5)
        text += " →" if value > longest else ""
        if bar.shape not in labelled:
            labelled.add(bar.shape)
            text += "\N{EN SPACE}" + UPSTREAM[bar.shape]
        widths.append(_label(axes, bar, max([end, *dots]), text))
    axes.set_xlim(0, max(widths))


def _latency(axes: Axes, bar: "Bar", p99: float) -> str:
    """A bar to the median and a line on to p99, which are too far apart for two bars; returns the median."""
    p50 = max(min(bar.p50, p99), 0)
    axes.plot([p50, p99], [bar.y, bar.y], color=bar.colour, lw=1.4, solid_capstyle="butt")
    axes.barh(bar.y, p50, BAR, color=bar.colour)
    return f"{bar.p50:,.0f} / "


def _label(axes: Axes, bar: "Bar", x: float, text: str) -> float:
    """Writes ``text`` beside ``x``; returns how wide the panel must be to hold it."""
    weight = "bold" if bar.peer == OURS else "normal"
    beside: dict[str, Any] = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
    axes.annotate(text, (x, bar.y), color=INK, fontsize=8, fontweight=weight, **beside)
    return x / max(1 - LETTER * (len(text) + 2), 0.1)


class Bar(NamedTuple):
    """Its place, whose and what it is, and its figure in the rounds that count."""

    y: float
    peer: str
    shape: str
    rounds: list[float]
    p50: float

    @property
    def colour(self) -> str:
        plain = self.shape == PLAIN
        if self.peer == OURS:
            return ACCENT if plain else ACCENT_LIGHT
        return GREY if plain else GREY_LIGHT


def _bars(result: Result, peers: list[str], name: str) -> Iterator[Bar]:
    for row, peer in enumerate(peers):
        for shape, y in ((result.shape(PLAIN), row - OFFSET), (result.shape(TLS), row + OFFSET)):
            if shape and (values := shape.values(peer, name)):
                yield Bar(y, peer, shape.name, list(values.values()), shape.median(peer, "added_p50_us") or 0.0)
