"""The words of Envoy: its listeners, clusters, endpoints and routes as documents."""

from collections.abc import Collection, Mapping
from ipaddress import ip_network
from typing import Any

Document = dict[str, Any]
TYPE = "type.googleapis.com/envoy."
_HTTP = "extensions.filters.http."
_STATEFUL = "envoy.filters.http.stateful_session"
_RBAC = "envoy.filters.http.rbac"
# Envoy's own 1024 would be a limit that the services do not have.
_WIDE = {"thresholds": [dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), 1 << 20)]}
# No total of weights may be 0.
_NOBODY = {"direct_response": {"status": 404}}


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
    """The sticky cookie: in a listener for good, switched by the routes, because a changed listener drops sockets."""
    state = {
        "@type": TYPE + "extensions.http.stateful_session.cookie.v3.CookieBasedSessionState",
        "cookie": {"name": cookie, "path": "/"},
    }
    session = {"name": "envoy.http.stateful_session.cookie", "typed_config": state}
    kind = TYPE + _HTTP + "stateful_session.v3.StatefulSession"
    return {"name": _STATEFUL, "typed_config": {"@type": kind, "session_state": session}}


def guarded() -> Document:
    """The filter that `only_from` gives its rules; without any it lets everybody pass."""
    return {"name": _RBAC, "typed_config": {"@type": TYPE + _HTTP + "rbac.v3.RBAC"}}


def only_from(networks: Collection[str]) -> Document:
    """Of a virtual host: who comes from elsewhere is answered 403."""
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
