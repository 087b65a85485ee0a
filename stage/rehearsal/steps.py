"""The rehearsal for eyes while it runs, on stderr: a line a step, the one under way with a spinner on a terminal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


class Steps:
    """Steps follow each other; none is inside another. Quiet, they are not shown."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._began = time.monotonic()
        self._console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True, quiet=quiet)
        self._status = self._console.status("")

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step: shown while it runs and, done or broken, with the second at which it ended."""
        self.now(title)
        self._status.start()
        try:
            yield
        except BaseException:
            self._line("broken", title)
            raise
        finally:
            self._status.stop()
        self._line("done", title)

    def now(self, detail: str) -> None:
        """What the step is at; for terminals only."""
        self._status.update(detail)

    def say(self, text: str) -> None:
        self._console.print(text)

    def _line(self, how: str, title: str) -> None:
        self._console.print(
            f"{time.monotonic() - self._began:6.1f} s  {how:7}{title}", style="red" if how == "broken" else ""
        )
