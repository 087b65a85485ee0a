"""What a run beside a commit found: for the terminal, and as the file."""

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
"""Another process had the relays' core for this part of the time: that is said."""


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


def dump(found: Comparison, file: Path) -> None:
    """Writes all of it as JSON, the windows one by one."""
    file.write_bytes(orjson.dumps(_raw(found), option=orjson.OPT_INDENT_2) + b"\n")


def _raw(found: Comparison) -> dict[str, Any]:
    shapes = [
        {
            "name": shape.name,
            "title": shape.title,
            "held": shape.spread.held if shape.spread else [],
            "spread": asdict(shape.spread) if shape.spread else None,
            "windows": [asdict(each) | {"ratio": each.ratio} for each in shape.windows],
        }
        for shape in found.shapes
    ]
    return {**asdict(found), "limit": LIMIT, "held": found.held, "shapes": shapes}


def lines(found: Comparison) -> Iterator[str]:
    """For the terminal: figures first, then what they mean, then where they were measured."""
    yield "CPU per frame, ours / before: the median of windows that are a turn of each, neighbours in time"
    yield f"  ours:   {found.ours}"
    yield f"  before: {found.before}"
    yield ""
    yield f"{'shape':12}{'windows':>8}{'ours, µs':>10}{'before, µs':>12}{'median':>9}  {'quartiles':18}95 % interval"
    for shape in found.shapes:
        yield _figures(shape)
    yield ""
    for shape in found.shapes:
        yield f"{shape.name}: {_meaning(shape)}"
        yield from (f"{shape.name}: {remark}" for remark in _remarks(shape))
    yield ""
    began, ended = found.load_average
    yield f"{found.machine}; {found.interpreter}; load average {began:.1f}, at the end {ended:.1f}; {found.date}"
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
