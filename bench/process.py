"""A peer as a process on a core of its own, what the kernel says it costs, and a profile of it."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

from bench.peers import Peer, Route
from bench.peers.peer import program

START_S = 20.0
"""What a peer may take until it listens."""
_STRAY = ("AZURE_", "RTPROXY_", "OTEL_", "CONTAINER_APP_")
"""Settings of the person's own that would change what is measured."""
TOOLS = {"py-spy": "pip install py-spy", "perf": "apt-get install linux-perf"}
"""And how to get them. py-spy shows Python and C functions as a flame graph, perf the kernel's too as a table."""


class Running:
    """A peer that listens on ``port``."""

    def __init__(self, name: str, port: int, process: Process) -> None:
        self.name = name
        self.port = port
        self.process = process

    def cpu_ns(self) -> int:
        """CPU time of the process, its threads and its children so far (schedstat: user and kernel)."""
        return self._schedstat(0)

    def waited_ns(self) -> int:
        """Time in which they could have run and another process had their core."""
        return self._schedstat(1)

    def _schedstat(self, field: int) -> int:
        return sum(int((thread / "schedstat").read_text().split()[field]) for thread in _threads(self.process.pid))

    def rss_kb(self) -> int:
        """Resident memory of the process and its children, pages that they share counted once (Pss)."""
        owners = {thread.parent.parent for thread in _threads(self.process.pid)}
        lines = (line for owner in owners for line in (owner / "smaps_rollup").read_text().splitlines())
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))

    async def end(self) -> None:
        """Sends SIGTERM twice, since a relay that drains ends at the second one; then SIGKILL."""
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            if self.process.returncode is None:
                self.process.send_signal(number)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.process.wait(), 1.5)


class Cores:
    """One core for the peers and one for the load, where there are two: else they take turns, and figures say so."""

    def __init__(self) -> None:
        usable = sorted(os.sched_getaffinity(0))
        self.load, self.peer = {usable[-1]}, {usable[0]}
        os.sched_setaffinity(0, self.load)

    def stolen_s(self) -> float:
        """Time in which the host took away these cores so far."""
        names = {f"cpu{number}" for number in self.load | self.peer}
        lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
        return sum(int(fields[8]) for fields in lines if fields[0] in names) / os.sysconf("SC_CLK_TCK")

    @contextlib.contextmanager
    def for_a_child(self) -> Iterator[None]:
        """What is started meanwhile runs on the peers' core, with all its threads."""
        os.sched_setaffinity(0, self.peer)
        try:
            yield
        finally:
            os.sched_setaffinity(0, self.load)


async def start(peer: Peer, route: Route, cores: Cores | None = None) -> Running:
    """Starts ``peer``, on the peers' one of ``cores``, and waits until it listens.

    Raises RuntimeError with its last words when it does not, and ends it.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith(_STRAY)}
    log = route.folder / "log"
    with log.open("wb") as output, cores.for_a_child() if cores else contextlib.nullcontext():
        process = await asyncio.create_subprocess_exec(
            *peer.command(route), env=clean | peer.environment(route), stdout=output, stderr=output
        )
    running = Running(peer.name, route.port, process)
    try:
        if await _listens(running):
            return running
        raise RuntimeError(f"{peer.name} does not listen: {_last_words(log)}")
    except BaseException:
        await running.end()
        raise


@contextlib.asynccontextmanager
async def running(
    peers: Iterable[Peer], cores: Cores | None, folder: Path, model_port: int, ca_file: Path | None, sessions: int
) -> AsyncIterator[tuple[list[Running], list[str]]]:
    """Starts ``peers`` in front of the model: those that listen, and a sentence for each that does not."""
    started: list[Running] = []
    problems: list[str] = []
    try:
        for peer in peers:
            place = folder / peer.name
            place.mkdir(parents=True)
            try:
                route = Route(place, _free_port(), model_port, ca_file, sessions)
                started.append(await start(peer, route, cores))
            except RuntimeError as problem:
                problems.append(str(problem))
        yield started, problems
    finally:
        await asyncio.gather(*(each.end() for each in started))


async def _listens(peer: Running) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_S):
            while peer.process.returncode is None:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", peer.port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    return True
    return False


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it printed nothing"


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _threads(pid: int) -> list[Path]:
    threads = list(Path(f"/proc/{pid}/task").iterdir())
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        threads += _threads(int(child))
    return threads


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
    arguments = [each.format(pid=ours.process.pid, file=file) for each in how.split()]
    recording = subprocess.Popen([recorder, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        yield
    finally:
        recording.send_signal(signal.SIGINT)
        recording.wait()
    if tool == "perf":
        report = [recorder, *["report", "--stdio", "--no-children", "-g", "none", "--sort", "sym", "-i"], str(file)]
        printed = subprocess.run(report, capture_output=True, check=False)  # noqa: S603
        file.with_suffix(".txt").write_bytes(printed.stdout)
