"""Hold many voice calls at once for a long time; the exit code says whether every limit was kept.

python -m clients.hold ws://127.0.0.1:8080 --connections 5 --duration 300
"""

import asyncio
import dataclasses
import os
import resource
import signal
import sys
import time
from functools import partial
from typing import Any

import aiohttp
import orjson
import uvloop

from clients import options, speech
from clients.arguments import Plan, parse
from clients.call import Call
from clients.conversation import Common
from clients.dial import cause_and_cure
from clients.hearing import Ids
from clients.observations import HoldCompleted, HoldStarted, Observation
from clients.options import BAD_ARGUMENTS, INTERRUPTED
from clients.summary import Tally, check
from clients.view import View, show

HELD, FAILED, UNREACHABLE = 0, 1, 3
# Beside one socket a call: the interpreter, the loop, the resolver's threads, the record.
FILES_BESIDE_SOCKETS = 64

complain = partial(options.complain, "hold")


class Hold:
    """One run of a plan: set up, `run` once, then `report`."""

    def __init__(self, plan: Plan) -> None:
        self._interrupted = False
        self._plan = plan
        self._tally = Tally(plan.connections)
        self._end = asyncio.Event()
        self._began = time.monotonic()
        utterance = speech.utterance(plan.utterance) if plan.recording is None else speech.pieces(plan.recording)
        common = Common(plan, utterance, Ids(), self._note, self._end)
        self._calls = [Call(number, common) for number in range(1, plan.connections + 1)]
        self._view = View(self._calls, self._tally, plan.ramp + plan.duration)
        self._in_place = plan.connections

    async def run(self) -> None:
        """Until the time is over, no call is in place, or an interrupt. By then every session has been closed."""
        plan = self._plan
        self._note(HoldStarted(arguments=plan.as_recorded()))
        self._began = time.monotonic()
        watching = asyncio.create_task(self._view.watch())
        alarm = asyncio.get_running_loop().call_later(plan.ramp + plan.duration, self._end.set)
        connector = aiohttp.TCPConnector(limit=0, ssl=plan.target.trust)
        async with connector, asyncio.TaskGroup() as group:
            places = {
                call: group.create_task(self._keep_place(call, plan.ramp * index / plan.connections, connector))
                for index, call in enumerate(self._calls)
            }
            await self._end.wait()
            for call, task in places.items():
                if call.session is None:
                    call.miss_the_end(self._interrupted)
                    task.cancel()
        alarm.cancel()
        watching.cancel()
        await asyncio.wait([watching])

    async def _keep_place(self, call: Call, start_after: float, connector: aiohttp.TCPConnector) -> None:
        await call.run(start_after, connector)
        self._in_place -= 1
        if self._in_place == 0:
            self._end.set()

    def interrupt(self) -> None:
        """The first one ends the hold as its time would; the second ends the process."""
        if self._interrupted:
            self._view.leave()
            os._exit(INTERRUPTED)
        self._interrupted = True
        self._end.set()

    def report(self) -> int:
        """Prints the result, notes it as the last line of the record, and returns the exit code."""
        lasted_s = round(time.monotonic() - self._began, 1)
        outcome = Outcome(self._plan, self._tally, lasted_s, self._interrupted)
        self._note(HoldCompleted(summary=outcome.summary()))
        outcome.show()
        return outcome.exit_code

    def _note(self, observation: Observation) -> None:
        self._tally.add(self._plan.record.write(observation))


class Outcome:
    """The result of a finished hold: the summary, the exit code, and what is printed."""

    def __init__(self, plan: Plan, tally: Tally, lasted_s: float, interrupted: bool) -> None:
        self._plan = plan
        self._tally = tally
        self._lasted_s = lasted_s
        self._interrupted = interrupted
        self._checks = check(plan.limits, tally.measured())

    @property
    def exit_code(self) -> int:
        """A target that gave no session is no failed check; a record with holes or without an answer proves nothing."""
        if not self._tally.opened:
            return UNREACHABLE if self._tally.refusals else INTERRUPTED
        kept = all(each.held for each in self._checks) and self._plan.record.failure is None
        return HELD if kept and not self._tally.never_answered else FAILED

    def summary(self) -> dict[str, Any]:
        """What --json prints, and the last line of the record carries."""
        return {
            "hold": self._plan.record.hold,
            "url": str(self._plan.target.url),
            "duration_s": self._plan.duration,
            "lasted_s": self._lasted_s,
            "interrupted": self._interrupted,
            **self._tally.numbers(),
            "checks": [dataclasses.asdict(each) | {"held": each.held} for each in self._checks],
            "record_failure": self._plan.record.failure,
            "exit_code": self.exit_code,
        }

    def show(self) -> None:
        """The result on stdout, what went wrong around it on stderr."""
        if self._plan.json:
            sys.stdout.write(orjson.dumps(self.summary()).decode() + "\n")
        elif self._tally.opened:
            until = f"{self._lasted_s:g} s, until the interrupt"
            show(self._tally, self._checks, until if self._interrupted else f"{self._plan.duration:g} s")
        if self.exit_code == UNREACHABLE:
            ((cause, _),) = self._tally.refusals_by_cause().most_common(1)
            complain(f"{self._plan.target.url} let no session in: {cause_and_cure(*cause)}")
        if self._tally.never_answered:
            turns = ", ".join(f"{count} {status}" for status, count in self._tally.turns.most_common())
            complain(f"turns were taken and none was completed: {turns}")
        if self._plan.record.failure:
            complain(f"the record is incomplete: {self._plan.record.failure}")


def may_open_files(count: int) -> bool:
    """Lifts the soft limit, which is 1024 or 256 by default, as far as the hard one allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        soft = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft == resource.RLIM_INFINITY or soft >= count


async def hold(plan: Plan) -> int:
    holding = Hold(plan)
    for stop in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(stop, holding.interrupt)
    await holding.run()
    return holding.report()


def main() -> int:
    plan = parse(sys.argv[1:], os.environ)
    files = plan.connections + FILES_BESIDE_SOCKETS
    if not may_open_files(files):
        needs = f"--connections {plan.connections} needs {files} open files"
        return complain(f"{needs}; raise the hard limit (ulimit -Hn)", BAD_ARGUMENTS)
    return uvloop.run(hold(plan))


if __name__ == "__main__":
    sys.exit(main())
