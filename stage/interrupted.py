"""``python -m stage.interrupted``: plays that are killed at each write, and rollouts whose every write fails at first.

Each case has a stage of its own. A play that was killed is run again and has to end well. A rollout whose writes fail
has to end with every call on green where the release is good, and else with every call on blue again.
"""

import argparse
import asyncio
import copy
import json
import os
import signal
import sys
import time
from asyncio.subprocess import STDOUT, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stage.azure import Stage
from stage.commandline import new_folder, until_interrupted
from stage.leash import started
from stage.rehearsal import PLAYBOOKS, Steps
from stage.seed import APP, SUFFIX, Seed

DEADLINE_S = 900.0
"""For one run of a play on a busy machine."""
BLUE, GREEN = f"{APP}--{SUFFIX}", f"{APP}--green"
IMAGE = "docker.io/library/rtproxy:1"
"""Of a registry that is not the stage's own: it counts as present, and nothing is built."""
# Few calls, for a short time: what a play learns from them is tested elsewhere.
SMALL: Mapping[str, Any] = {
    "release": "green",
    "image": IMAGE,
    "kinds": "vad",
    "held_with": ["--talk-every", "0"],
    "judge_connections": 8,
    "judge_seconds": 3,
    "smoke_connections": 2,
    "smoke_seconds": 3,
    "smoke_drain": False,
    "long_connections": 1,
    "long_seconds": 2,
    "compared_checks": [],
    "green_checks": [],
}
# One step of the rollout fails, as for a bad release that has callers already.
_BROKEN = 'case "$*" in *step-50.jsonl*) exit 9 ;; esac; exec "$@"'
BAD: Mapping[str, Any] = {"caller": ["sh", "-c", _BROKEN, "sh"]}
DEPLOYED = {"RESOURCE_GROUP": "voice", "LOCATION": "eastus2", "PREFIX": APP}
SEEDED = Seed(min_replicas=1, grace_s=11, drain_s=8)

EPILOG = """\
exit code:
  0 every case ended well, 1 one did not and is named, 2 bad arguments, 3 a stage could not be set up, 130 interrupted
"""


class Unwell(Exception):
    """A case did not end as it must; the message says how it ended."""


@dataclass(frozen=True, kw_only=True)
class Play:
    """``wrong`` describes what is wrong with the stage after the play; empty: nothing is."""

    book: str
    wrong: Callable[["Case"], str]
    before: Callable[["Case"], Awaitable[None]] | None = None
    """What the stage needs first."""
    empty: bool = False
    variables: Mapping[str, Any]


class Case:
    """A stage, and plays on it."""

    def __init__(self, stage: Stage, play: Play) -> None:
        self.stage = stage
        self.play = play
        self._environ = os.environ | stage.environ | (DEPLOYED if play.empty else {})
        self._environ |= {"ANSIBLE_HOME": str(stage.out / "ansible"), "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"}

    @property
    def log(self) -> Path:
        return self.stage.out / "play.log"

    async def run(self, book: str, variables: Mapping[str, Any]) -> int:
        """The exit code of a play that runs to its end."""
        async with self._under_way(book, variables) as process, asyncio.timeout(DEADLINE_S):
            return await process.wait()

    async def killed(self, at: int) -> str:
        """Runs the play up to its write of that number, in which it is killed; that write. Empty: it has fewer."""
        writes: list[str] = []
        reached = asyncio.Event()

        def watch(verb: str, path: str) -> None:
            writes.append(f"{verb} {path.partition('/providers/')[2] or path.rpartition('/')[2]}")
            if len(writes) == at:
                reached.set()

        async with self._under_way(self.play.book, self.play.variables) as process:
            self.stage.faults.watch = watch
            try:
                ended, killing = asyncio.create_task(process.wait()), asyncio.create_task(reached.wait())
                async with asyncio.timeout(DEADLINE_S):
                    await asyncio.wait((ended, killing), return_when=asyncio.FIRST_COMPLETED)
                killing.cancel()
            finally:
                self.stage.faults.watch = None
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            code = await ended
        if not reached.is_set() and code:
            raise Unwell(f"{self.play.book} ended {code} before anybody killed it: see {self.log}")
        return writes[at - 1] if reached.is_set() else ""

    @asynccontextmanager
    async def _under_way(self, book: str, variables: Mapping[str, Any]) -> AsyncIterator[Process]:
        given = {**variables, "run_dir": str(self.stage.out / "run")}
        inventory = str(PLAYBOOKS / "inventories" / "stage.yml")
        command = ("ansible-playbook", "-i", inventory, str(PLAYBOOKS / book), "--extra-vars", json.dumps(given))
        with self.log.open("ab") as output:
            async with started(command, self._environ, stdout=output, stderr=STDOUT) as process:
                yield process

    def carrying(self) -> dict[str, int]:
        """The weights in force."""
        app = self.stage.environment.apps[APP]
        return {name: each.weight for name, each in app.revisions.items() if each.weight}

    def active(self) -> list[str]:
        return [name for name, each in self.stage.environment.apps[APP].revisions.items() if each.active]


def only(*, on: str) -> Callable[[Case], str]:
    """Wrong is anything but every call on that revision, and that one alone active."""

    def wrong(case: Case) -> str:
        carrying, active = case.carrying(), case.active()
        fine = carrying == {on: 100} and active == [on]
        return "" if fine else f"weights {carrying}, active {active}, in the place of {on} alone"

    return wrong


