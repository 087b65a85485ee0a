"""Draw a record as one HTML file that needs no network: the verdict, every call, every act of the platform.

python -m clients.report run/ --verdict run/verdict.json --out report.html
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from clients import options
from clients.evidence import Evidence
from clients.judging import judge
from clients.judging.answer import rollout, verdict
from clients.options import BAD_ARGUMENTS, parser_of
from clients.reading import read
from clients.verdict import NO_EVIDENCE

complain = partial(options.complain, "report")

EPILOG = """\
examples:
  python -m clients.report run/ --out report.html
  python -m clients.report run/hold.jsonl --verdict run/verdict.json --out report.html

exit code:
  0 drawn, 2 bad arguments, 3 no line of a hold in the record
"""


def main() -> int:
    args = _parse(sys.argv[1:])
    try:
        evidence = read(args.paths)
        findings = _verdict(args.verdict, evidence)
    except OSError as error:
        return complain(f"cannot read {error.filename}: {error.strerror}", BAD_ARGUMENTS)
    except ValueError as error:
        return complain(f"--verdict wants what clients.verdict --json wrote: {error}", BAD_ARGUMENTS)
    if not evidence.observations:
        where = ", ".join(map(str, args.paths))
        return complain(f"no line of a hold in {where}: record one with clients.hold --record FILE", NO_EVIDENCE)
    from clients.drawing.page import page  # here, because it takes longer to import than all the rest

    try:
        args.out.write_text(page(evidence, findings, rollout(evidence)), encoding="utf-8")
    except OSError as error:
        return complain(f"--out cannot be written: {error}", BAD_ARGUMENTS)
    sys.stdout.write(f"{args.out}\n")
    return 0


def _verdict(file: Path | None, evidence: Evidence) -> dict[str, Any]:
    """That of the file, or judged here. Raises ValueError when the file is something else."""
    if file is None:
        return verdict(evidence, judge(evidence), {}) if evidence.observations else {}
    findings = orjson.loads(file.read_bytes())
    wanted = {"headline", "outcome", "checks", "expected_but_missing", "counts"}
    if not isinstance(findings, dict) or (missing := wanted - findings.keys()):
        raise ValueError(f"{file} lacks {', '.join(sorted(missing)) if isinstance(findings, dict) else 'everything'}")
    return findings


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = parser_of(
        "report",
        "PATH... --out FILE [--verdict FILE]",
        "Draw a record as one HTML file that needs no network.",
        EPILOG,
    )
    add = parser.add_argument
    add("paths", nargs="+", type=Path, metavar="PATH", help="a record, or a directory: every *.jsonl in it")
    add("--out", type=Path, required=True, metavar="FILE", help="the HTML file")
    add("--verdict", type=Path, metavar="FILE", help="what clients.verdict --json wrote; without it judged here")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
