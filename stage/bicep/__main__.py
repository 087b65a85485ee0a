"""`bicep --version` and `bicep build FILE --stdout`, which is all that `az` asks of a compiler."""

import argparse
import json
import sys
from pathlib import Path

from stage.bicep import SAID, BicepError, compile


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bicep", description=__doc__)
    parser.add_argument("--version", action="version", version=SAID)
    build = parser.add_subparsers(required=True).add_parser("build", help="compile a file to an ARM template")
    build.add_argument("file", type=Path)
    build.add_argument("--stdout", action="store_true", required=True, help="write the template to stdout")
    try:
        template = compile(parser.parse_args(arguments).file)
    except BicepError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(template, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
