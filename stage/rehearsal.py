"""What a scenario can do on a running stage: hold calls, run a play, type az, wait; and how its steps are shown."""

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from stage.azure import RESOURCE_GROUP, Stage
from stage.leash import lines, running, started
from stage.seed import APP
from stage.timeline import Act

ROOT = Path(__file__).parents[1]
PLAYBOOKS = ROOT / "playbooks"
LONGEST_HOLD_S = 3600
OPENED_DEADLINE_S = 60.0
LOOK_EVERY_S = 0.2


class Steps:
    """Steps follow each other; none is inside another. Quiet, they are not shown."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._began = time.monotonic()
        self._console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True, quiet=quiet)
        self._status = self._console.status("")

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step: shown while it runs and, done or broken, with the second at which it ended."""
        self.now(title)
        self._status.start()
        try:
            yield
        except BaseException:
            self._line("broken", title)
            raise
        finally:
            self._status.stop()
        self._line("done", title)

    def now(self, detail: str) -> None:
        """What the step is at; for terminals only."""
        self._status.update(detail)

    def say(self, text: str) -> None:
        self._console.print(text)

    def _line(self, how: str, title: str) -> None:
        self._console.print(
            f"{time.monotonic() - self._began:6.1f} s  {how:7}{title}", style="red" if how == "broken" else ""
        )


class Unexpected(Exception):
    """The rehearsal cannot go on, or something else happened than in the scenario; the message says why."""


class Rehearsal:
    """One scenario under way. Its methods do one thing each and may run one at a time, beside `calls`."""

    def __init__(self, stage: Stage, steps: Steps, connections: int) -> None:
        self.stage = stage
        self.steps = steps
        self.connections = connections
        self._environ = os.environ | stage.environ | {"PYTHONUNBUFFERED": "1"}
        self._out = stage.out

    @asynccontextmanager
    async def calls(self, *flags: str, record: str = "hold.jsonl") -> AsyncIterator[Process]:
        """Calls held through the gateway while the block runs; every one has opened when it begins."""
        path = self._out / record
        fixed = ("--record", str(path), "--connections", str(self.connections), "--duration", str(LONGEST_HOLD_S))
        command = (sys.executable, "-m", "clients.hold", self.stage.environment.gateway_url, *fixed, *flags)
        async with running(command, self._environ, self._out / "hold.log") as hold:
            with self.steps.step(f"{self.connections} calls open through the gateway"):
                await self._opened(hold, path)
            yield hold

    async def _opened(self, hold: Process, record: Path) -> None:
        try:
            async with asyncio.timeout(OPENED_DEADLINE_S):
                while (opened := _count(record, '"observation":"opened"')) < self.connections:
                    if hold.returncode is not None:
                        raise Unexpected(f"the hold ended early, see {self._out / 'hold.log'}")
                    self.steps.now(f"{opened} of {self.connections} calls open through the gateway")
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            raise Unexpected(f"only {opened} of {self.connections} calls opened in {OPENED_DEADLINE_S:g} s") from None

    async def play(self, playbook: str, variables: Mapping[str, Any], *, succeeds: bool = True) -> None:
        """Runs a play as an operator would. Raises Unexpected when it ends otherwise than it should."""
        inventory = str(PLAYBOOKS / "inventories" / "stage.yml")
        command = (
            "ansible-playbook",
            "-i",
            inventory,
            str(PLAYBOOKS / playbook),
            "--extra-vars",
            json.dumps({**variables, "run_dir": str(self._out / "rollout")}),
        )
        environ = self._environ | {
            # Nothing goes into the home directory, and ansible wants UTF-8.
            "ANSIBLE_HOME": str(self._out / "ansible"),
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
        }
        title = f"ansible-playbook {playbook}"
        log = self._out / "play.log"
        with self.steps.step(title):
            code = await lines(command, environ, log, lambda line: self._show(title, line))
            if (code == 0) is not succeeds:
                raise Unexpected(f"{title} ended {code}, {'0' if succeeds else 'a failure'} was expected: see {log}")

    def _show(self, title: str, line: str) -> None:
        if line.startswith("TASK ["):
            self.steps.now(f"{title}: {line[6:].partition(']')[0]}")

    async def az(self, *words: str) -> Any:
        """The answer of an ``az`` command on the app, parsed. Raises Unexpected with az's own message when it fails."""
        command = ("az", *words, "--name", APP, "--resource-group", RESOURCE_GROUP, "--output", "json")
        async with started(command, self._environ, stdout=PIPE, stderr=PIPE) as process:
            answer, said = await process.communicate()
        if process.returncode:
            raise Unexpected(f"az {' '.join(words)}: {said.decode(errors='replace').strip()}")
        return json.loads(answer or "null")

    async def lasting(self, seconds: float, title: str) -> None:
        """Lets the calls go on for so long."""
        with self.steps.step(title):
            await asyncio.sleep(seconds)

    async def until(self, title: str, within_s: float, act: Act, **fields: Any) -> None:
        """Waits until the platform has done that. Raises Unexpected when it does not happen in time."""
        with self.steps.step(title):
            try:
                async with asyncio.timeout(within_s):
                    await self.stage.timeline.until(act, **fields)
            except TimeoutError:
                raise Unexpected(f"{title}: {act} did not happen within {within_s:g} s") from None

    async def judge(self, expected: Mapping[str, str], required: Sequence[str] = ()) -> int:
        """Prints the verdict, writes verdict.json and report.html; 0 when every check came out as it should.

        `required` are checks, or groups of them, that must be decided.
        """
        wishes = [word for name, status in expected.items() for word in ("--expect", f"{name}={status}")]
        wishes += [word for name in required for word in ("--require", name)]
        verdict = self._out / "verdict.json"
        code = await self._run("clients.verdict", str(self._out), "--json", str(verdict), *wishes)
        report = self._out / "report.html"
        drawing = ("clients.report", str(self._out), "--verdict", str(verdict), "--out", str(report))
        drawn = await self._run(*drawing, stdout=DEVNULL)
        self.steps.say(f"report: {report}")
        return code or drawn

    async def _run(self, *module: str, stdout: int | None = None) -> int:
        async with started((sys.executable, "-m", *module), self._environ, stdout=stdout) as process:
            return await process.wait()


def _count(record: Path, mark: str) -> int:
    return record.read_text().count(mark) if record.exists() else 0
