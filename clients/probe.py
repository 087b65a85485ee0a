"""Ask the relays of a revision how many calls they carry, once or until none is left; or whether strangers get in.

python -m clients.probe https://app--blue.example.com --replicas app--blue-1 app--blue-2 --until-zero
"""

import asyncio
import dataclasses
import math
import secrets
import shlex
import ssl
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
import orjson
import uvloop
from yarl import URL

from clients.dial import Line, Questions, Refusal, cause_and_cure
from clients.observations import Knocked, Probed, Record
from clients.options import INTERRUPTED, CommandLine, complain
from clients.status import ANSWER_DEADLINE_S, ROUND_DEADLINE_S, NotListed, Relays, WrongAddress, listed
from clients.target import PAGE_SCHEMES, Address, Target, base_url, target, whom_to_trust

DONE, CALLS_LEFT, STRANGER_INSIDE, UNREACHED = 0, 1, 1, 3
LET_IN, TURNED_AWAY = 101, 401
LINE_EVERY_S = 10.0
# What the last round is given when the time is all but over.
LEAST_ROUND_S = 1.0

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One probe. Times in seconds. `replicas` are names given, `command` prints them; neither: any one replica.

    `knock` is what strangers dial; None: no stranger does. With `anybody` they may be let in.
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


class Unreached(Exception):
    """Not one answer; the message has the cause and the cure."""


class Probe:
    """One run of a plan that asks for calls."""

    def __init__(self, plan: Plan, relays: Relays) -> None:
        self._plan = plan
        self._relays = relays
        self._began = time.monotonic()
        self._over = self._began + plan.timeout if plan.until_zero else math.inf
        self._last: Probed | None = None
        self._shown: object = None
        self._shown_at = 0.0

    async def run(self) -> int:
        """Prints the result and returns the exit code. Raises NotListed, Unreached or WrongAddress."""
        plan = self._plan
        while True:
            probed = await self._round()
            done = probed.complete and not (plan.until_zero and probed.sessions)
            if done or not plan.until_zero or self._over - time.monotonic() <= plan.interval:
                return self._report(probed, DONE if done else CALLS_LEFT)
            self._show((probed.sessions, probed.missing), in_words(probed))
            await asyncio.sleep(plan.interval)

    async def _round(self) -> Probed:
        try:
            names = self._plan.replicas if self._plan.command is None else await listed(self._plan.command)
        except NotListed as failure:
            # Where it has worked before it may work again: the platform was busy, a token ran out.
            if self._last is None:
                raise
            self._show(str(failure), f"{failure}; trying again")
            return dataclasses.replace(self._last, complete=False)
        within_s = min(ROUND_DEADLINE_S, max(self._over - time.monotonic(), LEAST_ROUND_S))
        probed = await self._relays.ask(names, within_s)
        if self._last is None and not probed.complete and not probed.replicas:
            refusal = self._relays.failure or Refusal(None, "timeout", f"nothing within {within_s:.0f} s")
            cause = cause_and_cure(refusal.status, refusal.code, refusal.message)
            raise Unreached(f"{probed.url} gave no answer: {cause}")
        self._last = probed
        self._plan.record.write(probed)
        return probed

    def _show(self, state: object, words: str) -> None:
        """For people, on stderr: at once when the state is a new one, else a line now and then."""
        now = time.monotonic()
        if state != self._shown or now - self._shown_at >= LINE_EVERY_S:
            self._shown, self._shown_at = state, now
            sys.stderr.write(f"{now - self._began:.0f} s  {words}\n")

    def _report(self, probed: Probed, exit_code: int) -> int:
        waited_s = time.monotonic() - self._began
        sentence = in_words(probed, f" left after {waited_s:.0f} s" if self._plan.until_zero else "")
        numbers = {"sentence": sentence, "waited_s": round(waited_s, 1), "exit_code": exit_code}
        return _finish(self._plan, dataclasses.asdict(probed) | numbers)


