"""``nox -s bench``: every peer and our relay in turn, in the same run, and how ours compares."""

import asyncio
import resource
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path

import uvloop

from bench import check, table
from bench.arguments import Arguments, parse_arguments
from bench.beside.run import beside
from bench.load.generator import Load, authority
from bench.peers import PEERS, Peer
from bench.process import Cores, breakdown, running
from bench.result import OURS, Result, dump, machine
from bench.result import Shape as MeasuredShape
from bench.shapes import SLACK, Bench
from bench.table import say

BASELINE = Path(__file__).with_name("baseline.json")
FILES_SPARE = 2000
"""Open files that are no call's: a peer's own, and those of calls that are just ending."""


def main() -> int:
    """0: measured, and with --check as good as the baseline. 1: worse, or a peer failed. 2: bad arguments.

    With --beside `bench.beside.run.beside` says what the code means.
    """
    arguments = parse_arguments()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if arguments.beside is not None:
        return beside(arguments, _command(sys.argv[1:]))
    here = [peer for peer in PEERS if peer.name in arguments.peers and peer.version() is not None]
    missing = {peer.name: peer.get for peer in PEERS if peer.name in arguments.peers and peer not in here}
    for name, get in missing.items():
        say(f"{name} is not here; to get it: {get}")
    began = datetime.now(UTC)
    problems: list[str] = []
    try:
        shapes = uvloop.run(_measure(arguments, here, (hard - FILES_SPARE) // 2, problems))
    except KeyboardInterrupt:
        say("interrupted: every peer was ended, nothing was written")
        return 130
    result = Result(
        command=_command(sys.argv[1:]),
        date=began.strftime("%Y-%m-%dT%H:%M:%SZ"),
        machine=machine(),
        versions={peer.name: peer.version() or "" for peer in here},
        missing=missing,
        shapes=tuple(shapes),
    )
    _write(result, arguments.out)
    if arguments.keep and not problems:
        check.keep(result, BASELINE)
        say(f"kept as the baseline: {BASELINE}")
    elif arguments.keep:
        say("not kept as the baseline, because of:")
    for problem in problems:
        say(problem)
    return 1 if problems else _checked(result) if arguments.check else 0


async def _measure(arguments: Arguments, peers: list[Peer], most: int, problems: list[str]) -> list[MeasuredShape]:
    """The shapes that could be measured; what could not goes to ``problems``, and loses nothing else."""
    # Else it would leave the peers behind, on the core that the next run measures on.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, signal.raise_signal, signal.SIGINT)
    cores = Cores()
    shapes = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        authority_file, identity = authority(folder)
        for shape in arguments.shapes:
            began = time.monotonic()
            load = Load()
            trust, tls = (authority_file, identity) if shape.tls else (None, None)
            await load.listen(tls)
            failed = partial(_failed, problems, shape.name)
            bench = Bench(load, arguments.rounds, arguments.seconds, most, partial(say, shape=shape.name), failed)
            chosen = [peer for peer in peers if shape.only in (None, peer.name)]
            place = folder / shape.name
            sessions = min(shape.sessions, most) + SLACK
            rounds = []
            try:
                async with running(chosen, cores, place, load.port, trust, sessions) as (stand, deaf):
                    problems += [f"{shape.name}: {problem}" for problem in deaf]
                    ours = next((each for each in stand if each.name == OURS), None)
                    with breakdown(arguments.breakdown, ours, arguments.out, shape.name):
                        rounds = await shape.run(bench, stand) if stand else []
            except (RuntimeError, OSError) as problem:
                failed(f"{type(problem).__name__}: {problem}")
            load.stop()
            shapes.append(MeasuredShape(shape.name, shape.title, tuple(rounds), shape.baseline))
            say(f"{shape.name}: done in {time.monotonic() - began:.0f} s")
    return shapes


def _write(result: Result, folder: Path) -> None:
    from bench import page, plot  # here, because matplotlib takes longer to import than all the rest

    folder.mkdir(parents=True, exist_ok=True)
    dump(result, folder / "bench.json")
    (folder / "bench.html").write_text(page.page(result), encoding="utf-8")
    (folder / "bench.md").write_text(table.markdown(result), encoding="utf-8")
    if plot.shown(result):
        plot.png(result, folder / "bench.png")
    table.show(result, sys.stdout)
    picture = ", bench.png" if plot.shown(result) else "; no picture, since no window of a steady shape counts"
    say(f"{folder}: bench.json, bench.html, bench.md{picture}")


def _checked(result: Result) -> int:
    try:
        compared = check.compare(result, BASELINE)
    except (OSError, ValueError) as problem:
        say(f"{problem}; write one with: nox -s bench -- --keep")
        return 1
    for sentence in (*compared.unknown, *compared.worse):
        say(sentence)
    if not compared.compared:
        say("nothing of this run is in the baseline")
    elif not compared.worse:
        say(f"{compared.compared} ratios are as good as the baseline's")
    return 1 if compared.worse or not compared.compared else 0


def _command(given: list[str]) -> str:
    """What anybody may type again: without the folder, which is the person's own."""
    kept = [each for before, each in pairwise(("", *given)) if before != "--out" and each.partition("=")[0] != "--out"]
    return " ".join(("nox -s bench", *(("--", *kept) if kept else ())))


def _failed(problems: list[str], shape: str, what: str) -> None:
    problems.append(f"{shape}: {what}")
    say(problems[-1])


if __name__ == "__main__":
    sys.exit(main())
