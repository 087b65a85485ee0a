"""Where a frame's time goes in our relay: a profile of the process while a shape runs."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.process import Running

TOOLS = ("py-spy", "perf")
"""py-spy shows Python and C functions as a flame graph, perf the kernel's too as a table."""


class Breakdown:
    """Records our relay with ``tool`` as long as it is entered; without a tool, or without our relay, nothing."""

    def __init__(self, tool: str | None, ours: list[Running], folder: Path, shape: str) -> None:
        self._tool = tool
        self._ours = ours
        self._file = folder / f"{shape}.{'svg' if tool == 'py-spy' else 'perf.data'}"
        self._recording: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if self._tool is None or not self._ours:
            return self
        program = shutil.which(self._tool, path=f"{Path(sys.executable).parent}:/usr/bin:/usr/local/bin")
        if program is None:
            raise RuntimeError(f"{self._tool} is not here; to get it: {_GET[self._tool]}")
        self._file.parent.mkdir(parents=True, exist_ok=True)
        pid = str(self._ours[0].process.pid)
        record = {
            "py-spy": [program, "record", "--native", "--rate", "500", "--pid", pid, "--output", str(self._file)],
            "perf": [program, "record", "-q", "-g", "-e", "cpu-clock", "-F", "4000", "-p", pid, "-o", str(self._file)],
        }[self._tool]
        self._recording = subprocess.Popen(record, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._recording is None:
            return
        self._recording.send_signal(signal.SIGINT)
        self._recording.wait()
        if self._tool == "perf":
            report = [
                "perf",
                "report",
                "-i",
                str(self._file),
                "--stdio",
                "--no-children",
                "-g",
                "none",
                "--sort",
                "sym",
            ]
            told = subprocess.run(report, capture_output=True, check=False)  # noqa: S603
            self._file.with_suffix(".txt").write_bytes(told.stdout)


_GET = {"py-spy": "pip install py-spy", "perf": "apt-get install linux-perf"}
