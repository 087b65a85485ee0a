"""The figures by name: what people call them, their unit, how exact they are, and whether more or less is better."""

from typing import NamedTuple


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
