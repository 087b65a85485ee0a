"""A Container Apps environment on loopback: Envoy and the apps, started and stopped together."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import aiohttp

from stage.ingress import Gateway, Ingress
from stage.platform.app import App
from stage.platform.host import Host, Outside, Program, Rejected, relay
from stage.platform.properties import check_name
from stage.platform.unverified import Timing, Unverified
from stage.timeline import Timeline

NAME = "rehearsal"
DOMAIN = "stage.localhost"


class Environment:
    """From ``async with`` to its end; after that no replica, no Envoy and no port of it is left, whatever happened.

    ``root`` is the run directory, ``gateway`` the one that exists from the start, if any, ``pull`` tells whether
    the registry has an image, ``injected`` are variables that every container gets, ``program`` is what each one runs,
    ``ingress`` makes the Envoy between callers and replicas, ``leads`` maps a URL of Azure's to one on loopback.
    """

    def __init__(
        self,
        root: Path,
        timeline: Timeline,
        *,
        gateway: Gateway | None = Gateway(),  # noqa: B008 - frozen
        unverified: Unverified = Unverified(),  # noqa: B008
        timing: Timing = Timing(),  # noqa: B008
        pull: Callable[[str], bool] = lambda image: True,
        injected: Mapping[str, str] | None = None,
        program: Program = relay,
        ingress: Callable[..., Ingress] = Ingress,
        leads: Callable[[str], str] = str,
    ) -> None:
        self.name = NAME
        self.domain = DOMAIN
        self.apps: dict[str, App] = {}
        self.outside = Outside()
        self._root = root.resolve()
        self.timeline = timeline
        self._gateway = gateway
        self._unverified = unverified
        self._timing = timing
        self._pull = pull
        self._injected = dict(injected or {})
        self._program, self._make_ingress = program, ingress
        self._leads = leads
        self._stack = AsyncExitStack()
        self._host: Host

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self._host.ingress.gateway_port}"

    @property
    def revisions(self) -> str:
        """Where the gateway is dialled for a revision's own address."""
        return f"127.0.0.1:{self._host.ingress.revisions_port}"

    @property
    def ingress(self) -> str:
        return f"127.0.0.1:{self._host.ingress.port}"

    async def __aenter__(self) -> Self:
        (self._root / "replicas").mkdir(parents=True, exist_ok=True)
        async with AsyncExitStack() as stack:
            ingress = self._make_ingress(
                self._root / "ingress",
                self.domain,
                self._gateway,
                idle_timeout_s=self._unverified.ingress_idle_timeout_s,
                cookie=self._unverified.affinity_cookie,
                weights_late_s=self._unverified.weights_late_s,
            )
            await stack.enter_async_context(ingress)
            http = await stack.enter_async_context(
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))
            )
            self._host = Host(
                root=self._root,
                domain=self.domain,
                ingress=ingress,
                timeline=self.timeline,
                http=http,
                unverified=self._unverified,
                timing=self._timing,
                injected=self._injected,
                program=self._program,
                leads=self._leads,
                outside=self.outside,
            )
            stack.push_async_callback(self._end)
            self._stack = stack.pop_all()
        told = self._gateway or Gateway()
        self.timeline(
            "stage.started",
            gateway_url=self.gateway_url,
            revisions=self.revisions,
            ingress=self.ingress,
            domain=self.domain,
            gateway_request_timeout_s=told.request_timeout_s,
            gateway_idle_timeout_s=told.idle_timeout_s,
            ingress_idle_timeout_s=self._unverified.ingress_idle_timeout_s,
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()
        self.timeline("stage.stopped")

    async def set_gateway(self, gateway: Gateway | None) -> None:
        """Sets where the gateway leads; None: nowhere. It affects no open socket: Azure promises less."""
        await self._host.ingress.set_gateway(gateway)

    async def put(self, name: str, properties: dict[str, Any]) -> App:
        """Creates an app, or replaces its properties wholly."""
        app = self.apps.get(name)
        if app is None:
            check_name(name)
            app = App(self._host, name, self._pull)
        try:
            await app.update(properties)
        finally:
            # Not when it was rejected; but whatever runs is ours to end.
            if app.revisions:
                self.apps[name] = app
        return app

    async def delete(self, name: str) -> None:
        """Ends an app; returns when nothing of it runs."""
        if name not in self.apps:
            raise Rejected("ResourceNotFound", f"app '{name}' was not found", 404)
        await self.apps[name].delete()
        del self.apps[name]

    async def _end(self) -> None:
        # First the tasks that could start another replica.
        tasks = list(self._host.tasks)
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        revisions = [each for app in self.apps.values() for each in app.revisions.values()]
        for revision in revisions:
            revision.end(self._timing.leaving_grace_s)
        await asyncio.gather(*(revision.ended() for revision in revisions), return_exceptions=True)
