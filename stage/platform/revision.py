"""One revision: a template, its replicas and their state, and how many of them there should be."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from stage.platform.host import Host
from stage.platform.replica import Replica
from stage.platform.replicas import Replicas, Scaler
from stage.platform.template import Secrets, Template


@dataclass(frozen=True, kw_only=True)
class State:
    """What ARM's states depend on. ``replicas``: those that are to stay; ``count``: how many there should be."""

    active: bool
    provisioning: str
    asleep: bool
    count: int
    replicas: Collection[Replica]
    crashes_that_fail: int

    @property
    def ready(self) -> int:
        return sum(each.ready for each in self.replicas)

    @property
    def health(self) -> str:
        """Healthy, Unhealthy or None."""
        if not self.active or self.provisioning == "Provisioning":
            return "None"
        return "Healthy" if self.asleep or self.ready else "Unhealthy"

    @property
    def running(self) -> str:
        """Running, Processing, Stopped, Degraded or Failed."""
        if not self.active:
            return "Stopped"
        if self.provisioning in ("Failed", "Provisioning"):
            return "Failed" if self.provisioning == "Failed" else "Processing"
        # Of the six words of the schema none says "scaled to zero"; nothing is wrong with it.
        if self.asleep or self.ready >= self.count:
            return "Running"
        if not self.ready and all(each.crashes >= self.crashes_that_fail for each in self.replicas):
            return "Failed"
        return "Degraded" if any(each.crashes for each in self.replicas) else "Processing"


