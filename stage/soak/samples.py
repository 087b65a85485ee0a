"""Samples of the relay process from outside, and whether something grows with the calls that ended.

Memory and descriptors are the kernel's figures, tasks and totals are those of /metrics. Growth is the slope of a line
through the second half of the samples.

The line is Theil and Sen's, the median slope of all pairs: a frame of a megabyte that is in memory just then moves a
mean, and not this. Of memory it goes through the lowest of each last minute: what a flood took, an allocator gives
back seconds later, and that is a bump and no growth. It is judged by how far it rises over that half, so that a
longer run is a sharper one. Memory may rise by `RSS_KB`, which is what malloc and the calls' own ups and downs come
to: in half an hour with 500 calls some 22,000 end in the second half, and 100 bytes left behind by each of them would
be more. Nothing that a call makes is so small: its session, without all that hangs on it, is 136 bytes, and its
identifier another 65.

Under TLS and with the C library's malloc it may rise by `HOLES_KB` more for each of those calls: OpenSSL takes its
buffers from there, in blocks of many sizes, and between them holes stay. What malloc has in use is the same after 1,600
calls and after 8,300 (mallinfo2), with and without calls up. jemalloc, which the image has, leaves no such holes. A
connection that was lost sight of would be some 20 KB.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import NamedTuple

import aiohttp

RSS_KB, HOLES_KB = 2048, 2
DESCRIPTORS, TASKS, THREADS = 8, 8, 1
MOST_POINTS = 600
FLOOR_S = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """``at``: seconds since the relay started, ``answer_ms`` how long /metrics took; ended and frames are totals."""

    at: float
    rss_kb: int
    descriptors: int
    threads: int
    tasks: int
    sessions: int
    answer_ms: float
    ended: int
    frames: int

    @property
    def spare(self) -> int:
        """Descriptors that are no leg of a session: two of them a session has."""
        return self.descriptors - 2 * self.sessions


class Gauge:
    """Reads a relay; one connection to it stays open, so that asking costs no descriptor more."""

    def __init__(self, http: aiohttp.ClientSession, url: str, pid: int) -> None:
        self._http = http
        self._url = url
        self._proc = Path("/proc", str(pid))
        self._began = time.monotonic()
        self.series: dict[str, float] = {}

    async def read(self) -> Sample:
        """Now. Raises aiohttp.ClientError when the relay does not answer, OSError when it has ended."""
        asked = time.monotonic()
        async with self._http.get(f"{self._url}/metrics") as answer:
            text = await answer.text()
        took_s = time.monotonic() - asked
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        self.series = {name: float(value) for name, _, value in lines}
        status = dict(line.split(":", 1) for line in (self._proc / "status").read_text().splitlines())
        return Sample(
            at=round(asked - self._began, 3),
            rss_kb=int(status["VmRSS"].split()[0]),
            descriptors=len(os.listdir(self._proc / "fd")),
            threads=int(status["Threads"]),
            tasks=int(self.series["rtproxy_tasks"]),
            sessions=self.sum("rtproxy_sessions{"),
            answer_ms=round(took_s * 1000, 2),
            ended=self.sum("rtproxy_sessions_ended_total"),
            frames=self.sum("rtproxy_frames_total"),
        )

    def sum(self, name: str) -> int:
        """All series of a family, of the scrape before."""
        return int(sum(value for series, value in self.series.items() if series.startswith(name)))


class Growth(NamedTuple):
    """A rise over the second half of a run, of what, and how much of it is none."""

    what: str
    unit: str
    rise: float
    limit: float
    minutes: float
    ended: int

    @property
    def held(self) -> bool:
        return self.rise <= self.limit

    @property
    def words(self) -> str:
        per_minute = self.rise / self.minutes if self.minutes else 0.0
        said = f"{self.rise:+.1f} {self.unit} in {self.minutes:.1f} min ({per_minute:+.2f} a minute)"
        if self.unit == "KB" and self.ended:
            said += f", {self.rise * 1024 / self.ended:+.0f} bytes for each of {self.ended} calls that ended"
        return said


def growths(samples: Sequence[Sample], *, holes: bool = False) -> list[Growth]:
    """Of ``samples`` that were taken under load, in order of time; ``holes``: malloc leaves some under TLS."""
    half = second_half(samples)
    if len(half) < 3:
        return []
    minutes, ended = (half[-1].at - half[0].at) / 60, half[-1].ended - half[0].ended
    at = [each.at for each in half]

    def grown(what: str, unit: str, values: Sequence[float], limit: float) -> Growth:
        return Growth(what, unit, slope(at, values) * minutes * 60, limit, minutes, ended)

    memory, tasks = floor(at, [each.rss_kb for each in half], 10), floor(at, [each.tasks for each in half], 3)
    return [
        grown("memory", "KB", memory, RSS_KB + (HOLES_KB * ended if holes else 0)),
        grown("descriptors beyond two a session", "descriptors", [each.spare for each in half], DESCRIPTORS),
        grown("tasks", "tasks", tasks, TASKS),
        grown("threads", "threads", [each.threads for each in half], THREADS),
    ]


def second_half(samples: Sequence[Sample]) -> list[Sample]:
    """By time."""
    return [each for each in samples if each.at >= (samples[0].at + samples[-1].at) / 2]


def floor(at: Sequence[float], values: Sequence[int], parts: int) -> list[int]:
    """At each time the least value of the last `FLOOR_S`; of one of ``parts`` of the time where that is less.

    What is there for a moment is no growth. A burst of handshakes has dozens of tasks, on a busy machine for a second.
    """
    last_s = min(FLOOR_S, (at[-1] - at[0]) / parts)
    return [min(value for then, value in zip(at, values, strict=True) if 0 <= now - then <= last_s) for now in at]


def slope(at: Sequence[float], values: Sequence[float]) -> float:
    """Theil and Sen's, per second; of at most `MOST_POINTS` points, evenly taken."""
    step = len(at) // MOST_POINTS + 1
    points = list(zip(at, values, strict=True))[::step]
    slopes = [(b - a) / (t - s) for (s, a), (t, b) in combinations(points, 2) if t > s]
    return median(slopes) if slopes else 0.0
