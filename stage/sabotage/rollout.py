"""A rollout on the stage with the steps of the play driven from here: no az, no Ansible, else the real parts.

Its times are those of the rehearsal on a small scale; what holds, probes and judges are the commands of the play.
"""

import asyncio
import os
import secrets
import shutil
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from stage import seed
from stage.leash import running, started
from stage.platform import App, Environment
from stage.replica import Model
from stage.sabotage.middle import VARIABLE, program
from stage.sabotage.row import Row
from stage.seed import APP, SUFFIX, Seed
from stage.timeline import Timeline

BLUE, GREEN = f"{APP}--{SUFFIX}", f"{APP}--green"
ON_GREEN = {GREEN: 100}
DRAIN_S = 8
HEARTBEAT_S = 2
STARTUP_EVERY_S = 2
SMOKE_CONNECTIONS, JUDGE_CONNECTIONS, LONG_CONNECTIONS = 6, 12, 3
SMOKE_KINDS = "vad,push-to-talk,tools,text,barge-in,silent"
STEP_KINDS = "vad,vad,text,push-to-talk"
KINDS = "vad,long,tools,push-to-talk,silent,text,barge-in,vad"
TOOL_S = "1.5"
JUDGE_S, SMOKE_S = 7.0, 9.0
CALL_S = 9.0
DRAIN_TIMEOUT_S = 3.0
SETTLE_S = 20.0
AFTERWARDS_S = 6.0
OPENED_DEADLINE_S = 30.0
LOOK_EVERY_S = 0.1
MOVED = 1012
LONG_S = 16.0
OPENED = '"observation":"opened"'
SAID = 300
LONGEST_HOLD_S = 600


SURVIVED = ("survival.cut", "survival.refused")
HEARD = ("hearing.cross_talk", "hearing.events", "hearing.session", "hearing.audio")


@dataclass(frozen=True)
class Plan:
    """The checks that each judgement of the play has to decide, as its variables name them."""

    smoke: Sequence[str] = (*SURVIVED, "quality.kinds", "quality.turns", *HEARD)
    step: Sequence[str] = SURVIVED
    last_step: Sequence[str] = (*SURVIVED, "quality.turns", *HEARD)
    long: Sequence[str] = SURVIVED
    all: Sequence[str] = (
        *(*SURVIVED, *HEARD, "survival.moved", "quality.turns", "quality.kinds", "rollback.outcome"),
        *("termination.grace", "termination.no_sigkill", "termination.codes", "termination.turns"),
        *("evidence.hold", "evidence.log", "evidence.exits", "evidence.clock"),
    )


class Broken(Exception):
    """The rollout could not be made, good or bad; the message says why."""


@dataclass
class Result:
    """What was found: the failed checks of the judgement at which the play stopped, and those of the whole record."""

    stopped_at: str = ""
    by_play: list[str] = field(default_factory=list)
    by_verdict: list[str] = field(default_factory=list)
    headline: str = ""
    sentences: dict[str, str] = field(default_factory=dict)


class Stopped(Exception):
    """The play goes back to blue here."""


