"""What this replica is told by its environment: one table, a row a variable; one frozen record, or every problem.

Reading, checking and ``--help`` follow from TABLE. What a value may look like is `environ`.
"""

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from yarl import URL

from rtproxy.environ import Reader
from rtproxy.proxies import Proxies

ENTRA_SCOPE = "https://cognitiveservices.azure.com/.default"
"""What every kind of model account takes."""
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - a container's port is its front door

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


class Row(NamedTuple):
    """A variable: the field of `Settings` that it sets, how it is read, what ``--help`` says, its default."""

    name: str
    field: str
    read: Callable[[Reader, str], object]
    help: str
    default: str = ""


def _text(read: Reader, name: str) -> str | None:
    return read.text(name) or None


def _deployment(read: Reader, name: str) -> str:
    return read.required(name, "the name of your gpt-realtime deployment")


def _number(low: float, high: float) -> Callable[[Reader, str], float | None]:
    return lambda read, name: read.number(name, low, high)


def _whole(low: int, high: int) -> Callable[[Reader, str], int | None]:
    return lambda read, name: read.whole(name, low, high)


TABLE = (
    Row(
        "AZURE_OPENAI_ENDPOINT",
        "endpoint",
        Reader.endpoint,
        "https://NAME.openai.azure.com or https://NAME.services.ai.azure.com",
    ),
    Row("AZURE_OPENAI_DEPLOYMENT", "deployment", _deployment, "name of the gpt-realtime deployment"),
    Row(
        "AZURE_OPENAI_API_KEY",
        "api_key",
        Reader.header,
        "absent: Entra ID, through the identity of the app or your az login",
    ),
    Row(
        "AZURE_OPENAI_API_VERSION",
        "api_version",
        Reader.api_version,
        "set: the preview URL; absent: GA, /openai/v1/realtime",
    ),
    Row("AZURE_OPENAI_TOKEN_SCOPE", "token_scope", _text, "scope of the Entra ID token", ENTRA_SCOPE),
    Row("PORT", "port", _whole(0, 65535), "port to listen on, 0 for any free one", "8080"),
    Row("RTPROXY_HOST", "host", Reader.host, "address to listen on", EVERY_ADDRESS),
    Row(
        "RTPROXY_CLIENT_KEYS",
        "client_keys",
        Reader.client_keys,
        "who may call: name:key pairs, comma separated; a key has 16 characters or more",
    ),
    Row(
        "RTPROXY_CLIENT_KEYS_FILE",
        "client_keys_file",
        Reader.keys_file,
        "more of them, from a file: a key is added or taken away without a restart",
    ),
    Row(
        "RTPROXY_OIDC_ISSUER",
        "oidc_issuer",
        Reader.issuer,
        "whose tokens let a client in, such as https://login.microsoftonline.com/TENANT/v2.0",
    ),
    Row(
        "RTPROXY_OIDC_AUDIENCE",
        "oidc_audience",
        Reader.words,
        "what those tokens have to be for, comma separated: api://APP",
    ),
    Row("RTPROXY_OIDC_SCOPE", "oidc_scope", _text, "a scope or role that they must have (absent: none)"),
    Row("RTPROXY_ALLOW_ANONYMOUS", "allow_anonymous", Reader.flag, "true: calls without a key are let in"),
    Row(
        "RTPROXY_ALLOWED_ORIGINS",
        "allowed_origins",
        Reader.origins,
        "web origins that may call, comma separated (absent: any)",
    ),
    Row(
        "RTPROXY_CLIENT_EVENTS",
        "client_events",
        Reader.client_events,
        "client events that go on to the model, comma separated (absent: all)",
    ),
    Row("RTPROXY_MAX_SESSIONS", "max_sessions", _whole(1, 1_000_000), "live sessions at most", "1000"),
    Row(
        "RTPROXY_MAX_CLIENT_SESSIONS",
        "max_client_sessions",
        _whole(1, 1_000_000),
        "of them, one client's at most (absent: all)",
    ),
    Row(
        "RTPROXY_MAX_CLIENT_STARTS",
        "max_client_starts",
        _whole(1, 10_000),
        "calls that one client may start in any 60 s (absent: any number)",
    ),
    Row(
        "RTPROXY_MAX_CALL_SECONDS",
        "max_call_s",
        _number(0.1, 86_400),
        "a call ends when it has lasted this long, between two turns (absent: never)",
    ),
    Row(
        "RTPROXY_DRAIN_SECONDS",
        "drain_s",
        _number(0.1, 3600),
        "from SIGTERM to exit, less than the platform's grace period",
        "25",
    ),
    Row("RTPROXY_HEARTBEAT_SECONDS", "heartbeat_s", _number(0.1, 3600), "a ping a leg this often", "25"),
)
HELP = "".join(f"  {row.name:<25}  {row.help}{f' ({row.default})' if row.default else ''}\n" for row in TABLE)


def load(environ: Mapping[str, str]) -> Settings:
    """Reads every variable; raises SettingsError with all the problems found."""
    read = Reader({row.name: row.default for row in TABLE} | {name: value for name, value in environ.items() if value})
    values: dict[str, Any] = {row.field: row.read(read, row.name) for row in TABLE}
    settings = Settings(
        **values,
        https_proxy=read.https_proxy(values["endpoint"], values["oidc_issuer"]),
        app=environ.get("CONTAINER_APP_NAME") or None,
        revision=environ.get("CONTAINER_APP_REVISION") or "local",
        replica=environ.get("CONTAINER_APP_REPLICA_NAME") or socket.gethostname(),
        telemetry=read.telemetry(),
    )
    read.somebody()
    if read.problems:
        raise SettingsError(read.problems)
    return settings
