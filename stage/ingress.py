"""Application Gateway and the ingress of Container Apps, played by one Envoy.

caller  -> gateway's callers   -> ingress listeners -> replica of a revision
           one app, its paths     app, revision and label addresses; weights; affinity
rollout -> gateway's revisions ->
           their names, from a few addresses

The ingress has two listeners, as that of Container Apps has several Envoys, and the gateway takes turns between them.
One takes new weights at once, the other `weights_late_s` later.
"""

import asyncio
import re
import signal
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Self

from stage.envoy import Document, Envoy, affinity, at, cluster, free_ports, guarded, hosts, listener, only_from


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """The Application Gateway of the stage; a session that is silent for the timeout is cut.

    It has two ports: one for callers, and one for rollouts, which call a revision at its own address. The
    defaults are the values in `bicep/`.
    """

    app: str = "rtproxy"
    """The app whose name it puts into Host for callers."""
    request_timeout_s: float = 3900.0
    """Of the backend setting. The usual 20-30 s cut calls."""
    idle_timeout_s: float = 240.0
    """Of its public IP: 4 minutes, where `idleTimeoutInMinutes` does not say 5 to 30."""
    paths: tuple[str, ...] = ("/ws", "/ws/", "/v1/*", "/openai/*", "/healthz")
    """What a caller may ask for."""
    elsewhere: str | None = "/"
    """What any other path is asked for as; None: as itself."""
    revisions: tuple[str, ...] = ("rtproxy--*",)
    """The names below the environment's domain that pass at the port of rollouts; any other is 404."""
    rollouts: tuple[str, ...] = ("127.0.0.1/32",)
    """The networks that may use that port. On Azure the others get no answer at all; here they get 403."""

    def callers(self, domain: str) -> list[Document]:
        """The virtual hosts of the callers' port, for an environment of that domain."""
        onward = {**self._onward(), "host_rewrite_literal": f"{self.app}.{domain}"}
        routes: list[Document] = [{"match": _path(each), "route": onward} for each in self.paths]
        other = {} if self.elsewhere is None else _rewrite(self.elsewhere)
        return [_host("app", [*routes, {"match": {"prefix": "/"}, "route": onward | other}])]

    def tried(self, domain: str) -> list[Document]:
        """The virtual hosts of the port of rollouts."""
        routes = [{"match": _name(f"{each}.{domain}"), "route": self._onward()} for each in self.revisions]
        return [_host("revisions", routes) | only_from(self.rollouts)]

    def _onward(self) -> Document:
        return {
            "cluster": "ingress",
            "timeout": f"{self.request_timeout_s}s",
            # What both timeouts mean to a WebSocket: the longest silence.
            "idle_timeout": f"{min(self.request_timeout_s, self.idle_timeout_s)}s",
            "append_x_forwarded_host": True,
        }


def _host(name: str, routes: list[Document]) -> Document:
    return {"name": name, "domains": ["*"], "routes": routes}


def _path(pattern: str) -> Document:
    """A path, or with a star at its end every path that begins so."""
    return {"prefix": pattern.removesuffix("*")} if pattern.endswith("*") else {"path": pattern}


def _rewrite(path: str) -> Document:
    return {"regex_rewrite": {"pattern": {"regex": "^.*$"}, "substitution": path}}


def _name(pattern: str) -> Document:
    """A Host where a star stands for any letters, digits, dashes and dots; any port."""
    regex = "[a-z0-9.-]*".join(map(re.escape, pattern.split("*")))
    said = {"name": ":authority", "string_match": {"safe_regex": {"regex": rf"(?i){regex}(:\d+)?"}}}
    return {"prefix": "/", "headers": [said]}


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
    """The requests that a revision got; an open WebSocket is an active request."""

    started: int
    active: int


class Ingress:
    """All listeners. A change touches no open socket, and is in force when its method returns, but for late weights.

    ``port`` is that of the listener that takes weights at once.
    """

    def __init__(
        self,
        root: Path,
        domain: str,
        gateway: Gateway | None,
        *,
        idle_timeout_s: float,
        cookie: str,
        weights_late_s: float = 0,
    ) -> None:
        self._envoy = Envoy(root)
        self._gateway = gateway
        self._domain = domain
        self._idle_timeout_s = idle_timeout_s
        self._cookie = cookie
        self._weights_late_s = weights_late_s
        self._sites: dict[str, Site] = {}
        self._late_weights: dict[str, Mapping[str, int]] = {}
        self._late: set[asyncio.Task[None]] = set()
        self._revisions: list[str] = []
        self._changing = asyncio.Lock()
        self.gateway_port, self.revisions_port, self.port, self._late_port = free_ports(4)

    async def __aenter__(self) -> Self:
        await self._envoy.__aenter__()
        try:
            await self._put_clusters(wait=False)
            await self._put_routes(wait=False)
            await self._put_gateway(wait=False)
            both = {"type": "STATIC", **at([self.port, self._late_port])}
            await self._envoy.start(self._listeners(), [cluster("ingress", both)])
        except BaseException:
            await self._envoy.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        for each in self._late:
            each.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)
        await self._envoy.__aexit__(*exc)

    async def add_revision(self, revision: str) -> None:
        """Adds a revision, with no replica yet; one that exists stays as it is."""
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
        """Sets the addresses and weights of an app; None: it has none. Its first weights are never late."""
        async with self._changing:
            self._sites = {name: each for name, each in self._sites.items() if name != app}
            if site is None or not self._weights_late_s or not any(self._late_weights.get(app, {}).values()):
                self._late_weights.pop(app, None)
                for each in self._late:
                    if each.get_name() == app:
                        each.cancel()
            if site is not None:
                self._sites[app] = site
                if self._late_weights.setdefault(app, site.weights) != site.weights:
                    late = asyncio.create_task(self._weigh_late(app, site.weights), name=app)
                    self._late.add(late)
                    late.add_done_callback(self._late.discard)
            await self._put_routes()

    async def _weigh_late(self, app: str, weights: Mapping[str, int]) -> None:
        await asyncio.sleep(self._weights_late_s)
        async with self._changing:
            if app in self._sites:
                self._late_weights[app] = weights
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
        """Starts all listeners again, as they were before `end`."""
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
        late = {name: replace(site, weights=self._late_weights[name]) for name, site in self._sites.items()}
        for listening, sites in (("ingress", self._sites), ("ingress-late", late)):
            served = [
                host
                for name, site in sites.items()
                for host in hosts(name, site.fqdn, site.weights, site.addresses, sticky=site.sticky)
            ]
            routes = {"name": listening, "virtual_hosts": served}
            taken = f"http.{listening}.rds.{listening}" if wait else None
            await self._envoy.put(f"rds-{listening}", "config.route.v3.RouteConfiguration", [routes], taken=taken)

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
            # Its routes set how long a silence may be.
            listener("gateway", self.gateway_port, self._routes_of("gateway", "rds-gateway"), 0),
            listener("revisions", self.revisions_port, self._routes_of("revisions", "rds-revisions"), 0, guarded()),
            *(
                listener(name, port, self._routes_of(name, f"rds-{name}"), self._idle_timeout_s, affinity(self._cookie))
                for name, port in (("ingress", self.port), ("ingress-late", self._late_port))
            ),
        ]

    def _routes_of(self, name: str, source: str) -> Document:
        return {"rds": {"route_config_name": name, "config_source": self._envoy.source(source)}}
