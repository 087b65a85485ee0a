"""Wait until each part of an ingress sends new callers where the weights say.

python -m clients.settle wss://voice.example.com --share app--blue=90 --share app--green=10 --timeout 20
"""

import argparse
import asyncio
import dataclasses
import ssl
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import aiohttp
import orjson
import uvloop
from yarl import URL

from clients.address import Address, dialled
from clients.checks import INTERRUPTED
from clients.judging.weighing import askers, disagreement, enough
from clients.observations import Settled
from clients.options import add_way, leave_if_any, not_understood, number, share
from clients.record import Record
from clients.refusal import cause_and_cure, from_exception, printable
from clients.target import PAGE_SCHEMES, base_url, whom_to_trust

IN_FORCE, NOT_IN_FORCE, UNREACHED = 0, 1, 3
REVISION = "x-rtproxy-revision"
AT_ONCE = 8
"""Questions under way at the same time: a handshake takes a while, and a gateway is not to be flooded."""
ANSWER_DEADLINE_S = 5.0
AGAIN_S = 0.2
ROUNDS = 2
"""Rounds that agree, one after the other. One alone may agree by chance while a change is late."""

DESCRIPTION = """\
Ask /healthz at the callers' address, each time on a connection of its own, which revision answers, until the answers
agree with the weights: no one from a revision at weight 0, each other as often as chance allows, in two rounds one
after the other. An ingress has several parts, and each takes new weights at its own time. No key is needed.
"""

EPILOG = """\
examples:
  python -m clients.settle http://127.0.0.1:8080 --share app--green=100
  python -m clients.settle wss://voice.example.com --share app--blue=90 --share app--green=10 --record settle.jsonl

exit code:
  0 the weights are in force, 1 they were not when the time was over, 2 bad arguments,
  3 not one relay answered, 130 interrupted
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`shares` are weights by revision, one above 0 at least; `timeout` in seconds."""

    url: URL
    connect_to: Address | None
    trust: ssl.SSLContext | bool
    shares: Mapping[str, int]
    timeout: float
    record: Record
    json: bool


class Asking:
    """Asks who answers. An answer that is no relay's counts by its status, one that did not come by its cause."""

    def __init__(self, plan: Plan) -> None:
        self.failure: str | None = None
        """The cause and the cure of the last question that no relay answered."""
        self.relays = 0
        """How many answers came from relays."""
        self._there, self._host, self._server_hostname = dialled(plan.url, plan.connect_to)
        self._http = aiohttp.ClientSession(
            # A balancer picks anew for each connection, and a cookie would pin us to a replica.
            connector=aiohttp.TCPConnector(limit=AT_ONCE, force_close=True, ssl=plan.trust),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=ANSWER_DEADLINE_S),
        )

    async def __aenter__(self) -> "Asking":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.close()

    async def one(self) -> str:
        """The revision that answered, or in words who answered instead."""
        try:
            async with self._http.get(
                self._there, headers=self._host, server_hostname=self._server_hostname, allow_redirects=False
            ) as response:
                revision = response.headers.get(REVISION)
        except (aiohttp.ClientError, OSError) as error:
            refusal = from_exception(error)
            self.failure = cause_and_cure(refusal.status, refusal.code, refusal.message)
            return "nobody"
        if revision is None:
            self.failure = f"HTTP {response.status} from something that is no relay"
            return f"no relay (HTTP {response.status})"
        self.relays += 1
        return printable(revision)


async def settle(plan: Plan) -> int:
    """Prints what was found and returns the exit code."""
    began = time.monotonic()
    over = began + plan.timeout
    agreed = asked = 0
    last: Counter[str] = Counter()
    wrong: str | None = None
    async with Asking(plan) as asking:
        while agreed < ROUNDS and time.monotonic() < over:
            answers, disagrees = await _round(plan, asking, over)
            asked += answers.total()
            if disagrees is None:  # the time was over before there was an answer to go by
                wrong = wrong or f"only {answers.total()} of {askers(plan.shares)} answers came in time"
                last = last or answers
                break
            last, wrong = answers, disagrees or None
            agreed = 0 if wrong else agreed + 1
            if wrong and time.monotonic() + AGAIN_S < over:
                await asyncio.sleep(AGAIN_S)
    waited_s = time.monotonic() - began
    settled = Settled(
        url=str(plan.url),
        shares=dict(plan.shares),
        answers=dict(last),
        asked=asked,
        waited_s=round(waited_s, 1),
        in_force=agreed >= ROUNDS,
    )
    return _report(plan, settled, wrong, asking)


