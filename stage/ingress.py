"""Application Gateway and the ingress of Container Apps, played by one Envoy.

caller  -> gateway's callers   -> ingress listener -> replica of a revision
           one app, its paths     app, revision and label addresses; weights; affinity
rollout -> gateway's revisions ->
           their names, from a few addresses
"""

import asyncio
import signal
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

from stage.envoy import Envoy, free_port
from stage.envoy_config import Document, affinity, at, cluster, guarded, hosts, listener
from stage.gateway import Gateway

__all__ = ["Counts", "Gateway", "Ingress", "Site"]


@dataclass(frozen=True, kw_only=True)
class Site:
    """What the ingress serves for one app. Without weights its own address answers 404."""

    fqdn: str
    weights: Mapping[str, int] = field(default_factory=dict)
    """Revision to weight; they need not total 100."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    """FQDN of a revision or a label, to the revision."""
    sticky: bool = False


class Counts(NamedTuple):
    """What a revision was asked: an open WebSocket is an active request."""

    started: int
    active: int


class Ingress:
    """All listeners. Every change is in force when its method returns, and touches no open socket."""

    def __init__(self, root: Path, domain: str, gateway: Gateway | None, *, idle_timeout_s: float, cookie: str) -> None:
        self._envoy = Envoy(root)
        self._gateway = gateway
        self._domain = domain
        self._idle_timeout_s = idle_timeout_s
        self._cookie = cookie
        self._sites: dict[str, Site] = {}
        self._revisions: list[str] = []
        self._changing = asyncio.Lock()
        self.gateway_port, self.revisions_port, self.port = free_port(), free_port(), free_port()

    async def __aenter__(self) -> Self:
        await self._envoy.__aenter__()
        try:
            await self._put_clusters(wait=False)
            await self._put_routes(wait=False)
            await self._put_gateway(wait=False)
            await self._envoy.start(self._listeners(), [cluster("ingress", {"type": "STATIC", **at([self.port])})])
        except BaseException:
            await self._envoy.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._envoy.__aexit__(*exc)

    async def add_revision(self, revision: str) -> None:
        """Makes a revision known, with no replica yet; one known already stays as it is."""
        async with self._changing:
            if revision not in self._revisions:
                await self._put_endpoints(revision, (), wait=False)
                self._revisions.append(revision)
                await self._put_clusters()

    async def remove_revision(self, revision: str) -> None:
        """Forgets one that no site names any more."""
        async with self._changing:
            if revision in self._revisions:
                self._revisions.remove(revision)
                await self._put_clusters()

    async def set_replicas(self, revision: str, ports: Collection[int]) -> None:
        """Sets where new requests to a revision go; nowhere: they are answered 503."""
        async with self._changing:
            await self._put_endpoints(revision, ports)

    async def set_traffic(self, app: str, site: Site | None) -> None:
        """Sets the addresses and weights of an app; None: it has none."""
        async with self._changing:
            self._sites = {name: each for name, each in self._sites.items() if name != app}
            if site is not None:
                self._sites[app] = site
            await self._put_routes()

    async def set_gateway(self, gateway: Gateway | None) -> None:
        """Sets where both ports of the gateway lead; None: nowhere, and it answers 404."""
        async with self._changing:
            self._gateway = gateway
            await self._put_gateway()

    async def end(self, number: signal.Signals) -> None:
        """Ends all listeners, and every call through them, by a signal to the process."""
        await self._envoy.end(number)

    async def come_back(self) -> None:
        """All listeners again, as they were before `end`."""
        await self._envoy.come_back()

    async def counts(self) -> dict[str, Counts]:
        """Requests of each revision since it was added."""
        stats = await self._envoy.stats(r"^cluster\..*\.upstream_rq_(total|active)$")
        read = {each: f"cluster.{each}.upstream_rq" for each in self._revisions}
        return {
            each: Counts(stats.get(f"{stat}_total", 0), stats.get(f"{stat}_active", 0)) for each, stat in read.items()
        }

    async def _put_endpoints(self, revision: str, ports: Collection[int], *, wait: bool = True) -> None:
        resource = at(ports, revision)["load_assignment"]
        taken = f"cluster.{revision}" if wait else None
        await self._envoy.put(f"eds-{revision}", "config.endpoint.v3.ClusterLoadAssignment", [resource], taken=taken)

    async def _put_clusters(self, *, wait: bool = True) -> None:
        clusters = [
            cluster(each, {"type": "EDS", "eds_cluster_config": {"eds_config": self._envoy.source(f"eds-{each}")}})
            for each in self._revisions
        ]
        await self._envoy.put(
            "cds", "config.cluster.v3.Cluster", clusters, taken="cluster_manager.cds" if wait else None
        )

    async def _put_routes(self, *, wait: bool = True) -> None:
        served = [
            host
            for name, site in self._sites.items()
            for host in hosts(name, site.fqdn, site.weights, site.addresses, sticky=site.sticky)
        ]
        routes = {"name": "ingress", "virtual_hosts": served}
        taken = "http.ingress.rds.ingress" if wait else None
        await self._envoy.put("rds", "config.route.v3.RouteConfiguration", [routes], taken=taken)

    async def _put_gateway(self, *, wait: bool = True) -> None:
        served = (
            {"gateway": [], "revisions": []}
            if self._gateway is None
            else {
                "gateway": self._gateway.callers(self._domain),
                "revisions": self._gateway.tried(self._domain),
            }
        )
        for name, virtual in served.items():
            routes = {"name": name, "virtual_hosts": virtual}
            taken = f"http.{name}.rds.{name}" if wait else None
            await self._envoy.put(f"rds-{name}", "config.route.v3.RouteConfiguration", [routes], taken=taken)

    def _listeners(self) -> list[Document]:
        return [
            # Its routes say how long a silence may be.
            listener("gateway", self.gateway_port, self._routes_of("gateway", "rds-gateway"), 0),
            listener("revisions", self.revisions_port, self._routes_of("revisions", "rds-revisions"), 0, guarded()),
            listener(
                "ingress", self.port, self._routes_of("ingress", "rds"), self._idle_timeout_s, affinity(self._cookie)
            ),
        ]

    def _routes_of(self, name: str, source: str) -> Document:
        return {"rds": {"route_config_name": name, "config_source": self._envoy.source(source)}}