def in_words(probed: Probed, left: str = "") -> str:
    who = probed.revision or probed.url
    words = f"{who}: {_count(probed.sessions, 'call')}{left} ({_count(len(probed.replicas), 'replica')})"
    if probed.sessions:
        words += f", {probed.quiet} between turns, the oldest {probed.oldest_s:.0f} s old"
    if probed.missing:
        words += f"; no answer from {', '.join(probed.missing)}"
    return words


def _count(number: int, thing: str) -> str:
    return f"{number or 'no'} {thing}{'s' if number > 1 else ''}"


def _finish(plan: Plan, result: dict[str, Any]) -> int:
    """Prints the result, as --json has it or only its sentence, and returns the exit code in it."""
    text: str = orjson.dumps(result).decode() if plan.json else result["sentence"]
    sys.stdout.write(text + "\n")
    if plan.record.failure:
        complain("probe", f"the record is incomplete: {plan.record.failure}")
    code: int = result["exit_code"]
    return code


@dataclass(frozen=True, slots=True)
class Knock:
    """One dial of a stranger and its answer. `shown` is the stranger's credential, in words."""

    shown: str
    knocked: Knocked
    message: str

    @property
    def turned_away(self) -> bool:
        return self.knocked.status == TURNED_AWAY

    @property
    def let_in(self) -> bool:
        return self.knocked.status == LET_IN

    def __str__(self) -> str:
        if self.knocked.status is None:
            answer = f"no answer ({self.message})"
        elif self.let_in:
            answer = "let in"
        else:
            answer = f"HTTP {self.knocked.status}" + (f" {self.knocked.code}" if self.knocked.code else "")
        return f"with {self.shown}: {answer}"


def strangers() -> Mapping[str, dict[str, str]]:
    """The credential of each, in words, and the headers that carry it. The keys are new, so no caller can have them."""
    bearer, plain, browser = (f"wrong-{secrets.token_hex(16)}" for _ in range(3))
    return {
        "no key": {},
        "a wrong key in Authorization": {"Authorization": f"Bearer {bearer}"},
        "a wrong key in api-key": {"api-key": plain},
        "a wrong key as subprotocol": {"Sec-WebSocket-Protocol": f"realtime, openai-insecure-api-key.{browser}"},
    }


async def knock(plan: Plan, target: Target) -> int:
    """Dials as each of `strangers`, prints what they got, returns the exit code. Raises Unreached: no answer at all."""
    knocks = []
    connector = aiohttp.TCPConnector(ssl=target.trust, force_close=True)
    async with connector:
        for shown, headers in strangers().items():
            line = Line(dataclasses.replace(target, headers=headers, key=None), connector)
            try:
                knocks.append(await _dial(target, shown, line, "wrong" if headers else "none"))
            finally:
                await line.close()
    if all(each.knocked.status is None for each in knocks):
        first = knocks[0]
        raise Unreached(f"{target.url} gave no answer: {cause_and_cure(None, first.knocked.code, first.message)}")
    for each in knocks:
        plan.record.write(each.knocked)
    wrong = [each for each in knocks if not (each.turned_away or (plan.anybody and each.let_in))]
    result = {
        "knocks": [dataclasses.asdict(each.knocked) for each in knocks],
        "sentence": _of_strangers(knocks, wrong, str(target.url)),
        "exit_code": STRANGER_INSIDE if wrong else DONE,
    }
    return _finish(plan, result)


async def _dial(target: Target, shown: str, line: Line, credential: Literal["none", "wrong"]) -> Knock:
    status: int | None = LET_IN
    code, message = None, ""
    try:
        connection = await line.dial()
        await connection.socket.close(code=1000)
    except Refusal as refusal:
        status, code, message = refusal.status, refusal.code, refusal.message
    url, revision = str(target.url), line.revision
    return Knock(shown, Knocked(url=url, revision=revision, credential=credential, status=status, code=code), message)


