"""Our relay, as it is installed here."""

import sys

from bench.peers.found import package_versions
from bench.peers.peer import Peer, Route


def _command(_: Route) -> list[str]:
    return [sys.executable, "-m", "rtproxy"]


def _environment(route: Route) -> dict[str, str]:
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


RTPROXY = Peer(
    name="rtproxy",
    get="nox -s bench installs it",
    version=lambda: package_versions("rtproxy"),
    command=_command,
    environment=_environment,
)