async def _round(plan: Plan, asking: Asking, over: float) -> tuple[Counter[str], str | None]:
    """Answers, and why they disagree with the weights, empty where they agree; None: too few came before `over`."""
    answers: Counter[str] = Counter()
    wanted = askers(plan.shares)
    with suppress(TimeoutError):
        async with asyncio.timeout(max(over - time.monotonic(), 0)):
            while answers.total() < wanted:
                count = min(AT_ONCE, wanted - answers.total())
                answers.update(await asyncio.gather(*(asking.one() for _ in range(count))))
                if wrong := disagreement(plan.shares, answers, whole=answers.total() >= wanted):
                    return answers, wrong
            return answers, ""
    return answers, None


def _report(plan: Plan, settled: Settled, wrong: str | None, asking: Asking) -> int:
    plan.record.write(settled)
    if plan.record.failure:
        complain(f"the record is incomplete: {plan.record.failure}")
    if settled.in_force:
        code, sentence = (
            IN_FORCE,
            f"The weights {_weights(plan)} are in force after {settled.waited_s:g} s: {_of(settled)}.",
        )
    elif not asking.relays:
        code, sentence = UNREACHED, f"No relay answered at {plan.url} in {settled.waited_s:g} s: {asking.failure}."
    else:
        code = NOT_IN_FORCE
        why = wrong or "no two rounds of answers one after the other agreed"
        sentence = (
            f"The weights {_weights(plan)} are not in force after {settled.waited_s:g} s: {why}. Of the last round "
            f"{_of(settled)}."
        )
        if asking.failure and any(name not in plan.shares for name in settled.answers):
            sentence += f" The last that was no relay's answer: {asking.failure}."
    if plan.json:
        facts = {"sentence": sentence, "enough": enough(plan.shares), "exit_code": code}
        sys.stdout.write(orjson.dumps(dataclasses.asdict(settled) | facts).decode() + "\n")
    elif code == IN_FORCE:
        sys.stdout.write(sentence + "\n")
    if code != IN_FORCE:
        complain(sentence)
    return code


def _weights(plan: Plan) -> str:
    return " / ".join(f"{revision} {weight}" for revision, weight in plan.shares.items() if weight)


def _of(settled: Settled) -> str:
    total = sum(settled.answers.values())
    counts = ", ".join(f"{count} came from {name}" for name, count in sorted(settled.answers.items()))
    return f"of {total} answers {counts}" if counts else "of no answer at all"


def complain(text: str) -> None:
    sys.stderr.write(f"clients.settle: {text}\n")


def parse(argv: Sequence[str]) -> Plan:
    """Leaves with exit 2 and every problem named, or with exit 0 after --help."""
    problems: list[str] = []
    parser = _parser(problems)
    args, unknown = parser.parse_known_args(argv)
    problems += not_understood(unknown)
    given = vars(args)
    url, mistakes = base_url(given.pop("url"), PAGE_SCHEMES)
    trust, mistrust = whom_to_trust(given.pop("ca_file"), given.pop("insecure"))
    problems += mistakes + mistrust
    shares = dict(given.pop("share"))
    if not any(shares.values()):
        problems.append("--share has to name a revision with a weight above 0")
    try:
        record = Record(given.pop("record"), None)
    except OSError as error:
        problems.append(f"--record cannot be written: {error}")
    leave_if_any(problems, parser)
    return Plan(url=url.with_path("/healthz"), trust=trust, shares=shares, record=record, **given)


def _parser(problems: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m clients.settle",
        usage="%(prog)s URL --share REVISION=WEIGHT ... [options], see --help",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("url", metavar="URL", help="ws://, wss://, http:// or https://; whatever its path, /healthz is asked")
    add("--share", action="append", default=[], type=share, metavar="REVISION=WEIGHT", help="a weight; repeatable")
    timeout = number("--timeout", float, 0.1, problems)
    add("--timeout", type=timeout, default=20, metavar="S", help="seconds after which it gives up (default 20)")
    add_way(parser, problems)
    add("--record", metavar="FILE", help="append what was found as a JSON line")
    add("--json", action="store_true", help="print the result, and how many calls show each revision, as a JSON object")
    return parser


def main() -> int:
    plan = parse(sys.argv[1:])
    try:
        return uvloop.run(settle(plan))
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