def _of_strangers(knocks: list[Knock], wrong: list[Knock], url: str) -> str:
    who = next((each.knocked.revision for each in knocks if each.knocked.revision), url)
    if wrong:
        return f"{who} did not turn strangers away with 401: {'; '.join(map(str, wrong))}"
    inside = sum(each.let_in for each in knocks)
    anybody = f", {inside} let in, as anybody may call" if inside else ""
    return f"{who}: {len(knocks) - inside} of {len(knocks)} strangers turned away with 401{anybody}"


def parse(argv: Sequence[str]) -> Plan:
    """Ends with exit 2 and every problem named, or with exit 0 after --help."""
    line = _command_line()
    given, problems = line.read(argv), line.problems
    text, model, knocks = given.pop("url"), given.pop("model"), given.pop("knock")
    url, mistakes = base_url(text, PAGE_SCHEMES)
    where = {name: given.pop(name) for name in ("ca_file", "insecure")}
    trust, mistrust = whom_to_trust(**where)
    problems += mistakes + mistrust
    way = where | {"connect_to": given["connect_to"]}
    door, obstacles = target(text, model=model, key=None, key_header="api-key", **way)
    if knocks:
        problems += [problem for problem in obstacles if problem not in problems]
    replicas, command = given["replicas"], given.pop("replicas_command")
    if given["anybody"] and not knocks:
        problems.append("--anybody is for --knock, and there is no --knock")
    if knocks and (given["until_zero"] or replicas or command is not None):
        problems.append("--knock asks for no calls: no --until-zero, --replicas or --replicas-command with it")
    if replicas and command is not None:
        problems.append("--replicas and --replicas-command exclude each other")
    words = None if command is None else _words(command, problems)
    record = line.finish(given.pop("record"))
    aim = door if knocks else None
    return Plan(url=url.with_path("/status"), trust=trust, command=words, knock=aim, record=record, **given)


def _words(command: str, problems: list[str]) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        problems.append(f"--replicas-command is quoted wrongly: {error}")
        return []
    if not words:
        problems.append("--replicas-command wants a command")
    return words


def _command_line() -> CommandLine:
    line = CommandLine("probe", "URL [options], see --help", DESCRIPTION, EPILOG)
    add = line.add
    add(
        "url",
        metavar="URL",
        help="ws://, wss://, http:// or https://; whatever its path, /status is asked (not --knock)",
    )
    add("--replicas", nargs="+", metavar="NAME", help="replicas that have to answer; without names any one")
    add("--replicas-command", metavar="COMMAND", help="prints their names, one a line; run in every round, by no shell")
    add("--until-zero", action="store_true", help="ask until no call is left")
    line.add_number("--timeout", float, 0.1, 600, "seconds after which --until-zero gives up")
    line.add_number("--interval", float, 0, 2, "seconds between two rounds of --until-zero")
    add("--knock", action="store_true", help="dial the WebSocket route as a stranger; 401 is the answer it should give")
    add("--anybody", action="store_true", help="with --knock: anybody may call, so a stranger may be let in")
    add("--model", default="gpt-realtime", help="with --knock: deployment named in the URL where it names none")
    line.add_way()
    add("--record", metavar="FILE", help="append every round, or every knock, as a JSON line")
    add("--json", action="store_true", help="print the result as one JSON object")
    return line


async def probe(plan: Plan) -> int:
    if plan.knock is not None:
        return await knock(plan, plan.knock)
    async with Questions(plan.url, plan.connect_to, plan.trust, ANSWER_DEADLINE_S) as questions:
        return await Probe(plan, Relays(plan.url, questions)).run()


def main() -> int:
    plan = parse(sys.argv[1:])
    try:
        return uvloop.run(probe(plan))
    except (NotListed, Unreached, WrongAddress) as problem:
        return complain("probe", str(problem), UNREACHED)
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
