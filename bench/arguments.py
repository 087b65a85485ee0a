"""The command line of the bench."""

import argparse
import math
from pathlib import Path

from bench.beside.statistic import ENOUGH
from bench.peers import PEERS
from bench.process import TOOLS
from bench.shapes import SHAPES, Shape

BESIDE_SHAPES = ("steady", "steady-tls")
"""What a commit is measured in: the shapes in which nothing but frames costs anything."""
WINDOWS = 60
"""Beside a commit, by default: twice as many as have to count, since the interval of 30 is some percent wide."""


class Arguments(argparse.Namespace):
    """`shapes` and `peers` are in the order in which they run; `seconds` is how long a turn of a peer is."""

    quick: bool
    shapes: list[Shape]
    peers: list[str]
    rounds: int
    seconds: float
    beside: str | None
    windows: int
    check: bool
    keep: bool
    breakdown: str | None
    out: Path


def parse_arguments() -> Arguments:
    """Reads the command line. Ends with 2 when it is wrong."""
    parser = argparse.ArgumentParser(
        prog="nox -s bench --",
        description="Measure rtproxy and other relays side by side on loopback: one core for them, one for the load.",
        epilog="Keep the machine quiet meanwhile. A full run takes about 25 minutes.",
    )
    parser.add_argument("--quick", action="store_true", help="only the shapes of the table, short: under 3 minutes")
    parser.add_argument(
        "--shapes", type=_shapes, default=list(SHAPES), help=f"some of {', '.join(each.name for each in SHAPES)}"
    )
    parser.add_argument("--peers", type=_peers, help=f"some of {', '.join(each.name for each in PEERS)}")
    parser.add_argument("--rounds", type=int, default=5, help="how often each peer has its turn (5; quick: 3)")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="how long each turn is (3; quick, and beside a commit: 1)"
    )
    parser.add_argument(
        "--beside",
        metavar="COMMIT",
        help="only our relay, beside the one of a commit: CPU per frame, ours / before (HEAD: against your changes; "
        ". (a dot): the files as they are against themselves). 0: at most 1.02. 1: more, or not decided. "
        "2: there is no such commit. 3: a relay did not start",
    )
    parser.add_argument(
        "--windows",
        type=int,
        help=f"with --beside: how many windows of a turn each ({WINDOWS}; fewer than {ENOUGH} decide nothing)",
    )
    # Both would compare a run with itself.
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--check", action="store_true", help="end with 1 when a ratio is worse than the baseline's by 15 %%"
    )
    either.add_argument("--keep", action="store_true", help="make this run the baseline, bench/baseline.json")
    parser.add_argument(
        "--breakdown", choices=TOOLS, help="where our relay spends its time, as a file beside the others"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("artifacts/bench"), help="folder of what is written (%(default)s)"
    )
    given = parser.parse_args()
    if given.beside is not None:
        _only_beside(parser, given)
        parser.set_defaults(shapes=[shape for shape in SHAPES if shape.name in BESIDE_SHAPES], seconds=1.0)
    elif given.windows is not None:
        parser.error("--windows is for --beside")
    elif given.quick:
        parser.set_defaults(shapes=[shape for shape in SHAPES if shape.quick], rounds=3, seconds=1.0)
    parser.set_defaults(windows=WINDOWS)
    arguments = parser.parse_args(namespace=Arguments())
    arguments.peers = arguments.peers or [peer.name for peer in PEERS]
    if arguments.rounds < 1 or not 0.1 <= arguments.seconds < math.inf:
        parser.error("--rounds wants at least one round, and --seconds a finite time of at least 0.1")
    if arguments.windows < 1:
        parser.error("at least one window")
    if arguments.out.exists() and not arguments.out.is_dir():
        parser.error(f"--out {arguments.out} is no folder")
    return arguments


def _only_beside(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """Ends with 2 when an option is given that a run beside a commit does not use."""
    others = ("quick", "peers", "rounds", "check", "keep", "breakdown")
    if strange := [name for name in others if getattr(given, name) != parser.get_default(name)]:
        parser.error(f"--beside does not go with --{', --'.join(strange)}")
    if given.shapes == parser.get_default("shapes"):
        return
    if strange := [shape.name for shape in given.shapes if shape.name not in BESIDE_SHAPES]:
        parser.error(f"--beside measures {', '.join(BESIDE_SHAPES)}, not {', '.join(strange)}")


def _shapes(names: str) -> list[Shape]:
    by_name = {shape.name: shape for shape in SHAPES}
    return [by_name[name] for name in _known(names, list(by_name))]


def _peers(names: str) -> list[str]:
    return _known(names, [peer.name for peer in PEERS])


def _known(names: str, known: list[str]) -> list[str]:
    given = names.split(",")
    if strange := [name for name in given if name not in known]:
        raise argparse.ArgumentTypeError(f"no {', '.join(strange)}; there are {', '.join(known)}")
    return [name for name in known if name in given]