class Revision:
    """``start`` it, and it keeps as many replicas as it should have until ``deactivate``; both can be repeated.

    ``template`` is what ARM shows, ``parsed`` what it means. ``became_ready`` is awaited before ``settled`` returns.
    """

    def __init__(
        self,
        host: Host,
        app: str,
        suffix: str,
        template: dict[str, Any],
        parsed: Template,
        *,
        known_secrets: Callable[[], Secrets],
        became_ready: Callable[["Revision"], Awaitable[None]],
    ) -> None:
        self.name, self.suffix = f"{app}--{suffix}", suffix
        self.fqdn = f"{self.name}.{host.domain}"
        self.created = datetime.now(UTC)
        self.last_active: datetime | None = None
        self.template, self.parsed = template, parsed
        self.active = False
        self.weight = 0
        self.retiring = False
        """Whether another one has taken over in Single mode and its end is near."""
        self.provisioning_state = "Provisioning"
        self.provisioning_error: str | None = None
        self._host, self._app = host, app
        self._known_secrets, self._became_ready = known_secrets, became_ready
        self._say = partial(host.timeline, app=app, revision=self.name)
        self._replicas = Replicas(host, app, self.name, self._start_replica)
        self._settled = asyncio.Event()
        self._work: list[asyncio.Task[None]] = []

    @property
    def replicas(self) -> list[Replica]:
        """Those that run now, including those that are ending."""
        return list(self._replicas.running)

    @property
    def lists_replicas(self) -> bool:
        """Whether a request for its list of replicas is answered, and not with 404."""
        gone = not self.active and not self.replicas
        return not (gone and self._host.unverified.replicas_of_the_stopped_are_not_found)

    @property
    def count(self) -> int:
        """How many it should have."""
        return self._replicas.count

    @property
    def health_state(self) -> str:
        return self._state.health

    @property
    def running_state(self) -> str:
        return self._state.running

    async def start(self, count: int, reason: str) -> None:
        """Makes it active, with ``count`` replicas to begin with. It is Provisioning from here to ready or Failed."""
        self._end_work()
        self._work = []
        self.active = True
        self._provision()
        await self._host.ingress.add_revision(self.name)
        self._replicas.open()
        self._replicas.scale(count, reason)
        self._work += [self._host.spawn(self._attend()), self._host.spawn(self._follow_demand())]

    def deactivate(self) -> None:
        """Makes it inactive; ``stop`` must follow."""
        self.active = False
        self.provisioning_state = "Deprovisioning"
        self.last_active = datetime.now(UTC)
        self._settled.set()
        self._replicas.close()

    async def stop(self, delay_s: float) -> None:
        """SIGTERM to every replica ``delay_s`` later; returns when the last one is gone, or it was started again."""
        work = self._work
        await asyncio.sleep(delay_s)
        if self._work is not work:
            return
        self._replicas.scale(0, "deactivated", stop="deactivated")
        for each in self.replicas:
            await each.gone()
        if self._work is work:
            self._end_work()
            self.provisioning_state = "Deprovisioned"
            await self._host.ingress.remove_revision(self.name)

    def restart(self) -> None:
        """Replaces its replicas, new ones first; the new ones get the current secrets."""
        if self.provisioning_state == "Failed":
            self._provision()
        self._replicas.replace()

    async def settled(self) -> None:
        """Returns when it is ready, has failed or has been deactivated."""
        await self._settled.wait()

    def give_up(self) -> None:
        """If it is still being provisioned, it fails with a timeout at once."""
        if self.provisioning_state == "Provisioning":
            deadline_s = self._host.unverified.provisioning_deadline_s
            late = [each for each in self._replicas.staying if not each.ready]
            self._fail(f"Timeout: {len(late)} of {self.count} replicas not ready after {deadline_s:g} s", *late[:1])

    def end(self, grace_s: float) -> None:
        """Stops every replica at once, with a grace period of its own, because the stage stops."""
        self._replicas.close()
        for each in self.replicas:
            each.stop("stage stopping", grace_s)

    async def ended(self) -> None:
        """Returns when its last replica is gone and no caller is connected to it any more."""
        await self._replicas.ended()

    def _start_replica(self, name: str, changed: Callable[[], None]) -> Replica:
        return Replica(self._host, self.name, name, self.parsed, self._environ, self._known_secrets, changed)

    def _environ(self) -> dict[str, str]:
        return {
            **{name: self._host.leads(value) for name, value in self.parsed.environ(self._known_secrets()).items()},
            **self._host.injected,
            "CONTAINER_APP_NAME": self._app,
            "CONTAINER_APP_REVISION": self.name,
            "CONTAINER_APP_HOSTNAME": self.fqdn,
            "CONTAINER_APP_ENV_DNS_SUFFIX": self._host.domain,
        }

    @property
    def _state(self) -> State:
        return State(
            active=self.active,
            provisioning=self.provisioning_state,
            asleep=self._replicas.asleep,
            count=self.count,
            replicas=self._replicas.staying,
            crashes_that_fail=self._host.unverified.crashes_that_fail,
        )

    def _provision(self) -> None:
        self.provisioning_state, self.provisioning_error = "Provisioning", None
        self._settled.clear()
        self._work.append(self._host.spawn(self._give_up_late()))

    async def _attend(self) -> None:
        while True:
            news = self._replicas.news
            await self._replicas.publish()
            if self.provisioning_state == "Provisioning":
                await self._judge()
            await news.wait()

    async def _judge(self) -> None:
        if self._replicas.ready >= self.count:
            self.provisioning_state = "Provisioned"
            self._say("revision.ready")
            await self._became_ready(self)
            self._settled.set()
            return
        for each in self._replicas.staying:
            if each.crashes >= self._host.unverified.crashes_that_fail:
                self._fail(f"ContainerCrashing: {each.name} ended {each.crashes} times in a row", each)

    async def _give_up_late(self) -> None:
        await asyncio.sleep(self._host.unverified.provisioning_deadline_s)
        self.give_up()

    def _fail(self, reason: str, *witness: Replica) -> None:
        words = [line for each in witness if (line := each.last_words())]
        self.provisioning_state = "Failed"
        self.provisioning_error = f"{reason}; its last line on stderr: {words[0]}" if words else reason
        self._say("revision.failed", reason=self.provisioning_error)
        self._settled.set()

    async def _follow_demand(self) -> None:
        await self._settled.wait()
        clock, timing = asyncio.get_running_loop().time, self._host.timing
        scaler = Scaler(self.parsed.scale, timing, self._host.unverified, clock(), self.count)
        while True:
            now = clock()
            scaler.observe(now, (await self._host.ingress.counts())[self.name])
            if scaler.last_activity == now:
                self.last_active = datetime.now(UTC)
            if self.provisioning_state == "Provisioned" and (step := scaler.decide(now, self.count)) is not None:
                count, reason = step
                if count:
                    self._replicas.scale(count, reason)
                else:
                    await self._replicas.sleep(reason)
            await asyncio.sleep(timing.sample_s)

    def _end_work(self) -> None:
        for each in self._work:
            each.cancel()