class Rollout:
    """One row under way in ``out``."""

    def __init__(self, row: Row, out: Path) -> None:
        self.row = row
        self.out = out
        self.result = Result()
        self._plan = Plan()
        self._holds: dict[str, Process] = {}
        self._weights: Mapping[str, int] = {}
        self._client_key = secrets.token_urlsafe(24)
        self._environ: dict[str, str] = os.environ | {"RTPROXY_KEY": self._client_key}
        self._platform: Environment
        self._app: App

    async def run(self) -> Result:
        """From an empty stage to the verdict; nothing is left running, whatever happens. Raises Broken."""
        async with AsyncExitStack() as stack:
            await self._stand(stack)
            if self.row.stutter_s:
                stuttering = asyncio.create_task(self._stutter())
                stack.push_async_callback(_cancelled, stuttering)
            async with self._calls() as hold:
                try:
                    await self._take_over(hold)
                except Stopped:
                    await self._go_back()
                else:
                    await self._stop(BLUE)
                await asyncio.sleep(AFTERWARDS_S)
            if self.row.record is not None:
                self.row.record(self.out)
            await self._judge_all()
        return self.result

    async def judged(self, good: Path) -> Result:
        """The record of a good rollout in ``good``, judged again after what becomes of it in this row."""
        shutil.copytree(good, self.out, ignore=shutil.ignore_patterns("ingress"))
        if self.row.record is not None:
            self.row.record(self.out)
        await self._judge_all()
        return self.result

    # The stage.

    async def _stand(self, stack: AsyncExitStack) -> None:
        row = self.row
        self.out.mkdir(parents=True, exist_ok=True)
        timeline = Timeline(stack.enter_context((self.out / "timeline.jsonl").open("wb")))
        key = secrets.token_urlsafe(24)
        model = await Model.start(key, f"--record={self.out / 'model.jsonl'}", *MODEL, *row.model)
        stack.push_async_callback(model.stop)
        self._platform = await stack.enter_async_context(
            Environment(
                self.out,
                timeline,
                gateway=row.gateway,
                unverified=row.unverified,
                program=program,
                ingress=row.ingress,
            )
        )
        sizes = Seed(
            min_replicas=row.replicas,
            max_replicas=row.replicas,
            grace_s=row.grace_s,
            drain_s=DRAIN_S,
            heartbeat_s=HEARTBEAT_S,
            startup_every_s=STARTUP_EVERY_S,
        )
        self._properties = seed.properties(sizes, "rtproxy:blue", model.url, key, self._client_key)
        self._add(self._properties, {VARIABLE: row.blue})
        self._app = await self._platform.put(APP, self._properties)
        await self._app.settled()
        if self._app.latest_ready is None:
            raise Broken(f"blue did not become ready: {self._app.latest.provisioning_error}")

    def _add(self, properties: dict[str, Any], variables: Mapping[str, str]) -> None:
        container = properties["template"]["containers"][0]
        kept = [each for each in container["env"] if each["name"] not in variables]
        container["env"] = kept + [{"name": name, "value": value} for name, value in variables.items() if value]

    @asynccontextmanager
    async def _calls(self) -> AsyncIterator[Process]:
        path = self.out / "hold.jsonl"
        flags = ("--record", str(path), "--connections", str(self.row.connections), "--duration", str(LONGEST_HOLD_S))
        command = (sys.executable, "-m", "clients.hold", self._platform.gateway_url, *flags, *HELD, *self.row.hold)
        async with running(command, self._environ, self.out / "hold.log") as hold:
            await self._until(lambda: opened(path) >= self.row.connections, "hold")
            yield hold

    async def _until(self, seen: Callable[[], bool], hold: str) -> None:
        try:
            async with asyncio.timeout(OPENED_DEADLINE_S):
                while not seen():  # noqa: ASYNC110 - a file does not report that it has grown
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            raise Broken(f"{hold}: the calls did not open, or did not talk, in {OPENED_DEADLINE_S:g} s") from None

    async def _stutter(self) -> None:
        stop_s = self.row.stutter_s
        while True:
            pids = [each.pid for revision in self._app.revisions.values() for each in revision.replicas if each.pid]
            for number in (signal.SIGSTOP, signal.SIGCONT):
                for pid in pids:
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)
                await asyncio.sleep(stop_s if number is signal.SIGSTOP else stop_s / 2)

    # The play.

    async def _take_over(self, hold: Process) -> None:
        """playbooks/tasks/takeover.yml: smoke, steps, and until blue's calls have ended by themselves."""
        async with AsyncExitStack() as holds:
            await self._weigh({BLUE: 100})
            await self._begin(holds, "before")
            await self._create()
            if self.row.hold_ends is not None:
                hold.send_signal(self.row.hold_ends)
            await self._smoke(holds)
            await self._judge("before", self._plan.step)
            for share in (50, 100):
                weights = {BLUE: 100 - share, GREEN: share}
                await self._weigh(weights)
                if problem := await self._unsettled(weights):
                    self._found("settle", ["settle"], problem)
                await self._begin(holds, f"step-{share}")
                await self._judge(f"step-{share}", self._plan.last_step if share == 100 else self._plan.step, weights)
            await self._emptied(BLUE)
            await self._judge("long", self._plan.long, ON_GREEN, compared=False)

    async def _create(self) -> None:
        self._properties["template"]["revisionSuffix"] = "green"
        self._add(self._properties, {VARIABLE: self.row.green, **self.row.green_env})
        await self._platform.put(APP, self._properties)
        await self._ready()

    async def _ready(self) -> None:
        green = self._app.revisions[GREEN]
        await green.settled()
        if green.provisioning_state != "Provisioned":
            self._found("ready", ["ready"], str(green.provisioning_error))

    async def _weigh(self, weights: Mapping[str, int]) -> None:
        self._weights = weights
        traffic = [{"revisionName": name, "weight": weight} for name, weight in weights.items() if weight]
        self._properties["configuration"]["ingress"]["traffic"] = traffic
        await self._platform.put(APP, self._properties)

    async def _unsettled(self, weights: Mapping[str, int]) -> str:
        """settle.yml: why the weights did not come into force, empty where they did."""
        shares = (word for name, share in weights.items() for word in ("--share", f"{name}={share}"))
        way = (self._platform.gateway_url, "--timeout", f"{SETTLE_S:g}", "--record", str(self._record("settle")))
        code, said = await self._module("clients.settle", *way, *shares)
        return said if code else ""

    async def _smoke(self, holds: AsyncExitStack) -> None:
        """smoke.yml, knock.yml and try_drain.yml."""
        code, said = await self._module(
            "clients.probe", self._address(GREEN), "--knock", *self._way, "--record", str(self._record("knock"))
        )
        if code:
            self._found("knock", ["knock"], said)
        await self._begin(holds, "smoke", GREEN, SMOKE_S, SMOKE_CONNECTIONS, ("--reconnect", "--kinds", SMOKE_KINDS))
        await self._judge("smoke", self._plan.smoke, ON_GREEN, compared=False)
        await self._begin(holds, "smoke-drain", GREEN, LONGEST_HOLD_S, SMOKE_CONNECTIONS, DRAINED)
        await self._until(lambda: _talked(self._record("smoke-drain"), SMOKE_CONNECTIONS), "smoke-drain")
        asked = time.time()
        await self._stop(GREEN)
        await self._judge("smoke-drain", ["survival.cut"], ON_GREEN, compared=False)
        if problem := unmoved(self._record("smoke-drain"), asked):
            self._found("smoke-drain", ["smoke-drain"], problem)
        await self._app.activate(GREEN)
        await self._ready()
        await self._begin(holds, "long", GREEN, LONG_S, LONG_CONNECTIONS, ("--kinds", STEP_KINDS))

    def _record(self, name: str) -> Path:
        return self.out / "rollout" / f"{name}.jsonl"

    def _address(self, revision: str) -> str:
        return f"ws://{revision}.{self._platform.domain}"

    @property
    def _way(self) -> tuple[str, str]:
        return "--connect-to", self._platform.ingress

    async def _begin(
        self,
        holds: AsyncExitStack,
        name: str,
        revision: str = "",
        seconds: float = JUDGE_S,
        connections: int = JUDGE_CONNECTIONS,
        held_with: Sequence[str] = ("--reconnect", "--kinds", STEP_KINDS),
    ) -> None:
        """hold.yml: begins to hold calls through the gateway, or on a revision's own address."""
        self._record(name).parent.mkdir(exist_ok=True)
        command = (
            *(sys.executable, "-m", "clients.hold"),
            self._address(revision) if revision else self._platform.gateway_url,
            *("--connections", str(connections), "--duration", f"{seconds:g}"),
            *("--record", str(self._record(name)), "--talk-every", f"{min(seconds, JUDGE_S) / 4:g}"),
            *("--ping-interval", f"{min(seconds, JUDGE_S) / 8:g}", "--turn-deadline", f"{JUDGE_S / 2:g}"),
            *(
                "--tool-seconds",
                TOOL_S,
                "--utterance",
                "1",
                "--max-cut",
                str(10**6),
                "--json",
                *held_with,
                *(self._way if revision else ()),
            ),
        )
        process = started(command, self._environ, stdout=DEVNULL, stderr=PIPE)
        self._holds[name] = await holds.enter_async_context(process)

    async def _judge(
        self, name: str, checks: Sequence[str], shares: Mapping[str, int] | None = None, *, compared: bool = True
    ) -> None:
        """judge.yml, with look.yml. `compared`: with the calls from before. Raises Stopped where it does not pass."""
        process, record = self._holds[name], self._record(name)
        _, said = await process.communicate()
        if process.returncode not in (0, 1):
            self._found(name, ["hold"], said.decode(errors="replace"))
        for revision in asked_back(record):
            await self._look(revision, record)
        baseline = self._record("before")
        found = await self._verdict_of(
            name,
            str(record),
            *(word for check in checks for word in ("--require", check)),
            *(word for each, share in (shares or {}).items() for word in ("--share", f"{each}={share}")),
            *(("--baseline", str(baseline)) if shares and compared else ()),
        )
        wrong = failed(found) or (["hold"] if process.returncode else [])
        if wrong:
            self._note(found)
            self._found(name, wrong, f"it ended {process.returncode}: {said.decode(errors='replace')}")

    async def _look(self, revision: str, record: Path) -> None:
        """Whether replicas that asked calls to come back had been asked to stop: they drain, or are gone."""
        if revision in self._app.revisions:
            names = [each.name for each in self._app.revisions[revision].replicas]
            listed = ("--replicas-command", f"echo {' '.join(names)}")
            await self._module("clients.probe", self._address(revision), "--record", str(record), *self._way, *listed)

    def _found(self, name: str, failed: list[str], said: str) -> None:
        self.result.stopped_at, self.result.by_play = name, failed
        for each in failed:
            self.result.sentences.setdefault(each, said.strip()[-SAID:])
        raise Stopped

    async def _emptied(self, revision: str) -> None:
        """drain.yml: calls that stay are moved, and that is no failure."""
        names = [each.name for each in self._app.revisions[revision].replicas]
        code, said = await self._module(
            *("clients.probe", self._address(revision), *self._way, "--replicas", *names),
            *("--until-zero", "--timeout", f"{DRAIN_TIMEOUT_S:g}", "--interval", "0.5"),
            *("--record", str(self._record("drain"))),
        )
        if code not in (0, 1):
            self._found("drain", ["probe"], said)

    async def _stop(self, revision: str) -> None:
        """stop.yml and gone.yml."""
        replicas = self._app.revisions[revision].replicas
        await self._app.deactivate(revision)
        await asyncio.gather(*(each.gone() for each in replicas))

    async def _go_back(self) -> None:
        if self._weights != {BLUE: 100}:
            await self._weigh({BLUE: 100})
            await self._unsettled({BLUE: 100})
        if GREEN in self._app.revisions and self._app.revisions[GREEN].active:
            await self._stop(GREEN)

    # The judgement of everything.

    async def _judge_all(self) -> None:
        checks = [check for check in self._plan.all if check not in self.row.unproven]
        required = (word for check in checks for word in ("--require", check))
        found = await self._verdict_of("verdict", str(self.out), *required)
        self.result.by_verdict = failed(found)
        self.result.headline = found["headline"]
        self._note(found)

    async def _verdict_of(self, name: str, *arguments: str) -> dict[str, Any]:
        written = self.out / "rollout" / f"{name}.json"
        code, said = await self._module("clients.verdict", *arguments, "--json", str(written))
        if code not in (0, 1) or not written.exists():
            raise Broken(f"{name}: the verdict ended {code}: {said[-SAID:]}")
        found: dict[str, Any] = orjson.loads(written.read_bytes())
        return found

    def _note(self, found: Mapping[str, Any]) -> None:
        for check in found.get("checks", ()):
            if not check["as_expected"]:
                self.result.sentences[check["name"]] = check["sentence"]

    async def _module(self, *command: str) -> tuple[int, str]:
        full = (sys.executable, "-m", *command)
        async with started(full, self._environ, stdout=PIPE, stderr=STDOUT) as process:
            said, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, said.decode(errors="replace").strip()


