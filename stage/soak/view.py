"""The run for eyes while it lasts, on stderr: one line that moves on a terminal, else a line now and then."""

import time

from rich.console import Console

from stage.soak.check import Check
from stage.soak.samples import Sample

LINE_EVERY_S = 10.0
MOST_PROBLEMS = 20


class View:
    """``now`` tells of a sample, ``say`` of a step."""

    def __init__(self, lasts_s: float) -> None:
        self._lasts_s = lasts_s
        self._console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._status = self._console.status("")
        self._said_at = 0.0

    def __enter__(self) -> "View":
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._status.stop()

    def say(self, text: str) -> None:
        self._status.update(text)
        self._console.print(f"soak: {text}")

    def now(self, sample: Sample) -> None:
        facts = (
            f"{min(sample.at, self._lasts_s):.0f} of {self._lasts_s:.0f} s",
            f"{sample.sessions} calls",
            f"{sample.ended} ended",
            f"{sample.frames} frames",
            f"{sample.rss_kb / 1024:.1f} MB",
            f"{sample.descriptors} descriptors",
            f"{sample.tasks} tasks",
            f"answers in {sample.answer_ms:.1f} ms",
        )
        line = "  ".join(facts)
        self._status.update(line)
        if not self._console.is_terminal and time.monotonic() - self._said_at >= LINE_EVERY_S:
            self._said_at = time.monotonic()
            self._console.print(line)


def show(checks: list[Check], headline: str) -> None:
    """The verdict on stdout: a line a check, then its problems, as far as one can read them."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for check in checks:
        word = "held  " if check.held else "FAILED"
        console.print(f"{word} {check.name:42} {check.measured}", style="" if check.held else "bold red")
        for problem in check.problems[:MOST_PROBLEMS]:
            console.print(f"         {problem}", style="red")
        if len(check.problems) > MOST_PROBLEMS:
            console.print(f"         and {len(check.problems) - MOST_PROBLEMS} more of these", style="red")
    console.print(headline, style="bold")
