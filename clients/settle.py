"""Wait until each part of an ingress sends new callers where the weights say.

python -m clients.settle wss://voice.example.com --share app--blue=90 --share app--green=10 --timeout 20
"""

import asyncio
import dataclasses
import math
import ssl
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import orjson
import uvloop
from yarl import URL

from clients.chance import likely
from clients.dial import Questions, Refusal, cause_and_cure, printable
from clients.observations import Record, Settled
from clients.options import INTERRUPTED, CommandLine, complain, share
from clients.target import PAGE_SCHEMES, Address, base_url, whom_to_trust

IN_FORCE, NOT_IN_FORCE, UNREACHED = 0, 1, 3
REVISION = "x-rtproxy-revision"
AT_ONCE = 8
"""Questions under way at the same time: a handshake takes a while, and a gateway is not to be flooded."""
ANSWER_DEADLINE_S = 5.0
AGAIN_S = 0.2
ROUNDS = 2
"""Rounds that agree, one after the other. One alone may agree by chance while a change is late."""
UNSEEN = 0.01
"""The chance that enough answers leave out a revision that has a weight, or a stray share of `STRAY`."""
STRAY = 0.05
"""Of answers, to a revision at weight 0: one part of an ingress in ten that has not yet moved half of its callers."""
ALPHA = 0.01
"""The chance that a round of answers that agree with the weights is called wrong: then one more is asked for."""

