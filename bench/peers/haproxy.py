"""HAProxy: one process, one thread."""

from bench.peers.found import installed, program_version
from bench.peers.peer import Peer, Route, nothing

_CONFIG = """\
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

_TLS = " ssl verify required ca-file {ca_file} verifyhost localhost sni str(localhost)"


def _command(route: Route) -> list[str]:
    path = route.folder / "haproxy.cfg"
    tls = _TLS.format(ca_file=route.ca_file) if route.ca_file else ""
    path.write_text(
        _CONFIG.format(sessions=route.sessions, port=route.port, model_port=route.model_port, tls=tls),
    )
    return [installed("haproxy"), "-db", "-f", str(path)]


HAPROXY = Peer(
    name="haproxy",
    get="apt-get install haproxy",
    version=lambda: program_version("haproxy", "-v", r"version ([\d.]+)"),
    command=_command,
    environment=nothing,
)
