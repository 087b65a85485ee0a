"""An app: the properties it should have, its revisions, and which of them new requests go to."""

import asyncio
import contextlib
import copy
from collections.abc import Callable
from typing import Any

from stage.platform.host import Host, Rejected
from stage.platform.properties import Change, Desired, Routes, accept, routes
from stage.platform.revision import Revision
from stage.platform.template import Secrets

_KEPT_INACTIVE = 100
"""Azure's default of `maxInactiveRevisions`; the oldest are forgotten."""


class App:
    """One app. Changes are made one after the other; their work goes on in the background until ``settled``."""

    def __init__(self, host: Host, name: str, pull: Callable[[str], bool]) -> None:
        self.name = name
        self.fqdn = f"{name}.{host.domain}"
        self.properties: dict[str, Any] = {}
        self.revisions: dict[str, Revision] = {}
        self._host, self._pull = host, pull
        self._change: Change | None = None
        self._told: Routes | None = None
        self._changing = asyncio.Lock()
        self._of_vaults: dict[str, str] = {}
        """What Key Vaults had when they were last asked, by the secret's name."""

    @property
    def traffic(self) -> list[dict[str, Any]]:
        """The entries as they were set; those of deactivated revisions stay."""
        return [] if self._change is None else self._change.traffic

    @property
    def latest(self) -> Revision:
        return list(self.revisions.values())[-1]

    @property
    def latest_ready(self) -> Revision | None:
        """The newest active one that has been ready."""
        ready = [each for each in self.revisions.values() if each.active and each.provisioning_state == "Provisioned"]
        return ready[-1] if ready else None

    @property
    def provisioning_state(self) -> str:
        states = {"Provisioning": "InProgress", "Failed": "Failed"}
        return states.get(self.latest.provisioning_state, "Succeeded")

    async def update(self, properties: dict[str, Any]) -> None:
        """Replaces all properties. Raises Rejected before anything has changed; returns when the weights are in force.

        A changed template makes a new revision, anything else does not.
        """
        async with self._changing:
            properties = copy.deepcopy(properties)
            change = accept(
                self.name,
                properties,
                self.revisions,
                self._change,
                unverified=self._host.unverified,
                pull=self._pull,
                outside=self._host.outside,
            )
            self._change, self.properties = change, properties
            if change.desired.ingress:
                properties["configuration"]["ingress"]["traffic"] = copy.deepcopy(change.traffic)
            self._host.timeline("app.updated", app=self.name, **change.desired.facts)
            if change.suffix is not None:
                await self._create(change.suffix)
            await self._route()
            if change.desired.single and (serving := self.latest_ready) is not None:
                self._retire_older(serving)

    async def activate(self, revision: str) -> None:
        """Starts a revision again, with the weight and the labels that it had."""
        async with self._changing:
            found = self._find(revision)
            if found.active:
                return
            if self._desired.single:
                raise Rejected(
                    "RevisionModeInvalid", "in Single revision mode the platform activates; set it to Multiple"
                )
            self._host.timeline("revision.activated", app=self.name, revision=revision)
            await found.start(max(found.parsed.scale.minimum, 1), "activated")
            await self._route()

    async def deactivate(self, revision: str) -> None:
        """Stops a revision, which gets nothing new from now on; its last replica may end much later."""
        async with self._changing:
            await self._deactivate(self._find(revision))

    async def restart(self, revision: str) -> None:
        """Replaces the replicas of a revision; the new ones get the current secrets."""
        async with self._changing:
            found = self._find(revision)
            if not found.active:
                raise Rejected("RevisionInactive", f"revision '{revision}' is not active; activate it first")
            found.restart()

    async def settled(self) -> None:
        """Returns when no revision is being provisioned. Old replicas may still be ending."""
        while any(each.provisioning_state == "Provisioning" for each in self.revisions.values()):
            for each in list(self.revisions.values()):
                await each.settled()

    async def delete(self) -> None:
        """Ends every revision; returns when the last replica is gone."""
        async with self._changing:
            await self._host.ingress.set_traffic(self.name, None)
            for each in self.revisions.values():
                if each.active:
                    each.deactivate()
            await asyncio.gather(*(each.stop(0) for each in self.revisions.values() if each.replicas))

    async def _create(self, suffix: str) -> None:
        desired, previous = self._desired, self.latest_ready
        count = max(desired.template.scale.minimum, 1)
        if desired.single and previous is not None:
            # It takes over at once, so it must be as big.
            count = max(1, desired.template.scale.clamp(previous.count))
        revision = Revision(
            self._host,
            self.name,
            suffix,
            copy.deepcopy(self.properties["template"]),
            desired.template,
            known_secrets=self._secrets,
            became_ready=self._became_ready,
        )
        self.revisions[revision.name] = revision
        inactive = [name for name, each in self.revisions.items() if not each.active and each is not revision]
        for name in inactive[: len(inactive) - _KEPT_INACTIVE]:
            if not self.revisions[name].replicas:
                del self.revisions[name]
        self._host.timeline("revision.created", app=self.name, revision=revision.name)
        await revision.start(count, "created")

    async def _became_ready(self, revision: Revision) -> None:
        await self._route()
        if self._desired.single:
            self._retire_older(revision)

    def _retire_older(self, serving: Revision) -> None:
        for each in self.revisions.values():
            if each is serving:
                break
            if each.active and not each.retiring:
                each.retiring = True
                self._host.spawn(self._retire(each))

    async def _retire(self, revision: Revision) -> None:
        await asyncio.sleep(self._host.unverified.single_mode_wait_s)
        async with self._changing:
            revision.retiring = False
            if self._desired.single:
                await self._deactivate(revision)

    async def _deactivate(self, revision: Revision) -> None:
        if not revision.active:
            return
        revision.deactivate()
        self._host.timeline("revision.deactivated", app=self.name, revision=revision.name)
        await self._route()
        self._host.spawn(revision.stop(self._host.unverified.deactivate_to_sigterm_s))

    async def _route(self) -> None:
        """Returns when the ingress applies the current traffic to the current revisions."""
        ready = self.latest_ready
        now = routes(self.traffic, ready.name if ready is not None else None)
        for name, each in self.revisions.items():
            each.weight = now.weights.get(name, 0)
        # Logged before it is in force: what arrives between the two is within the time that a change takes anyway.
        if now.weights and now != self._told:
            self._told = now
            self._host.timeline("traffic.set", app=self.name, weights=now.weights, labels=now.labels)
        active = [name for name, each in self.revisions.items() if each.active]
        site = now.site(self.name, self._host.domain, active, sticky=self._desired.sticky)
        await self._host.ingress.set_traffic(self.name, site if self._desired.ingress else None)

    def _find(self, revision: str) -> Revision:
        if revision not in self.revisions:
            raise Rejected("RevisionNotFound", f"revision '{revision}' was not found in app '{self.name}'", 404)
        return self.revisions[revision]

    @property
    def _desired(self) -> Desired:
        assert self._change is not None  # before the first accepted change this app is unknown elsewhere
        return self._change.desired

    def _secrets(self) -> Secrets:
        """The current secrets. One that its vault does not give any more keeps its last value."""
        for name, each in self._desired.secrets.items():
            if each.url:
                with contextlib.suppress(Rejected):
                    self._of_vaults[name] = self._host.outside.secret(each.url, each.identity)
        return {name: each.value or self._of_vaults[name] for name, each in self._desired.secrets.items()}
