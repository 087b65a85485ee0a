"""The relays in Python: each a program of its own, so that no peer loads another's libraries."""

import sys
from collections.abc import Callable

from bench.peers.found import package_versions
from bench.peers.peer import Peer, Route, nothing


def _runs(module: str) -> Callable[[Route], list[str]]:
    def command(route: Route) -> list[str]:
        ports = ("--port", str(route.port), "--model-port", str(route.model_port))
        trust = ("--ca-file", str(route.ca_file)) if route.ca_file else ()
        return [sys.executable, "-m", module, *ports, *trust]

    return command


def _relay(name: str, *packages: str) -> Peer:
    return Peer(
        name=name,
        get="nox -s bench installs it",
        version=lambda: package_versions(*packages),
        command=_runs(f"bench.peers.{name}_relay"),
        environment=nothing,
    )


FASTAPI = _relay("fastapi", "fastapi", "uvicorn", "websockets", "uvloop")
AIOHTTP = _relay("aiohttp", "aiohttp", "uvloop")
PICOWS = _relay("picows", "picows", "uvloop")
