"""The whole of a run beside a commit, and its exit code."""

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Protocol

import uvloop

from bench.beside.command import SIGNALS, Failed, undisturbed
from bench.beside.report import Comparison, Shape, dump, lines, png
from bench.beside.trees import ALONE, Commit, NoCommit, as_is, checked_out, commit, copied, environment
from bench.beside.windows import NotStarted, Pair, Place, windows
from bench.load.generator import Load, authority
from bench.peers import RTPROXY
from bench.peers.peer import Peer, Route
from bench.process import Cores
from bench.result import interpreter, machine
from bench.shapes import Shape as Planned
from bench.table import say

ROOT = Path(__file__).parents[2]


class Arguments(Protocol):
    """What of the command line is for a run beside a commit."""

    beside: str | None
    shapes: list[Planned]
    windows: int
    seconds: float
    out: Path


def beside(arguments: Arguments, command: str) -> int:
    """0: at most 1.02 in every shape. 1: more, or not decided. 2: no such commit. 3: a relay that did not start.

    130 after Ctrl-C. Whatever the end, the worktree, the environments and the relays are removed.
    """
    _interruptible()
    began = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    load_average = os.getloadavg()[0]
    try:
        against = commit(ROOT, arguments.beside or "")
        with _folder() as folder, _trees(against, folder) as peers:
            shapes = uvloop.run(_measure(arguments, peers, folder))
            ours = as_is(ROOT)
    except KeyboardInterrupt:
        say("interrupted: both relays were ended, the worktree was removed, nothing was written")
        return 130
    except NoCommit as problem:
        say(str(problem))
        return 2
    except (Failed, NotStarted, OSError) as problem:
        say(f"a relay did not start: {problem}")
        return 3
    result = Comparison(
        command=command,
        date=began,
        machine=machine(),
        interpreter=interpreter(),
        before=str(against),
        ours=ours,
        seconds=arguments.seconds,
        load_average=(load_average, os.getloadavg()[0]),
        shapes=tuple(shapes),
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    dump(result, arguments.out / "beside.json")
    drawn = png(result, arguments.out / "beside.png")
    print("\n".join(lines(result)))  # noqa: T201
    say(f"{arguments.out}: beside.json" + (", beside.png" if drawn else "; no picture, since no window counts"))
    return 0 if result.held else 1


async def _measure(arguments: Arguments, peers: Pair, folder: Path) -> list[Shape]:
    cores = Cores()
    trust, identity = authority(folder)
    shapes = []
    for shape in arguments.shapes:
        load = Load()
        await load.listen(identity if shape.tls else None)
        place = Place(load, cores, folder / shape.name, trust if shape.tls else None)
        tell = partial(say, shape=shape.name)
        try:
            measured = await windows(peers, place, arguments.windows, arguments.seconds, tell)
        finally:
            load.stop()
        shapes.append(Shape(shape.name, shape.title, tuple(measured)))
    return shapes


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        yield folder
    finally:
        with undisturbed():
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _trees(against: Commit, folder: Path) -> Iterator[Pair]:
    """Both sides, installed. Names are of one length: where a process's environment ends moves its stack."""
    old, new = folder / "old", folder / "new"
    copied(ROOT, new / "tree")
    with checked_out(ROOT, against.revision, old / "tree") if against.revision else contextlib.nullcontext():
        if against.revision is None:
            copied(ROOT, old / "tree")
        # The commit first: it is the one that may lack something.
        before = _installed("before", old)
        yield Pair(ours=_installed("ours", new), before=before)


def _installed(name: str, side: Path) -> Peer:
    say(f"{name}: an environment from its own lock file")
    try:
        python = environment(side / "tree", side / "venv")
    except Failed as problem:
        raise Failed(f"{name}: {problem}") from None

    def command(_: Route) -> list[str]:
        return [str(python), *ALONE, "-m", "rtproxy"]

    return Peer(name, "", lambda: name, command, RTPROXY.environment)


def _interruptible() -> None:
    """Whatever ends a run ends it as Ctrl-C does. In the background of a script, too, where Ctrl-C does nothing."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in SIGNALS[1:]:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
