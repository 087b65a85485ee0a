"""One panel of the figure: per peer an upper bar for the model on plaintext and a lower, lighter one for TLS."""

import statistics
from collections.abc import Iterator
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from bench.result import OURS, Result

PLAIN, TLS = "steady", "steady-tls"
UPSTREAM = {PLAIN: "plaintext", TLS: "TLS"}
INK, SOFT, PAPER = "#22272e", "#5b6470", "#ffffff"
ACCENT, ACCENT_LIGHT, GREY, GREY_LIGHT = "#0072b2", "#7fb8d9", "#8d96a0", "#c9ced4"
BAR, OFFSET = 0.36, 0.2
"""In rows: how thick a bar is, and how far from the middle of its row."""
LETTER = 0.025
"""Of the width of a panel: what a letter of a label takes at most."""
LONGEST = 4
"""Times the median of its panel; a bar beyond is cut off there, so that the others can still be told apart."""


def panel(axes: Axes, result: Result, peers: list[str], name: str, form: str) -> None:
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xticks([])
    bars = [(statistics.median(bar.rounds), bar) for bar in _bars(result, peers, name)]
    medians = [value for value, _ in bars] or [1.0]
    longest = max(min(max(medians), LONGEST * statistics.median(medians)), 0.1)
    widths = [longest]
    told: set[str] = set()
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
        if bar.shape not in told:
            told.add(bar.shape)
            text += "\N{EN SPACE}" + UPSTREAM[bar.shape]
        widths.append(_label(axes, bar, max([end, *dots]), text))
    axes.set_xlim(0, max(widths))


def _latency(axes: Axes, bar: "Bar", p99: float) -> str:
    """A bar to the median and a line on to p99, which are too far apart for two bars; says the median."""
    p50 = max(min(bar.p50, p99), 0)
    axes.plot([p50, p99], [bar.y, bar.y], color=bar.colour, lw=1.4, solid_capstyle="butt")
    axes.barh(bar.y, p50, BAR, color=bar.colour)
    return f"{bar.p50:,.0f} / "


def _label(axes: Axes, bar: "Bar", x: float, text: str) -> float:
    """Writes ``text`` beside ``x``; says how wide the panel must be to hold it."""
    weight = "bold" if bar.peer == OURS else "normal"
    beside: dict[str, Any] = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
    axes.annotate(text, (x, bar.y), color=INK, fontsize=8, fontweight=weight, **beside)
    return x / max(1 - LETTER * (len(text) + 2), 0.1)


class Bar(NamedTuple):
    """Where it stands, whose and what it is, and its figure in the rounds that count."""

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