def deployed(case: Case) -> str:
    return "" if APP in case.stage.environment.apps and case.carrying() == {GREEN: 100} else "no app stands"


def gone(case: Case) -> str:
    return f"{APP} is still there" if APP in case.stage.environment.apps else ""


async def rolled_out(case: Case) -> None:
    """Green has every call, and blue is off, as a rollout leaves them."""
    app = case.stage.environment.apps[APP]
    made = copy.deepcopy(app.properties)
    made["template"]["revisionSuffix"] = "green"
    made["template"]["containers"][0]["image"] = IMAGE
    for weights in ({BLUE: 100, GREEN: 0}, {BLUE: 0, GREEN: 100}):
        made["configuration"]["ingress"]["traffic"] = [
            {"revisionName": name, "weight": weight} for name, weight in weights.items()
        ]
        await app.update(made)
        await app.settled()
    await app.deactivate(BLUE)


async def deployed_once(case: Case) -> None:
    await _made(case, "deploy.yml", PLAYS["deploy"].variables)


async def _made(case: Case, book: str, variables: Mapping[str, Any]) -> None:
    if code := await case.run(book, variables):
        raise Unwell(f"{book} ended {code} before the case began: see {case.log}")


PLAYS: Mapping[str, Play] = {
    "bluegreen": Play(book="bluegreen.yml", wrong=only(on=GREEN), variables=SMALL),
    "rollback": Play(book="rollback.yml", wrong=only(on=BLUE), variables={"release": "green"}, before=rolled_out),
    "deploy": Play(book="deploy.yml", wrong=deployed, empty=True, variables=SMALL),
    "teardown": Play(book="teardown.yml", wrong=gone, empty=True, variables={"confirm": "voice"}, before=deployed_once),
}


async def killed(name: str, at: int, out: Path) -> str:
    """Kills a play at its write of that number and runs it again; that write, or nothing where it has fewer."""
    play = PLAYS[name]
    async with Stage(out, None if play.empty else SEEDED) as stage:
        case = Case(stage, play)
        if play.before is not None:
            await play.before(case)
        write = await case.killed(at)
        if write and (code := await case.run(play.book, play.variables)):
            raise Unwell(
                f"killed at write {at}, {write}, {play.book} ended {code} when it was run again: see {case.log}"
            )
        if write and (wrong := play.wrong(case)):
            raise Unwell(f"killed at write {at}, {write}, and run again, it left {wrong}")
        return write


async def stumbling(seed: int, out: Path) -> str:
    """A rollout of which every write fails one to three times, of a good release or, by an odd seed, of a bad one."""
    good = not seed % 2
    async with Stage(out, SEEDED) as stage:
        case = Case(stage, PLAYS["bluegreen"])
        stage.faults.stumble(seed=seed, writes=1.0, most=3)
        code = await case.run("bluegreen.yml", {**SMALL, **({} if good else BAD)})
        stage.faults.clear()
        wrong = only(on=GREEN if good else BLUE)(case)
        if wrong or (code == 0) is not good:
            raise Unwell(
                f"seed {seed}, a {'good' if good else 'bad'} release: the play ended {code}, {wrong or case.log}"
            )
        return "green" if good else "blue again"


async def interrupted(plays: Sequence[str], kills: int, seeds: int, out: Path) -> int:
    """Runs every case; the exit code. ``kills``: of each play at most; 0: at each write."""
    steps, failed, cases = Steps(), 0, 0
    for name in plays if not seeds else ():
        at = 0
        while not kills or at < kills:
            at += 1
            began = time.monotonic()
            try:
                with steps.step(f"{name}.yml, killed at write {at} and run again"):
                    if not (write := await killed(name, at, out / f"{name}-{at}")):
                        break
            except Unwell as unwell:
                failed += 1
                write = str(unwell)
            cases += 1
            steps.say(f"           {write} ({time.monotonic() - began:.0f} s)")
    for seed in range(seeds):
        cases += 1
        try:
            with steps.step(f"bluegreen.yml, every write fails by seed {seed}"):
                ended = await stumbling(seed, out / f"seed-{seed}")
        except Unwell as unwell:
            failed += 1
            ended = str(unwell)
        steps.say(f"           {ended}")
    steps.say(f"{cases - failed} of {cases} ended well.")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="nox -s interrupted --",
        description="Kills each play at each of its writes and runs it again. With --seeds it lets every write of a"
        " rollout fail one to three times instead: a refusal (409, 429, 503) or a lost connection.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--play", action="append", choices=PLAYS, metavar="NAME", help=f"one of {', '.join(PLAYS)}; repeatable (all)")
    add("--kills", type=int, default=0, metavar="N", help="kill each play only at its first N writes (at every write)")
    add("--seeds", type=int, default=0, metavar="N", help="instead of kills: N rollouts whose writes fail")
    add("--out", type=new_folder, metavar="DIR", help="folder of the results (rehearsals/interrupted-TIME)")
    given = parser.parse_args()
    out = (given.out or Path("rehearsals", f"interrupted-{time.strftime('%Y%m%d-%H%M%S')}")).absolute()
    try:
        return asyncio.run(until_interrupted(interrupted(given.play or list(PLAYS), given.kills, given.seeds, out)))
    except (OSError, RuntimeError) as error:
        sys.stderr.write(f"interrupted: a stage could not be set up: {error}\n")
        return 3


if __name__ == "__main__":
    sys.exit(main())
