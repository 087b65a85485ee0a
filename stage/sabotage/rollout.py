"""A rollout on the stage with the steps of the play driven from here: no az, no Ansible, else the real parts.

Its times are those of the rehearsal on a small scale; what holds, probes and judges are the commands of the play.
"""

import asyncio
import os
import secrets
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from stage import seed
from stage.model import Model
from stage.platform import App, Environment
from stage.rehearsal.processes import running, started
from stage.sabotage.middle import VARIABLE, program
from stage.sabotage.row import Row
from stage.seed import APP, SUFFIX, Seed
from stage.timeline import Timeline

BLUE, GREEN = f"{APP}--{SUFFIX}", f"{APP}--green"
DRAIN_S, GRACE_S = 5, 8
SMOKE_CONNECTIONS, JUDGE_CONNECTIONS = 3, 8
JUDGE_S = 7.0
CALL_S = 9.0
DRAIN_TIMEOUT_S = 3.0
AFTERWARDS_S = 4.0
OPENED_DEADLINE_S = 30.0
LOOK_EVERY_S = 0.1
SAID = 300
LONGEST_HOLD_S = 600


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

    # The stage.

    async def _stand(self, stack: AsyncExitStack) -> None:
        row = self.row
        self.out.mkdir(parents=True, exist_ok=True)
        timeline = Timeline(stack.enter_context((self.out / "timeline.jsonl").open("wb")))
        key = secrets.token_urlsafe(24)
        model = await Model.start(key, *MODEL, *row.model)
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
        sizes = Seed(min_replicas=row.replicas, max_replicas=row.replicas, grace_s=GRACE_S, drain_s=DRAIN_S)
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
            await self._opened(hold, path)
            yield hold

    async def _opened(self, hold: Process, path: Path) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(OPENED_DEADLINE_S):
                while hold.returncode is None:
                    if opened(path) >= self.row.connections:
                        return
                    await asyncio.sleep(LOOK_EVERY_S)
        raise Broken(f"the calls did not open, see {self.out / 'hold.log'}")

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
        await self._create()
        if self.row.interrupt == "before-green":
            hold.send_signal(signal.SIGINT)
        await self._judge("smoke", GREEN)
        await self._judge("before")
        for share in (50, 100):
            await self._weigh({BLUE: 100 - share, GREEN: share})
            await self._judge(f"step-{share}", shares={BLUE: 100 - share, GREEN: share})
        await self._emptied(BLUE)

    async def _create(self) -> None:
        await self._weigh({BLUE: 100})
        self._properties["template"]["revisionSuffix"] = "green"
        self._add(self._properties, {VARIABLE: self.row.green, **self.row.green_env})
        await self._platform.put(APP, self._properties)
        await self._app.settled()
        green = self._app.revisions[GREEN]
        if green.provisioning_state != "Provisioned":
            self._found("ready", ["ready"], str(green.provisioning_error))

    async def _weigh(self, weights: Mapping[str, int]) -> None:
        traffic = [{"revisionName": name, "weight": weight} for name, weight in weights.items() if weight]
        self._properties["configuration"]["ingress"]["traffic"] = traffic
        await self._platform.put(APP, self._properties)

    async def _judge(self, name: str, revision: str = "", shares: Mapping[str, int] | None = None) -> None:
        """playbooks/tasks/judge.yml. Raises Stopped where it does not pass."""
        record = self.out / "rollout" / f"{name}.jsonl"
        record.parent.mkdir(exist_ok=True)
        connections = SMOKE_CONNECTIONS if revision else JUDGE_CONNECTIONS
        url = f"ws://{revision}.{self._platform.domain}" if revision else self._platform.gateway_url
        code, said = await self._module(
            "clients.hold",
            url,
            *("--connections", str(connections), "--duration", f"{JUDGE_S:g}", "--record", str(record)),
            *("--talk-every", f"{JUDGE_S / 4:g}", "--ping-interval", f"{JUDGE_S / 8:g}", "--json"),
            *(("--connect-to", self._platform.ingress) if revision else ()),
        )
        if code not in (0, 1):
            self._found(name, ["hold"], said)
        before = record.with_stem("before")
        await self._verdict(
            name,
            str(record),
            *(word for each, share in (shares or {}).items() for word in ("--share", f"{each}={share}")),
            *(("--baseline", str(before)) if shares else ()),
            held=code,
        )

    async def _verdict(self, name: str, *arguments: str, held: int = 0) -> None:
        found = await self._verdict_of(name, *arguments)
        failed = _failed(found) or (["hold"] if held else [])
        if failed:
            self._note(found)
            self._found(name, failed, f"it ended {held}")

    def _found(self, name: str, failed: list[str], said: str) -> None:
        self.result.stopped_at, self.result.by_play = name, failed
        for each in failed:
            self.result.sentences.setdefault(each, said[-SAID:])
        raise Stopped

    async def _emptied(self, revision: str) -> None:
        """playbooks/tasks/drain.yml: calls that stay are moved, and that is no failure."""
        names = [each.name for each in self._app.revisions[revision].replicas]
        code, said = await self._module(
            "clients.probe",
            f"ws://{revision}.{self._platform.domain}",
            *("--until-zero", "--timeout", f"{DRAIN_TIMEOUT_S:g}", "--interval", "0.5"),
            *("--record", str(self.out / "rollout" / "drain.jsonl"), "--connect-to", self._platform.ingress),
            *("--replicas", *names),
        )
        if code not in (0, 1):
            self._found("drain", ["probe"], said)

    async def _stop(self, revision: str) -> None:
        """playbooks/tasks/stop.yml, and gone.yml."""
        await self._app.deactivate(revision)
        replicas = self._app.revisions[revision].replicas
        await asyncio.gather(*(each.gone() for each in replicas))

    async def _go_back(self) -> None:
        await self._weigh({BLUE: 100})
        if GREEN in self._app.revisions and self._app.revisions[GREEN].active:
            await self._stop(GREEN)

    # The judgement of everything.

    async def _judge_all(self) -> None:
        found = await self._verdict_of("verdict", str(self.out))
        self.result.by_verdict = _failed(found)
        self.result.headline = found["headline"]
        self._note(found)

    async def _verdict_of(self, name: str, *arguments: str) -> dict[str, Any]:
        written = self.out / "rollout" / f"{name}.json"
        code, said = await self._module("clients.verdict", *arguments, "--json", str(written))
        if code not in (0, 1):
            raise Broken(f"{name}: the verdict ended {code}: {said[-SAID:]}")
        found: dict[str, Any] = orjson.loads(written.read_bytes())
        return found

    def _note(self, found: Mapping[str, Any]) -> None:
        for check in found.get("checks", ()):
            if not check["as_expected"]:
                self.result.sentences[check["name"]] = check["sentence"]

    async def _module(self, *command: str) -> tuple[int, str]:
        full = (sys.executable, "-m", *command)
        async with started(full, self._environ, stdout=DEVNULL, stderr=PIPE) as process:
            _, said = await process.communicate()
        assert process.returncode is not None
        return process.returncode, said.decode(errors="replace").strip()


def opened(record: Path) -> int:
    """How many calls a hold has opened so far."""
    return record.read_text().count('"observation":"opened"') if record.exists() else 0


def _failed(found: Mapping[str, Any]) -> list[str]:
    missing: list[str] = found["expected_but_missing"]
    return [check["name"] for check in found["checks"] if not check["as_expected"]] + missing


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


MODEL = ("--answer-seconds", "1", "--silence-ms", "300")
HELD = (
    *("--reconnect", "--ping-interval", "1", "--talk-every", "3", "--utterance", "1"),
    *("--turn-deadline", "6", "--call-seconds", f"{CALL_S:g}"),
)
