"""What this replica is told by its environment: one frozen record, or every problem at once."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from yarl import URL

from rtproxy.environ import Reader
from rtproxy.proxies import Proxies

ENTRA_SCOPE = "https://cognitiveservices.azure.com/.default"
"""What every kind of model account takes."""

HELP = """\
  AZURE_OPENAI_ENDPOINT      https://NAME.openai.azure.com or https://NAME.services.ai.azure.com
  AZURE_OPENAI_DEPLOYMENT    name of the gpt-realtime deployment
  AZURE_OPENAI_API_KEY       absent: Entra ID, through the identity of the app or your az login
  AZURE_OPENAI_API_VERSION   set: the preview URL; absent: GA, /openai/v1/realtime
  AZURE_OPENAI_TOKEN_SCOPE   scope of the Entra ID token (https://cognitiveservices.azure.com/.default)
  PORT                       port to listen on, 0 for any free one (8080)
  RTPROXY_HOST               address to listen on (0.0.0.0)
  RTPROXY_CLIENT_KEYS        who may call: name:key pairs, comma separated; a key has 16 characters or more
  RTPROXY_CLIENT_KEYS_FILE   more of them, from a file: a key is added or taken away without a restart
  RTPROXY_OIDC_ISSUER        whose tokens let a client in, such as https://login.microsoftonline.com/TENANT/v2.0
  RTPROXY_OIDC_AUDIENCE      what those tokens have to be for, comma separated: api://APP
  RTPROXY_OIDC_SCOPE         a scope or role that they must have (absent: none)
  RTPROXY_ALLOW_ANONYMOUS    true: calls without a key are let in
  RTPROXY_ALLOWED_ORIGINS    web origins that may call, comma separated (absent: any)
  RTPROXY_CLIENT_EVENTS      client events that go on to the model, comma separated (absent: all)
  RTPROXY_MAX_SESSIONS       live sessions at most (1000)
  RTPROXY_MAX_CLIENT_SESSIONS  of them, one client's at most (absent: all)
  RTPROXY_MAX_CLIENT_STARTS  calls that one client may start in any 60 s (absent: any number)
  RTPROXY_MAX_CALL_SECONDS   a call ends when it has lasted this long, between two turns (absent: never)
  RTPROXY_DRAIN_SECONDS      from SIGTERM to exit, less than the platform's grace period (25)
  RTPROXY_HEARTBEAT_SECONDS  a ping a leg this often (25)
"""
PROXY_HELP = """\
HTTPS_PROXY, http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, is the way to the model and to the issuer, but for
the names in NO_PROXY; loopback is always reached directly
"""
TELEMETRY_HELP = """\
with rtproxy[telemetry] installed, the standard OTEL_* variables too: where OTEL_EXPORTER_OTLP_ENDPOINT says,
a span a call and the figures of /metrics go, as OTLP over gRPC
"""


class SettingsError(ValueError):
    """``problems``: one sentence each, naming the variable and the accepted form, never a secret."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def not_taken(problem: Exception) -> SettingsError:
    """What only the OpenTelemetry SDK knows of its variables."""
    said = f"OTEL_*: the OpenTelemetry SDK says {problem!s:.200}; accepted: the forms of its documentation"
    return SettingsError([said])


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the rooms need to know; secrets stay out of its repr."""

    endpoint: URL
    deployment: str
    api_key: str | None = field(repr=False)
    api_version: str | None
    token_scope: str
    host: str
    port: int
    client_keys: Mapping[str, str] = field(repr=False)
    client_keys_file: Path | None
    oidc_issuer: str | None
    oidc_audience: frozenset[str]
    oidc_scope: str | None
    allow_anonymous: bool
    allowed_origins: frozenset[str]
    client_events: frozenset[str]
    https_proxy: Proxies = field(repr=False)
    max_sessions: int
    max_client_sessions: int | None
    max_client_starts: int | None
    max_call_s: float | None
    drain_s: float
    heartbeat_s: float
    app: str | None
    revision: str
    replica: str
    telemetry: frozenset[str]


def load(environ: Mapping[str, str]) -> Settings:
    """Reads every variable; raises SettingsError with all the problems found."""
    read = Reader(environ)
    keys, endpoint, issuer = read.client_keys(), read.endpoint(), read.issuer()
    settings = Settings(
        endpoint=endpoint,
        deployment=read.required("AZURE_OPENAI_DEPLOYMENT", "the name of your gpt-realtime deployment"),
        api_key=read.header("AZURE_OPENAI_API_KEY"),
        api_version=read.api_version(),
        token_scope=environ.get("AZURE_OPENAI_TOKEN_SCOPE") or ENTRA_SCOPE,
        host=read.host("RTPROXY_HOST", "0.0.0.0"),  # noqa: S104 - a container's port is its front door
        port=int(read.number("PORT", 8080, 0, 65535, whole=True)),
        allow_anonymous=read.flag("RTPROXY_ALLOW_ANONYMOUS"),
        client_keys=keys,
        client_keys_file=read.keys_file(keys),
        oidc_issuer=issuer,
        oidc_audience=read.words("RTPROXY_OIDC_AUDIENCE"),
        oidc_scope=environ.get("RTPROXY_OIDC_SCOPE", "").strip() or None,
        allowed_origins=read.origins(),
        client_events=read.client_events(),
        https_proxy=read.https_proxy(endpoint, issuer),
        max_sessions=read.whole("RTPROXY_MAX_SESSIONS", 1_000_000) or 1000,
        max_client_sessions=read.whole("RTPROXY_MAX_CLIENT_SESSIONS", 1_000_000),
        max_client_starts=read.whole("RTPROXY_MAX_CLIENT_STARTS", 10_000),
        max_call_s=read.number("RTPROXY_MAX_CALL_SECONDS", 0, 0.1, 86_400) or None,
        drain_s=read.number("RTPROXY_DRAIN_SECONDS", 25, 0.1, 3600),
        heartbeat_s=read.number("RTPROXY_HEARTBEAT_SECONDS", 25, 0.1, 3600),
        app=environ.get("CONTAINER_APP_NAME") or None,
        revision=environ.get("CONTAINER_APP_REVISION") or "local",
        replica=environ.get("CONTAINER_APP_REPLICA_NAME") or socket.gethostname(),
        telemetry=read.telemetry(),
    )
    read.somebody()
    if read.problems:
        raise SettingsError(read.problems)
    return settings
