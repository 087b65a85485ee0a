"""One replica: a relay process that is probed, restarted and stopped as a container is."""

import asyncio
import shutil
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Self

import aiohttp

from stage.envoy import free_port
from stage.leash import leashed
from stage.platform.host import Host, Outside, Program
from stage.platform.template import Kind, Mount, Probe, Secrets, Template
from stage.replica import inherited

Say = Callable[..., None]
"""A timeline whose lines name the replica."""
Failed = Callable[[Kind, int], None]
_HIDDEN_FROM = 4
"""Values as short as `true` or a port are no secrets, and hiding them would garble the line."""


class Container:
    """A process that runs; ``stop`` it, or wait until it ``ended`` by itself."""

    def __init__(self, process: Process, say: Say) -> None:
        self._process = process
        self._say = say
        self._sigterm: float | None = None
        self._killing: asyncio.TimerHandle | None = None
        self.pid = process.pid

    @classmethod
    async def start(cls, program: Program, environ: Mapping[str, str], log: Path, errors: Path, say: Say) -> Self:
        """Runs ``program`` with ``environ`` alone, its output appended to the two files."""
        # Files, not pipes: its output is not lost when we are late, or have ended.
        with log.open("ab") as out, errors.open("ab") as err:
            process = await leashed(*program(environ), env=inherited() | dict(environ), stdout=out, stderr=err)
        say("replica.started", pid=process.pid, port=int(environ["PORT"]))
        return cls(process, say)

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._sigterm is not None

    async def ended(self) -> None:
        """Returns when the process has ended and the timeline has its exit."""
        code = await self._process.wait()
        if self._killing is not None:
            self._killing.cancel()
        after_s = None if self._sigterm is None else round(self._now() - self._sigterm, 3)
        # As a shell and the platform report it: 128 and the signal.
        self._say("replica.exited", code=code if code >= 0 else 128 - code, after_s=after_s)

    def stop(self, reason: str, grace_s: float) -> None:
        """SIGTERM, and SIGKILL ``grace_s`` later; at 0 nothing but SIGKILL. Again: the earlier SIGKILL counts."""
        if self._sigterm is None:
            self._sigterm = self._now()
            self._say("replica.sigterm", reason=reason, grace_s=grace_s)
            if grace_s:
                self._signal(signal.SIGTERM)
        due = self._now() + grace_s
        if self._killing is None or due < self._killing.when():
            if self._killing is not None:
                self._killing.cancel()
            self._killing = asyncio.get_running_loop().call_at(due, self._kill)

    def _kill(self) -> None:
        assert self._sigterm is not None
        if self._process.returncode is None:
            self._say("replica.sigkill", after_s=round(self._now() - self._sigterm, 3))
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            self._process.send_signal(number)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


async def run_probes(
    probes: Sequence[Probe], port: int, http: aiohttp.ClientSession, ready: Callable[[bool], None], failed: Failed
) -> Kind:
    """Probes one start of a container; returns the kind of probe that wants it restarted.

    ``ready`` gets what readiness means, ``failed`` each failed attempt and the number of them in a row.
    """
    by_kind = {each.kind: each for each in probes}

    async def follow(each: Probe) -> None:
        async with aclosing(_watch(each, port, http, failed)) as meanings:
            async for meaning in meanings:
                ready(meaning)

    async def first(each: Probe, *meant: bool) -> bool:
        async with aclosing(_watch(each, port, http, failed)) as meanings:
            async for meaning in meanings:
                if meaning in meant:
                    return meaning
        raise AssertionError("a probe is tried for ever")

    if "startup" in by_kind and not await first(by_kind["startup"], True, False):
        return "startup"
    following = None
    if "readiness" in by_kind:
        following = asyncio.create_task(follow(by_kind["readiness"]))
    else:
        ready(True)
    try:
        if "liveness" in by_kind:
            await first(by_kind["liveness"], False)
        else:
            await asyncio.Event().wait()
    finally:
        if following is not None:
            following.cancel()
    return "liveness"


async def _watch(probe: Probe, port: int, http: aiohttp.ClientSession, failed: Failed) -> AsyncGenerator[bool, None]:
    """Tries for ever, a period apart; yields whether as many in a row passed or failed as their threshold."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(probe.initial_delay_s)
    passes = fails = 0
    while True:
        due = loop.time() + probe.period_s
        if await _passes(probe, port, http):
            passes, fails = passes + 1, 0
            if passes >= probe.successes:
                yield True
        else:
            passes, fails = 0, fails + 1
            failed(probe.kind, fails)
            if fails >= probe.failures:
                yield False
        await asyncio.sleep(max(0.0, due - loop.time()))


async def _passes(probe: Probe, port: int, http: aiohttp.ClientSession) -> bool:
    try:
        async with asyncio.timeout(probe.timeout_s):
            if probe.path is None:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return True
            url = f"http://127.0.0.1:{port}{probe.path}"
            async with http.get(url, headers=probe.headers, allow_redirects=False) as answer:
                return 200 <= answer.status < 400
    except (OSError, aiohttp.ClientError):
        return False


class Volumes:
    """The folders of a replica, made and removed with it.

    A secret in one stays as it was then: whether the platform changes it under a replica that runs is not documented;
    that it does not is the harder case for a relay. What is in a share changes whenever its files do.
    A process on this machine has no file system of its own, so a path below a mount is replaced in its environment.
    """

    def __init__(self, mounts: tuple[Mount, ...], secrets: Secrets, outside: Outside, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[str, Path] = {}
        for each in mounts:
            self._seen[each.path] = folder / each.volume if each.storage is None else outside.share(each.storage)
            if each.storage is None:
                (folder / each.volume).mkdir(parents=True, mode=0o700)
            for path, secret in each.files:
                file = folder / each.volume / path
                file.touch(mode=0o600)
                file.write_text(secrets[secret])

    def seen(self, environ: Mapping[str, str]) -> dict[str, str]:
        """``environ`` with the folders instead of the mount paths."""
        return {name: self._path(value) for name, value in environ.items()}

    def remove(self) -> None:
        """Removes the folders, so that no secret stays."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, value: str) -> str:
        for mount, folder in self._seen.items():
            if value == mount or value.startswith(f"{mount}/"):
                return f"{folder}{value[len(mount) :]}"
        return value


