"""``nox -s conformance``: both legs of the relay before the Autobahn test suite, and where they are worse than none."""

import argparse
import asyncio
import re
import shutil
import sys
import time
from pathlib import Path

import orjson

from stage.commandline import INTERRUPTED, until_interrupted
from stage.conformance.comparison import compare, show
from stage.conformance.suite import LEGS, NotInstalled, SuiteError, Told, Wstest, install
from stage.replica import ReplicaError

PLACE = Path(".nox", "autobahntestsuite")
NOT_RUN = 3
EXIT_CODES = """
exit code:
  0 no case is worse through the relay, 1 one is, 2 bad arguments, 3 the suite could not be run, 130 interrupted
"""


class Asked(argparse.Namespace):
    """What was asked for."""

    cases: list[str]
    leg: list[str]
    python2: Path | None
    out: Path


async def run(wstest: Wstest, asked: Asked) -> int:
    """Runs each leg, shows how the relay did; the exit code."""
    worse = 0
    for leg in asked.leg:
        folder = (asked.out / leg).absolute()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        began = time.monotonic()
        cases = await LEGS[leg](wstest, folder, asked.cases, progress(leg))
        compared = compare(orjson.loads((folder / "index.json").read_bytes()), cases)
        worse += show(leg, compared, time.monotonic() - began)
        say(f"every case, direct and relayed, frame by frame: {asked.out / leg / 'index.html'}")
    return 1 if worse else 0


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)  # noqa: T201


def progress(leg: str) -> Told:
    """A line for each group of cases."""
    began, last = time.monotonic(), ("", "")

    def told(agent: str, case: str) -> None:
        nonlocal last
        group = case.partition(".")[0]
        if last != (agent, group):
            last = agent, group
            say(f"{time.monotonic() - began:4.0f} s  {leg} leg, {agent}: {group}.*")

    return told


def main() -> int:
    asked = _arguments()
    try:
        return asyncio.run(until_interrupted(run(install(asked.python2, PLACE.absolute()), asked)))
    except KeyboardInterrupt:  # while it was being installed
        return INTERRUPTED
    except (NotInstalled, SuiteError, ReplicaError, OSError, ValueError) as problem:
        say(str(problem))
        return NOT_RUN


def _arguments() -> Asked:
    parser = argparse.ArgumentParser(
        prog="nox -s conformance --",
        description="The Autobahn test suite against an echo, and against the same echo behind the relay.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("cases", nargs="*", type=_pattern, metavar="CASE", help="run only these cases, such as 5.15 or '9.*' (all)")
    add("--leg", action="append", choices=LEGS, help="test only this leg of the relay (client, then upstream)")
    add("--python2", type=Path, metavar="PATH", help="a Python 2.7 for the suite (found by itself)")
    add("--out", type=Path, default=Path("artifacts/conformance"), metavar="DIR", help="for the results (%(default)s)")
    asked = parser.parse_args(namespace=Asked())
    asked.cases, asked.leg = asked.cases or ["*"], asked.leg or list(LEGS)
    return asked


def _pattern(text: str) -> str:
    if not re.fullmatch(r"(\d+\.)*(\d+|\*)", text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a case nor a pattern of cases")
    return text


if __name__ == "__main__":
    sys.exit(main())
