"""The command line of a probe, checked as a whole: every problem is named at once, then exit 2."""

import argparse
import shlex
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from yarl import URL

from clients.address import Address
from clients.options import add_way, leave_if_any, not_understood, number
from clients.record import Record
from clients.target import PAGE_SCHEMES, Target, base_url, target, whom_to_trust

DESCRIPTION = """\
Ask the relays behind one address how many calls they carry, until each replica has answered for
itself. With --until-zero ask again and again until no call is left. With --knock dial as strangers do
instead: without a key, and with a wrong one in each place where a key can stand. No key is needed.
"""

EPILOG = """\
examples:
  python -m clients.probe http://127.0.0.1:8080
  python -m clients.probe https://app--blue.example.com --replicas app--blue-1 app--blue-2 --json
  python -m clients.probe https://app--blue.example.com --until-zero --timeout 600 --replicas-command \\
    "az containerapp replica list --name app --resource-group rg --revision app--blue --query [].name --output tsv"
  python -m clients.probe wss://app--green.example.com --knock --record knock.jsonl

exit code:
  0 every replica has answered, and with --until-zero no call is left; with --knock every stranger got 401,
  1 calls are left when the time is over, or a replica did not answer; a stranger got another answer than 401,
  2 bad arguments, 3 not one answer, several revisions at the address, or no list of replicas,
  130 interrupted
"""

# flag, least, default, help
NUMBERS = (
    ("--timeout", 0.1, 600, "seconds after which --until-zero gives up"),
    ("--interval", 0, 2, "seconds between two rounds of --until-zero"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One probe. Times in seconds. `replicas` are names given, `command` prints them; neither: whoever answers.

    `knock` is what strangers dial; None: nobody knocks. With `anybody` they may be let in.
    """

    url: URL
    connect_to: Address | None
    trust: ssl.SSLContext | bool
    replicas: list[str] | None
    command: list[str] | None
    until_zero: bool
    timeout: float
    interval: float
    knock: Target | None
    anybody: bool
    record: Record
    json: bool


def parse(argv: Sequence[str]) -> Plan:
    """Leaves with exit 2 and every problem named, or with exit 0 after --help."""
    problems: list[str] = []
    parser = _parser(problems)
    args, unknown = parser.parse_known_args(argv)
    problems += not_understood(unknown)
    given = vars(args)
    text, model, knocks = given.pop("url"), given.pop("model"), given.pop("knock")
    url, mistakes = base_url(text, PAGE_SCHEMES)
    trust, mistrust = whom_to_trust(args.ca_file, args.insecure)
    problems += mistakes + mistrust
    where = {name: given.pop(name) for name in ("ca_file", "insecure")}
    door, obstacles = target(text, model=model, key=None, key_header="api-key", connect_to=args.connect_to, **where)
    if knocks:
        problems += [problem for problem in obstacles if problem not in problems]
    if args.anybody and not knocks:
        problems.append("--anybody says what --knock may find, and there is no --knock")
    if knocks and (args.until_zero or args.replicas or args.replicas_command is not None):
        problems.append("--knock asks nobody for calls: no --until-zero, --replicas or --replicas-command with it")
    if args.replicas and args.replicas_command is not None:
        problems.append("--replicas and --replicas-command exclude each other")
    command = _words(given.pop("replicas_command"), problems)
    try:
        record = Record(given.pop("record"), None)
    except OSError as error:
        problems.append(f"--record cannot be written: {error}")
    leave_if_any(problems, parser)
    knock = door if knocks else None
    return Plan(url=url.with_path("/status"), trust=trust, command=command, knock=knock, record=record, **given)


def _words(command: str | None, problems: list[str]) -> list[str] | None:
    if command is None:
        return None
    try:
        words = shlex.split(command)
    except ValueError as error:
        words = []
        problems.append(f"--replicas-command is quoted wrongly: {error}")
    else:
        if not words:
            problems.append("--replicas-command wants a command")
    return words


def _parser(problems: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m clients.probe",
        usage="%(prog)s URL [options], see --help",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "url",
        metavar="URL",
        help="ws://, wss://, http:// or https://; whatever its path, /status is asked (not --knock)",
    )
    add("--replicas", nargs="+", metavar="NAME", help="who has to answer; without names any one replica")
    add("--replicas-command", metavar="COMMAND", help="prints their names, one a line; run in every round, by no shell")
    add("--until-zero", action="store_true", help="ask until no call is left")
    for flag, least, default, about in NUMBERS:
        kind_of = number(flag, float, least, problems)
        add(flag, type=kind_of, default=default, metavar="S", help=f"{about} (default {default:g})")
    add("--knock", action="store_true", help="dial the WebSocket route as a stranger; 401 is the answer it should give")
    add("--anybody", action="store_true", help="with --knock: anybody may call, so a stranger may be let in")
    add("--model", default="gpt-realtime", help="with --knock: deployment named in the URL where it names none")
    add_way(parser, problems)
    add("--record", metavar="FILE", help="append every round, or every knock, as a JSON line")
    add("--json", action="store_true", help="print the result as one JSON object")
    return parser
