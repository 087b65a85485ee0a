"""Ask the relays of a revision how many calls they carry, once or until none is left; or whether strangers get in.

python -m clients.probe https://app--blue.example.com --replicas app--blue-1 app--blue-2 --until-zero
"""

import asyncio
import dataclasses
import math
import sys
import time

import orjson
import uvloop

from clients.checks import INTERRUPTED
from clients.knock import Knock, knock
from clients.observations import Probed
from clients.probe_arguments import Plan, parse
from clients.refusal import Refusal, cause_and_cure
from clients.replicas import NotListed, listed
from clients.status import ROUND_DEADLINE_S, Relays, WrongAddress
from clients.target import Target

DONE, CALLS_LEFT, LET_IN, UNREACHED = 0, 1, 1, 3
LINE_EVERY_S = 10.0
# What the last round is given when the time is all but over.
LEAST_ROUND_S = 1.0


class Unreached(Exception):
    """Not one answer; the message has the cause and the cure."""


class Probe:
    """One run of a plan."""

    def __init__(self, plan: Plan, relays: Relays) -> None:
        self._plan = plan
        self._relays = relays
        self._began = time.monotonic()
        self._over = self._began + plan.timeout if plan.until_zero else math.inf
        self._last: Probed | None = None
        self._told: object = None
        self._told_at = 0.0

    async def run(self) -> int:
        """Prints the result and returns the exit code. Raises NotListed, Unreached or WrongAddress."""
        plan = self._plan
        while True:
            probed = await self._round()
            done = probed.complete and not (plan.until_zero and probed.sessions)
            if done or not plan.until_zero or self._over - time.monotonic() <= plan.interval:
                return self._report(probed, DONE if done else CALLS_LEFT)
            self._tell((probed.sessions, probed.missing), in_words(probed))
            await asyncio.sleep(plan.interval)

    async def _round(self) -> Probed:
        try:
            names = self._plan.replicas if self._plan.command is None else await listed(self._plan.command)
        except NotListed as failure:
            # Where it has worked before it may work again: the platform was busy, a token ran out.
            if self._last is None:
                raise
            self._tell(str(failure), f"{failure}; asking on")
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

    def _tell(self, fact: object, words: str) -> None:
        """For eyes, on stderr: when the fact is a new one, else a line now and then."""
        now = time.monotonic()
        if fact != self._told or now - self._told_at >= LINE_EVERY_S:
            self._told, self._told_at = fact, now
            sys.stderr.write(f"{now - self._began:.0f} s  {words}\n")

    def _report(self, probed: Probed, exit_code: int) -> int:
        waited_s = time.monotonic() - self._began
        sentence = in_words(probed, f" left after {waited_s:.0f} s" if self._plan.until_zero else "")
        if self._plan.json:
            facts = {"sentence": sentence, "waited_s": round(waited_s, 1), "exit_code": exit_code}
            sys.stdout.write(orjson.dumps(dataclasses.asdict(probed) | facts).decode() + "\n")
        else:
            sys.stdout.write(sentence + "\n")
        _complain_of_holes(self._plan)
        return exit_code


def in_words(probed: Probed, left: str = "") -> str:
    who = probed.revision or probed.url
    words = f"{who}: {_count(probed.sessions, 'call')}{left} ({_count(len(probed.replicas), 'replica')})"
    if probed.sessions:
        words += f", {probed.quiet} between turns, the oldest {probed.oldest_s:.0f} s old"
    if probed.missing:
        words += f"; no answer from {', '.join(probed.missing)}"
    return words


async def _knock(plan: Plan, target: Target) -> int:
    """Prints what the strangers got and returns the exit code. Raises Unreached when none got an answer."""
    knocks = await knock(target)
    if all(each.knocked.status is None for each in knocks):
        first = knocks[0]
        raise Unreached(f"{target.url} gave no answer: {cause_and_cure(None, first.knocked.code, first.message)}")
    for each in knocks:
        plan.record.write(each.knocked)
    wrong = [each for each in knocks if not (each.turned_away or (plan.anybody and each.let_in))]
    exit_code = LET_IN if wrong else DONE
    sentence = _of_strangers(knocks, wrong, str(target.url))
    if plan.json:
        facts = {"knocks": [dataclasses.asdict(each.knocked) for each in knocks]}
        sys.stdout.write(orjson.dumps(facts | {"sentence": sentence, "exit_code": exit_code}).decode() + "\n")
    else:
        sys.stdout.write(sentence + "\n")
    _complain_of_holes(plan)
    return exit_code


def _of_strangers(knocks: list[Knock], wrong: list[Knock], url: str) -> str:
    who = next((each.knocked.revision for each in knocks if each.knocked.revision), url)
    if not wrong:
        inside = sum(each.let_in for each in knocks)
        anybody = f", {inside} let in, as anybody may call" if inside else ""
        return f"{who}: {len(knocks) - inside} of {len(knocks)} strangers turned away with 401{anybody}"
    answers = "; ".join(f"with {each.shown}: {each.answer}" for each in wrong)
    return f"{who} did not turn strangers away with 401: {answers}"


def _complain_of_holes(plan: Plan) -> None:
    if plan.record.failure:
        complain(f"the record is incomplete: {plan.record.failure}")


def _count(number: int, thing: str) -> str:
    return f"{number or 'no'} {thing}{'s' if number > 1 else ''}"


def complain(text: str) -> None:
    sys.stderr.write(f"clients.probe: {text}\n")


async def probe(plan: Plan) -> int:
    if plan.knock is not None:
        return await _knock(plan, plan.knock)
    async with Relays(plan.url, plan.connect_to, plan.trust) as relays:
        return await Probe(plan, relays).run()


def main() -> int:
    plan = parse(sys.argv[1:])
    try:
        return uvloop.run(probe(plan))
    except (NotListed, Unreached, WrongAddress) as problem:
        complain(str(problem))
        return UNREACHED
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