DESCRIPTION = """\
Ask /healthz at the callers' address, each time on a connection of its own, which revision answers, until the answers
agree with the weights: none from a revision at weight 0, each other as often as chance allows, in two rounds one
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


def enough(weights: Mapping[str, int]) -> int:
    """So many callers that none on one of these revisions has a chance below 1 %: 44 where one has a tenth."""
    return max((_until_seen(each) for each in _shares(weights).values()), default=1)


def answers_wanted(weights: Mapping[str, int]) -> int:
    """So many answers that one part of the ingress that has not taken the weights would show, too."""
    return max(enough(weights), _until_seen(STRAY))


def disagreement(weights: Mapping[str, int], answers: Counter[str], *, whole: bool) -> str | None:
    """Why these answers are not what the weights say, None where they may be. Strays are wrong at any number."""
    shares = _shares(weights)
    strays = {name: count for name, count in answers.items() if name not in shares}
    if strays:
        return f"{' and '.join(f'{count} came from {name}' for name, count in strays.items())}, which has no weight"
    if not whole:
        return None
    total = answers.total()
    for name, part in shares.items():
        span = likely(total, part, ALPHA / len(shares))
        if answers[name] not in span or not answers[name]:
            expected = f"{max(span[0], 1)} to {span[-1]} of {total} are to be expected"
            return f"{answers[name]} came from {name}, where {expected}"
    return None


def _shares(weights: Mapping[str, int]) -> dict[str, float]:
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items() if weight}


def _until_seen(part: float) -> int:
    return 1 if part >= 1 else math.ceil(math.log(UNSEEN) / math.log1p(-part))


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
    """Asks which revision answers.

    `relays` counts the answers of relays; `failure` has cause and cure of the last question that no relay answered.
    """

    def __init__(self, questions: Questions) -> None:
        self.failure: str | None = None
        self.relays = 0
        self._questions = questions

    async def one(self) -> str:
        """The revision that answered; else, in words, what answered instead."""
        try:
            async with self._questions.ask() as response:
                revision = response.headers.get(REVISION)
        except Refusal as refusal:
            self.failure = cause_and_cure(refusal.status, refusal.code, refusal.message)
            return "nobody"
        if revision is None:
            self.failure = f"HTTP {response.status} from something that is no relay"
            return f"no relay (HTTP {response.status})"
        self.relays += 1
        return printable(revision)


async def settle(plan: Plan) -> int:
    """Prints the result and returns the exit code."""
    began = time.monotonic()
    over = began + plan.timeout
    agreed = asked = 0
    last: Counter[str] = Counter()
    wrong: str | None = None
    async with Questions(plan.url, plan.connect_to, plan.trust, ANSWER_DEADLINE_S) as questions:
        asking = Asking(questions)
        while agreed < ROUNDS and time.monotonic() < over:
            answers, disagrees = await _round(plan, asking, over)
            asked += answers.total()
            if disagrees is None:  # the time was over before there were enough answers
                wrong = wrong or f"only {answers.total()} of {answers_wanted(plan.shares)} answers came in time"
                last = last or answers
                break
            last, wrong = answers, disagrees or None
            agreed = 0 if wrong else agreed + 1
            if wrong and time.monotonic() + AGAIN_S < over:
                await asyncio.sleep(AGAIN_S)
    settled = Settled(
        url=str(plan.url),
        shares=dict(plan.shares),
        answers=dict(last),
        asked=asked,
        waited_s=round(time.monotonic() - began, 1),
        in_force=agreed >= ROUNDS,
    )
    return _report(plan, settled, wrong, asking)


async def _round(plan: Plan, asking: Asking, over: float) -> tuple[Counter[str], str | None]:
    """Answers, and why they disagree with the weights, empty where they agree; None: too few came before `over`."""
    answers: Counter[str] = Counter()
    wanted = answers_wanted(plan.shares)
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
        complain("settle", f"the record is incomplete: {plan.record.failure}")
    weights = " / ".join(f"{revision} {weight}" for revision, weight in plan.shares.items() if weight)
    after = f"after {settled.waited_s:g} s"
    if settled.in_force:
        code, sentence = IN_FORCE, f"The weights {weights} are in force {after}: {_of(settled)}."
    elif not asking.relays:
        code, sentence = UNREACHED, f"No relay answered at {plan.url} in {settled.waited_s:g} s: {asking.failure}."
    else:
        why = wrong or "no two rounds of answers one after the other agreed"
        code, sentence = NOT_IN_FORCE, f"The weights {weights} are not in force {after}: {why}."
        sentence += f" Of the last round {_of(settled)}."
        if asking.failure and any(name not in plan.shares for name in settled.answers):
            sentence += f" The last that was no relay's answer: {asking.failure}."
    if plan.json:
        numbers = {"sentence": sentence, "enough": enough(plan.shares), "exit_code": code}
        sys.stdout.write(orjson.dumps(dataclasses.asdict(settled) | numbers).decode() + "\n")
    elif code == IN_FORCE:
        sys.stdout.write(sentence + "\n")
    if code != IN_FORCE:
        complain("settle", sentence)
    return code


def _of(settled: Settled) -> str:
    total = sum(settled.answers.values())
    counts = ", ".join(f"{count} came from {name}" for name, count in sorted(settled.answers.items()))
    return f"of {total} answers {counts}" if counts else "of no answer at all"


def parse(argv: Sequence[str]) -> Plan:
    """Ends with exit 2 and every problem named, or with exit 0 after --help."""
    line = CommandLine("settle", "URL --share REVISION=WEIGHT ... [options], see --help", DESCRIPTION, EPILOG)
    add = line.add
    add("url", metavar="URL", help="ws://, wss://, http:// or https://; whatever its path, /healthz is asked")
    add("--share", action="append", default=[], type=share, metavar="REVISION=WEIGHT", help="a weight; repeatable")
    line.add_number("--timeout", float, 0.1, 20, "seconds after which it gives up")
    line.add_way()
    add("--record", metavar="FILE", help="append the result as a JSON line")
    add("--json", action="store_true", help="print the result, and how many calls show each revision, as a JSON object")
    given = line.read(argv)
    url, mistakes = base_url(given.pop("url"), PAGE_SCHEMES)
    trust, mistrust = whom_to_trust(given.pop("ca_file"), given.pop("insecure"))
    line.problems += mistakes + mistrust
    shares = dict(given.pop("share"))
    if not any(shares.values()):
        line.problems.append("--share has to name a revision with a weight above 0")
    record = line.finish(given.pop("record"))
    return Plan(url=url.with_path("/healthz"), trust=trust, shares=shares, record=record, **given)


def main() -> int:
    plan = parse(sys.argv[1:])
    try:
        return uvloop.run(settle(plan))
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
