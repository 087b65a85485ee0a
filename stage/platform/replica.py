"""One replica: a relay that is probed, restarted and stopped as a container is."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial

from stage.envoy import free_port
from stage.platform.container import Container
from stage.platform.host import Host
from stage.platform.probes import Kind, probe
from stage.platform.template import Secrets, Template
from stage.platform.volumes import Volumes

_HIDDEN_FROM = 4
"""Values as short as `true` or a port are no secrets, and hiding them would garble the line."""


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
        # Not one of the host's tasks: it must see its process out.
        self._life = asyncio.create_task(self._live())

    def stop(self, reason: str, grace_s: float | None = None) -> None:
        """SIGTERM, and SIGKILL after the template's grace period, or ``grace_s`` when that is shorter.

        For one that has its SIGTERM already, nothing but that its grace period may get shorter.
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
            probe(self._template.probes, self.port, self._host.http, self._set_ready, self._probe_failed)
        )
        leaving = asyncio.create_task(self._leave.wait())
        await asyncio.wait((ended, probing, leaving), return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        probing.cancel()
        if not ended.done():
            container.stop(self._reason if self.leaving else probing.result(), self._grace_s)
            # Nobody waits for the balancer: it may send more for a moment.
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
        """Waits as long as it must before it starts again; True when it is to leave instead."""
        timing = self._host.timing
        delay_s = 0.0 if self.crashes < 2 else min(timing.back_off_s * 2 ** (self.crashes - 2), timing.back_off_max_s)
        try:
            await asyncio.wait_for(self._leave.wait(), delay_s)
        except TimeoutError:
            return False
        return True

    def _forget(self, container: Container) -> None:
        """The ingress sends it nothing new; too late for a container that another one has followed."""
        if container is self._container:
            self._set_ready(False)

    def _set_ready(self, ready: bool) -> None:
        if ready != self.ready:
            self.ready = ready
            self._say("replica.ready" if ready else "replica.unready")
            self._changed()

    def _probe_failed(self, kind: Kind, failures: int) -> None:
        self._say("probe.failed", probe=kind, failures=failures)
