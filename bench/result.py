"""What a run of the bench measures: figures and their names, medians over the rounds that count, ratios; and its file.

A shared machine can be twice as slow an hour later, so figures are only ever compared inside a run: a peer with what
was measured without any peer in the same round, a relay with another by the medians of the rounds in which both count.
"""

import os
import platform
import statistics
import sysconfig
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import orjson

OURS = "rtproxy"
ADDED = {"added_p50_us": "p50_us", "added_p99_us": "p99_us"}
"""Derived, never in a file: what a peer was measured at, less what the load was measured at without a peer."""


class Figure(NamedTuple):
    """`title` is for sentences, `head` and `unit` for the head of a column."""

    name: str
    title: str
    head: str
    unit: str
    digits: int
    more_is_better: bool = False
    ranked: bool = True

    def text(self, value: float) -> str:
        return f"{value:,.{self.digits}f}"


FIGURES = {
    each.name: each
    for each in (
        Figure("cpu_us_per_frame", "CPU per frame", "CPU", "µs/frame", 2),
        Figure("added_p50_us", "added p50 latency", "added p50", "µs", 0),
        Figure("added_p99_us", "added p99 latency", "added p99", "µs", 0),
        Figure("p50_us", "p50 latency", "p50", "µs", 0),
        Figure("p99_us", "p99 latency", "p99", "µs", 0),
        Figure("rss_idle_kb", "RSS per idle session", "RSS idle", "KB/session", 1),
        Figure("rss_load_kb", "RSS per session", "RSS load", "KB/session", 1),
        Figure("rss_mb", "RSS of the process", "RSS", "MB", 0),
        Figure("handshakes_per_s", "handshakes", "handshakes", "/s", 0, more_is_better=True),
        Figure("drain_s", "drain", "drain", "s", 1),
        Figure("p99_during_us", "p99 latency during the drain", "p99 in drain", "µs", 0),
        Figure("lag_p99_us", "lag of the load", "load's lag", "p99 µs", 0, ranked=False),
    )
}
"""In the order of a table's columns."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One peer in one round; None is what its shape does not measure. A set with a `void` sentence does not count."""

    cpu_us_per_frame: float | None = None
    p50_us: float | None = None
    p99_us: float | None = None
    rss_idle_kb: float | None = None
    rss_load_kb: float | None = None
    rss_mb: float | None = None
    handshakes_per_s: float | None = None
    frames: float | None = None
    lag_p99_us: float | None = None
    drain_s: float | None = None
    p99_during_us: float | None = None
    void: str | None = None
    note: str | None = None

    def value(self, figure: str) -> float | None:
        value: float | None = None if self.void else getattr(self, figure)
        return value


@dataclass(frozen=True, slots=True)
class Shape:
    """`baseline` is the name under which a round holds what was measured without a peer."""

    name: str
    title: str
    rounds: tuple[dict[str, Figures], ...]
    baseline: str | None = None

    @property
    def peers(self) -> list[str]:
        return [name for name in dict.fromkeys(chain(*self.rounds)) if name != self.baseline]

    def values(self, peer: str, figure: str) -> dict[int, float]:
        """By round, of the rounds that count; a latency that was added counts when its baseline does."""
        values = {}
        for number, figures in enumerate(self.rounds, start=1):
            value = figures.get(peer, Figures()).value(ADDED.get(figure, figure))
            if value is not None and figure in ADDED:
                direct = figures.get(self.baseline or "", Figures()).value(ADDED[figure])
                value = None if direct is None else value - direct
            if value is not None:
                values[number] = value
        return values

    def median(self, peer: str, figure: str) -> float | None:
        values = self.values(peer, figure).values()
        return statistics.median(values) if values else None

    def ratio(self, figure: str, against: str, peer: str = OURS) -> "Ratio | None":
        """None without a round in which both count, and where a median is not above 0: that is below the noise."""
        ours, theirs = self.values(peer, figure), self.values(against, figure)
        both = ours.keys() & theirs.keys()
        if not both:
            return None
        own, other = (statistics.median(values[number] for number in both) for values in (ours, theirs))
        return Ratio(own / other, len(both)) if own > 0 and other > 0 else None


@dataclass(frozen=True, slots=True)
class Ratio:
    value: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Machine:
    cpu: str
    cores: int
    kernel: str
    python: str
    memory_gb: float

    def __str__(self) -> str:
        return f"{self.cpu}, {self.cores} cores, {self.memory_gb:g} GB, Linux {self.kernel}, Python {self.python}"


@dataclass(frozen=True, slots=True)
class Result:
    """`date` is UTC in ISO 8601; `missing` has for each peer that is not installed how to get it."""

    command: str
    date: str
    machine: Machine
    versions: dict[str, str]
    missing: dict[str, str]
    shapes: tuple[Shape, ...]

    def shape(self, name: str) -> Shape | None:
        return next((shape for shape in self.shapes if shape.name == name), None)

    @property
    def peers(self) -> list[str]:
        return list(dict.fromkeys(chain.from_iterable(shape.peers for shape in self.shapes)))


def dump(result: Result, file: Path) -> None:
    file.write_bytes(orjson.dumps(asdict(result, dict_factory=_present), option=orjson.OPT_INDENT_2) + b"\n")


def _present(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in pairs if value is not None}


def machine() -> Machine:
    """This machine, as the kernel describes it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kernel = platform.release().split("-")[0]
    return Machine(cpu, os.cpu_count() or 1, kernel, platform.python_version(), round(memory))


def interpreter() -> str:
    """``CPython 3.11.7, built without optimisation``: a build with profiles runs a frame 6 to 9 % faster."""
    flags = sysconfig.get_config_var("CONFIG_ARGS") or ""
    how = "with optimisation (profiles)" if "--enable-optimizations" in flags else "without optimisation (no profiles)"
    return f"{platform.python_implementation()} {platform.python_version()}, built {how}"