class Replica:
    """Runs from its creation until ``stop``; ``changed`` is called when its readiness or its process changed.

    ``crashes`` counts its ends in a row, until a run that lasted; ``restarts`` all of them.
    """

    def __init__(
        self,
        host: Host,
        revision: str,
        name: str,
        template: Template,
        environ: Callable[[], Mapping[str, str]],
        secrets: Callable[[], Secrets],
        changed: Callable[[], None],
    ) -> None:
        self.name = name
        self.created = datetime.now(UTC)
        self.pid = self.port = self.restarts = self.crashes = 0
        self.ready = False
        self.leaving = False
        self.running_state = "NotRunning"
        self.log = host.root / "replicas" / f"{name}.jsonl"
        self.errors = host.root / "replicas" / f"{name}.err"
        folder = host.root / "replicas" / f"{name}.volumes"
        self._host = host
        self._template = template
        self._volumes = Volumes(template.mounts, secrets() if template.mounts else {}, host.outside, folder)
        self._environ = environ
        self._changed = changed
        self._say = partial(host.timeline, revision=revision, replica=name)
        self._leave = asyncio.Event()
        self._reason, self._grace_s = "", template.grace_s
        self._container: Container | None = None
        # Not one of the host's tasks: it must wait for its process to end.
        self._life = asyncio.create_task(self._live())

    def stop(self, reason: str, grace_s: float | None = None) -> None:
        """SIGTERM, and SIGKILL after the template's grace period, or ``grace_s`` when that is shorter.

        When it has got its SIGTERM already, only its grace period may get shorter.
        """
        if grace_s is not None:
            self._grace_s = min(self._grace_s, grace_s)
        if not self.leaving:
            self.leaving, self._reason = True, reason
            self._leave.set()
        if self._container is not None and self._container.stopping:
            self._container.stop(reason, self._grace_s)

    async def gone(self) -> None:
        """Returns when its process has ended for good."""
        await asyncio.shield(self._life)

    def last_words(self) -> str:
        """The last line it wrote on stderr, without the values of its environment."""
        lines = self.errors.read_text(errors="replace").split("\n") if self.errors.exists() else []
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        for value in sorted(self._environ().values(), key=len, reverse=True):
            if len(value) > _HIDDEN_FROM:
                last = last.replace(value, "***")
        return last

    async def _live(self) -> None:
        clock, long_s = asyncio.get_running_loop().time, self._host.timing.back_off_max_s
        while True:
            started = clock()
            await self._run()
            self.crashes = 1 if clock() - started > long_s else self.crashes + 1
            self._changed()
            if self.leaving or await self._backed_off():
                self._volumes.remove()
                return
            self.restarts += 1

    async def _run(self) -> None:
        """One container, from its start to its exit."""
        container = self._container = await self._start()
        ended = asyncio.create_task(container.ended())
        probing = asyncio.create_task(
            run_probes(self._template.probes, self.port, self._host.http, self._set_ready, self._probe_failed)
        )
        leaving = asyncio.create_task(self._leave.wait())
        await asyncio.wait((ended, probing, leaving), return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        probing.cancel()
        if not ended.done():
            container.stop(self._reason if self.leaving else probing.result(), self._grace_s)
            # SIGTERM does not wait for the balancer, which may send more for a moment.
            delay_s = self._host.unverified.endpoint_removal_delay_s
            asyncio.get_running_loop().call_later(delay_s, self._forget, container)
            await ended
        self._forget(container)
        self._container, self.running_state = None, "NotRunning"

    async def _start(self) -> Container:
        self.port = free_port()
        environ = {
            **self._volumes.seen(self._environ()),
            "PORT": str(self.port),
            "RTPROXY_HOST": "127.0.0.1",
            "CONTAINER_APP_PORT": str(self.port),
            "CONTAINER_APP_REPLICA_NAME": self.name,
        }
        container = await Container.start(self._host.program, environ, self.log, self.errors, self._say)
        self.pid, self.running_state = container.pid, "Running"
        return container

    async def _backed_off(self) -> bool:
        """Waits before the next start; True when the replica is to end instead."""
        timing = self._host.timing
        delay_s = 0.0 if self.crashes < 2 else min(timing.back_off_s * 2 ** (self.crashes - 2), timing.back_off_max_s)
        try:
            await asyncio.wait_for(self._leave.wait(), delay_s)
        except TimeoutError:
            return False
        return True

    def _forget(self, container: Container) -> None:
        """The ingress sends it nothing new; without effect when another container has followed."""
        if container is self._container:
            self._set_ready(False)

    def _set_ready(self, ready: bool) -> None:
        if ready != self.ready:
            self.ready = ready
            self._say("replica.ready" if ready else "replica.unready")
            self._changed()

    def _probe_failed(self, kind: Kind, failures: int) -> None:
        self._say("probe.failed", probe=kind, failures=failures)
