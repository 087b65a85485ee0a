"""Judge a rollout from what it left behind: JSON lines of holds, relays and the platform.

python -m clients.verdict run/ --json verdict.json
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clients import options
from clients.judging import CHECKS, judge, known, selected
from clients.judging.answer import verdict
from clients.judging.check import STATUSES
from clients.options import BAD_ARGUMENTS, parser_of, share
from clients.reading import read

NO_EVIDENCE = 3
WIDE = 150
"""Columns of a terminal in which measured and expected fit beside the sentence, which says them too."""
STYLES = {"pass": "green", "fail": "bold red", "inconclusive": "yellow"}

EPILOG = """\
examples:
  python -m clients.verdict run/
  python -m clients.verdict run/step-50.jsonl --share app--blue=50 --share app--green=50 --baseline run/before.jsonl
  python -m clients.verdict run/ --expect rollback.outcome=fail --check survival --check rollback
  python -m clients.verdict run/ --require survival --require quality.turns

checks, each of them a pass, a fail or inconclusive:
{checks}

exit code:
  0 every check is as expected: none failed, or as --expect says, and each that is required was decided
  1 one is not, 2 bad arguments, 3 no line of a hold in the record
"""


complain = partial(options.complain, "verdict")


def show(findings: dict[str, Any]) -> None:
    console = Console(highlight=False, markup=False)
    bad = findings["exit_code"] or any(row["status"] == "fail" for row in findings["checks"])
    console.print(findings["headline"], style="bold red" if bad else "bold green", soft_wrap=True)
    wide = console.width >= WIDE
    table = Table("check", "status", *(("measured", "expected") if wide else ()), "in words", box=SIMPLE_HEAD)
    theme = None
    for row in findings["checks"]:
        if row["theme"] != theme:
            theme = row["theme"]
            table.add_row(Text(theme, style="bold"))
        status = row["status"] if row["as_expected"] else f"{row['status']} (!)"
        numbers = (row["measured"], row["expected"]) if wide else ()
        table.add_row(f"  {row['name']}", Text(status, style=STYLES[row["status"]]), *numbers, row["sentence"])
    console.print(table)
    for name in findings["undecided"]:
        console.print(f"{name}: required, and the record does not decide it", style="bold red")
    for name in findings["expected_but_missing"]:
        console.print(f"{name}: no such check came up", style="bold red")


def main() -> int:
    args = _parse(sys.argv[1:])
    try:
        evidence = read(args.paths)
        baseline = read([args.baseline]) if args.baseline else None
    except OSError as error:
        return complain(f"cannot read {error.filename}: {error.strerror}", BAD_ARGUMENTS)
    if not evidence.observations:
        where = ", ".join(map(str, args.paths))
        return complain(f"no line of a hold in {where}: record one with clients.hold --record FILE", NO_EVIDENCE)
    everything = judge(evidence, dict(args.share) or None, baseline)
    absent = [name for name in args.check if not selected(everything, [name])]
    chosen = selected(everything, args.check)
    findings = verdict(evidence, chosen, dict(args.expect), everything, absent, args.require or None)
    show(findings)
    if args.json:
        try:
            args.json.write_bytes(orjson.dumps(findings, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        except OSError as error:
            return complain(f"--json cannot be written: {error}", BAD_ARGUMENTS)
    code: int = findings["exit_code"]
    return code


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = parser_of(
        "verdict",
        "PATH... [options], see --help",
        "Judge a rollout from the JSON lines of holds, relays and the platform.",
        EPILOG.format(checks="\n".join(f"  {name:24} {about}" for name, about, _ in CHECKS)),
    )
    add = parser.add_argument
    add("paths", nargs="+", type=Path, metavar="PATH", help="a record, or a directory: every *.jsonl in it")
    add(
        "--share",
        action="append",
        default=[],
        type=share,
        metavar="REVISION=WEIGHT",
        help="weights in force all along",
    )
    add("--baseline", type=Path, metavar="PATH", help="the hold to compare the calls' quality with")
    add("--expect", action="append", default=[], type=_expectation, metavar="CHECK=STATUS", help=", ".join(STATUSES))
    add("--check", action="append", default=[], type=_name, metavar="NAME", help="judge this check or group only")
    add(
        "--require",
        action="append",
        default=[],
        type=_name,
        metavar="NAME",
        help="this check or group must be decided: inconclusive or missing, it makes the exit code 1",
    )
    add("--json", type=Path, metavar="FILE", help="write the verdict")
    return parser.parse_args(argv)


def _expectation(text: str) -> tuple[str, str]:
    name, _, status = text.rpartition("=")
    if not name or status not in STATUSES:
        raise argparse.ArgumentTypeError(f"wants CHECK=STATUS with one of {', '.join(STATUSES)}, not {text!r}")
    return name, status


def _name(text: str) -> str:
    if known(text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is no check; see --help for their names")


if __name__ == "__main__":
    sys.exit(main())