def opened(record: Path) -> int:
    """How many calls a hold has opened so far."""
    return record.read_text().count(OPENED) if record.exists() else 0


def _talked(record: Path, connections: int) -> bool:
    """Whether a turn ended once all calls were open: try_drain.yml stops green then."""
    parts = record.read_text().split(OPENED) if record.exists() else []
    return len(parts) > connections and '"observation":"turn"' in parts[-1]


def asked_back(record: Path) -> list[str]:
    """The revisions that asked calls of a hold to come back."""
    return sorted({str(end["revision"]) for end in _ends(record) if end["early"] and end["code"] == MOVED})


def unmoved(record: Path, asked: float) -> str:
    """Why not every call of a hold was moved by a revision that was asked to stop then; empty where each was."""
    ends = _ends(record)
    left = opened(record) - len(ends)
    wrong = [f"still open: {left}"] if left else []
    for end in ends:
        before = datetime.fromisoformat(end["ts"]).timestamp() < asked
        if before or not end["early"] or end["code"] != MOVED or end["closed_by"] != "remote":
            wrong.append(f"call {end['call']} ended {end['code']}{' before it was asked to' if before else ''}")
    return ", ".join(wrong)


def _ends(record: Path) -> list[dict[str, Any]]:
    lines = map(orjson.loads, record.read_bytes().splitlines())
    return [line for line in lines if line.get("observation") == "closed"]


def failed(found: Mapping[str, Any]) -> list[str]:
    """The checks that failed; where none did, those that had to be decided and were not."""
    missing: list[str] = found.get("expected_but_missing", [])
    wrong = [check for check in found.get("checks", ()) if not check["as_expected"]]
    certain = [check["name"] for check in wrong if check["status"] == "fail"]
    return certain or [check["name"] for check in wrong] + missing


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


DRAINED = ("--turn-deadline", "6", "--kinds", "vad,silent,tools,silent,push-to-talk,silent")
MODEL = ("--answer-seconds", "1", "--silence-ms", "300")
HELD = (
    *("--reconnect", "--ping-interval", "1", "--talk-every", "3", "--utterance", "1"),
    *("--turn-deadline", "6", "--kinds", KINDS, "--tool-seconds", TOOL_S, "--call-seconds", f"{CALL_S:g}"),
)
