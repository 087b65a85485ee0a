"""Where a frame's time goes in our relay: a profile of the process while a shape runs."""

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.peers.found import program
from bench.process import Running

TOOLS = {"py-spy": "pip install py-spy", "perf": "apt-get install linux-perf"}
"""And how to get them. py-spy shows Python and C functions as a flame graph, perf the kernel's too as a table."""


@contextlib.contextmanager
def breakdown(tool: str | None, ours: Running | None, folder: Path, shape: str) -> Iterator[None]:
    """Records our relay with ``tool`` meanwhile; without a tool, or without our relay, nothing.

    Raises RuntimeError when the tool is not here.
    """
    if tool is None or ours is None:
        yield
        return
    recorder = program(tool)
    if recorder is None:
        raise RuntimeError(f"{tool} is not here; to get it: {TOOLS[tool]}")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{shape}.{'svg' if tool == 'py-spy' else 'perf.data'}"
    how = {
        "py-spy": "record --native --rate 500 --pid {pid} --output {file}",
        "perf": "record -q -g -e cpu-clock -F 4000 -p {pid} -o {file}",
    }[tool]
    asked = [each.format(pid=ours.process.pid, file=file) for each in how.split()]
    recording = subprocess.Popen([recorder, *asked], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        yield
    finally:
        recording.send_signal(signal.SIGINT)
        recording.wait()
    if tool == "perf":
        report = [recorder, *["report", "--stdio", "--no-children", "-g", "none", "--sort", "sym", "-i"], str(file)]
        told = subprocess.run(report, capture_output=True, check=False)  # noqa: S603
        file.with_suffix(".txt").write_bytes(told.stdout)
