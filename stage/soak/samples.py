"""The relay process from outside: memory and descriptors as the kernel has them, tasks and totals as /metrics says."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp


@dataclass(frozen=True, slots=True)
class Sample:
    """``at`` is in seconds since the relay stood, ``answer_ms`` how long /metrics took; ended and frames are totals."""

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
        """Now. Raises aiohttp.ClientError when the relay does not answer, OSError when it is gone."""
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
