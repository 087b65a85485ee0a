"""The peers: relays that a team would run in the place of ours, each set up as an expert in it would.

peer.py       Route and Peer: what a peer is given, and what the bench knows of it; which programs are installed
programs.py   nginx, HAProxy and Envoy
relay.py      what the three relays in Python have in common; each is a program of its own, so that no peer loads
              another's libraries:
    fastapi_relay.py    FastAPI on uvicorn, `websockets` to the model
    aiohttp_relay.py    aiohttp on both sides
    picows_relay.py     picows on both sides
"""

import sys

from bench.peers.peer import Peer, Route, nothing, package_versions
from bench.peers.programs import ENVOY, HAPROXY, NGINX, NGINX_16K


def _relay(name: str, *packages: str) -> Peer:
    def command(route: Route) -> list[str]:
        ports = ("--port", str(route.port), "--model-port", str(route.model_port))
        trust = ("--ca-file", str(route.ca_file)) if route.ca_file else ()
        return [sys.executable, "-m", f"bench.peers.{name}_relay", *ports, *trust]

    return Peer(
        name=name,
        get="nox -s bench installs it",
        version=lambda: package_versions(*packages),
        command=command,
        environment=nothing,
    )


def _our_environment(route: Route) -> dict[str, str]:
    scheme = "https" if route.ca_file else "http"
    return {
        "AZURE_OPENAI_ENDPOINT": f"{scheme}://127.0.0.1:{route.model_port}",
        "AZURE_OPENAI_DEPLOYMENT": "bench",
        "AZURE_OPENAI_API_KEY": "bench-model-key",
        "PORT": str(route.port),
        "RTPROXY_HOST": "127.0.0.1",
        "RTPROXY_CLIENT_KEYS": "bench:bench-client-key-0123456789",
        "RTPROXY_MAX_SESSIONS": str(route.sessions),
        **({"SSL_CERT_FILE": str(route.ca_file)} if route.ca_file else {}),
    }


# As it is installed here.
RTPROXY = Peer(
    name="rtproxy",
    get="nox -s bench installs it",
    version=lambda: package_versions("rtproxy"),
    command=lambda _: [sys.executable, "-m", "rtproxy"],
    environment=_our_environment,
)
PEERS: tuple[Peer, ...] = (
    *(NGINX, NGINX_16K, HAPROXY, ENVOY),
    _relay("fastapi", "fastapi", "uvicorn", "websockets", "uvloop"),
    _relay("aiohttp", "aiohttp", "uvloop"),
    _relay("picows", "picows", "uvloop"),
    RTPROXY,
)

__all__ = ["PEERS", "RTPROXY", "Peer", "Route"]
