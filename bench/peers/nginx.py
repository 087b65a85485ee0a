"""nginx: a master and one worker; once as its page on WebSockets has it, once with a buffer for a whole frame."""

import os
import pwd
from functools import partial

from bench.peers.found import installed, program_version
from bench.peers.peer import Peer, Route, nothing

_SPARE = 64
"""Connections beyond two a session: the listener, the master's channel and the like."""

_CONFIG = """\
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

# An upgraded connection has one buffer of proxy_buffer_size each way, 4 KiB unless told: with 16 a TLS record fits.
# nginx wants proxy_buffers to match, though here it uses none of them.
_WIDE = """\
            proxy_buffer_size 16k;
            proxy_buffers 8 16k;
"""

# TLS 1.3 to upstreams is not in the default of every nginx.
_TLS = """\
            proxy_ssl_protocols TLSv1.2 TLSv1.3;
            proxy_ssl_session_reuse on;
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {ca_file};
            proxy_ssl_name localhost;
            proxy_ssl_server_name on;
"""


def _command(route: Route, buffers: str) -> list[str]:
    connections = 2 * route.sessions + _SPARE
    config = _CONFIG.format(
        # Else the worker of a master that is root would be nobody, who may not read our folder.
        user="" if os.geteuid() else f"user {pwd.getpwuid(0).pw_name};",
        files=connections + _SPARE,
        connections=connections,
        port=route.port,
        scheme="https" if route.ca_file else "http",
        model_port=route.model_port,
        buffers=buffers,
        tls=_TLS.format(ca_file=route.ca_file) if route.ca_file else "",
    )
    (route.folder / "nginx.conf").write_text(config)
    return [installed("nginx"), "-p", str(route.folder), "-c", "nginx.conf", "-e", "stderr"]


def _peer(name: str, buffers: str) -> Peer:
    return Peer(
        name=name,
        get="apt-get install nginx-light",
        version=lambda: program_version("nginx", "-v", r"nginx/([\d.]+)"),
        command=partial(_command, buffers=buffers),
        environment=nothing,
    )


NGINX, NGINX_16K = _peer("nginx", ""), _peer("nginx-16k", _WIDE)
