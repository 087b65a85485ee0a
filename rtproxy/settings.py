"""What this replica is told by its environment: one frozen record, or every problem at once."""

import ipaddress
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from yarl import URL

ENTRA_SCOPE = "https://ai.azure.com/.default"

HELP = """\
  AZURE_OPENAI_ENDPOINT      https://NAME.openai.azure.com, or http://127.0.0.1:PORT for a simulated model
  AZURE_OPENAI_DEPLOYMENT    name of the gpt-realtime deployment
  AZURE_OPENAI_API_KEY       absent: Entra ID, through the identity of the app or your az login
  AZURE_OPENAI_API_VERSION   set: the preview URL; absent: GA, /openai/v1/realtime
  AZURE_OPENAI_TOKEN_SCOPE   scope of the Entra ID token (https://ai.azure.com/.default)
  PORT                       port to listen on, 0 for any free one (8080)
  RTPROXY_HOST               address to listen on (0.0.0.0)
  RTPROXY_CLIENT_KEYS        who may call: name:key pairs, comma separated
  RTPROXY_ALLOW_ANONYMOUS    true: calls without a key are let in
  RTPROXY_ALLOWED_ORIGINS    web origins that may call, comma separated (absent: any)
  RTPROXY_MAX_SESSIONS       live sessions at most (1000)
  RTPROXY_DRAIN_SECONDS      from SIGTERM to exit, less than the platform's grace period (25)
  RTPROXY_HEARTBEAT_SECONDS  a ping a leg this often (25)
"""
TELEMETRY_HELP = """\
with rtproxy[telemetry] installed, the standard OTEL_* variables too: where OTEL_EXPORTER_OTLP_ENDPOINT says,
a span a call and the figures of /metrics go, as OTLP over gRPC
"""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class SettingsError(ValueError):
    """``problems``: one sentence each, naming the variable and the accepted form, never a secret."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


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
    allow_anonymous: bool
    allowed_origins: frozenset[str]
    max_sessions: int
    drain_s: float
    heartbeat_s: float
    app: str | None
    revision: str
    replica: str
    telemetry: frozenset[str]


def load(environ: Mapping[str, str]) -> Settings:
    """Reads every variable; raises SettingsError with all the problems found."""
    read = _Reader(environ)
    settings = Settings(
        endpoint=read.endpoint(),
        deployment=read.required("AZURE_OPENAI_DEPLOYMENT", "the name of your gpt-realtime deployment"),
        api_key=read.header("AZURE_OPENAI_API_KEY"),
        api_version=environ.get("AZURE_OPENAI_API_VERSION") or None,
        token_scope=environ.get("AZURE_OPENAI_TOKEN_SCOPE") or ENTRA_SCOPE,
        host=environ.get("RTPROXY_HOST") or "0.0.0.0",  # noqa: S104 - a container's port is its front door
        port=int(read.number("PORT", 8080, 0, 65535, whole=True)),
        allow_anonymous=read.flag("RTPROXY_ALLOW_ANONYMOUS"),
        client_keys=read.client_keys(),
        allowed_origins=read.origins(),
        max_sessions=int(read.number("RTPROXY_MAX_SESSIONS", 1000, 1, 1_000_000, whole=True)),
        drain_s=read.number("RTPROXY_DRAIN_SECONDS", 25, 0.1, 3600),
        heartbeat_s=read.number("RTPROXY_HEARTBEAT_SECONDS", 25, 0.1, 3600),
        app=environ.get("CONTAINER_APP_NAME") or None,
        revision=environ.get("CONTAINER_APP_REVISION") or "local",
        replica=environ.get("CONTAINER_APP_REPLICA_NAME") or socket.gethostname(),
        telemetry=read.telemetry(),
    )
    if read.problems:
        raise SettingsError(read.problems)
    return settings


class _Reader:
    """Reads variables and collects what is wrong with them, so that one start names everything."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def required(self, name: str, accepted: str) -> str:
        value = self._environ.get(name, "").strip()
        if not value:
            self.problems.append(f"{name} is not set; accepted: {accepted}")
        return value

    def header(self, name: str) -> str | None:
        value = self._environ.get(name) or None
        if value is not None and not (value.isascii() and value.isprintable() and " " not in value):
            self.problems.append(
                f"{name} has a character that no HTTP header carries; accepted: printable ASCII, no space"
            )
        return value

    def endpoint(self) -> URL:
        accepted = "https://NAME.openai.azure.com, or http://127.0.0.1:PORT for a simulated model"
        value = self.required("AZURE_OPENAI_ENDPOINT", accepted)
        try:
            url = URL(value)
            sound = url.path in ("", "/") and not (url.query_string or url.fragment or url.user or url.password)
            sound = sound and (url.scheme == "https" or (url.scheme == "http" and _is_loopback(url.host or "")))
            # A name that DNS cannot carry would fail every dial: an empty label, one of over 63 characters.
            sound = sound and bool((url.raw_host or "").encode("idna")) and url.port != 0
        except ValueError:
            url, sound = URL(), False
        if value and not sound:
            self.problems.append(f"AZURE_OPENAI_ENDPOINT is not an endpoint; accepted: {accepted}")
        return url

    def number(self, name: str, default: float, low: float, high: float, *, whole: bool = False) -> float:
        value = self._environ.get(name, "").strip()
        if not value:
            return default
        try:
            number = float(int(value) if whole else float(value))
        except ValueError:
            number = -1.0
        if not low <= number <= high:
            kind = "a whole number" if whole else "a number"
            self.problems.append(f"{name} is {value[:40]!r}; accepted: {kind} from {low:g} to {high:.0f}")
            return default
        return number

    def flag(self, name: str) -> bool:
        value = self._environ.get(name, "").strip().lower()
        if value not in ("", "true", "false"):
            self.problems.append(f"{name} is {value[:40]!r}; accepted: true or false")
        return value == "true"

    def client_keys(self) -> dict[str, str]:
        keys: dict[str, str] = {}
        entries = [e.strip() for e in self._environ.get("RTPROXY_CLIENT_KEYS", "").split(",")]
        for position, entry in enumerate((e for e in entries if e), start=1):
            name, _, key = entry.partition(":")
            if not (_NAME.fullmatch(name) and key and key.isascii() and key.isprintable() and " " not in key):
                self.problems.append(
                    f"RTPROXY_CLIENT_KEYS: entry {position} is not a pair; accepted: name:key,name:key"
                )
            elif name in keys or key in keys.values():
                self.problems.append(
                    f"RTPROXY_CLIENT_KEYS: entry {position} repeats a name or a key; accepted: each once"
                )
            keys[name] = key
        if not keys and self._environ.get("RTPROXY_ALLOW_ANONYMOUS", "").strip().lower() != "true":
            self.problems.append(
                "RTPROXY_CLIENT_KEYS is not set, so nobody could call; accepted: name:key pairs, comma separated "
                "(or RTPROXY_ALLOW_ANONYMOUS=true to let everybody in)"
            )
        return keys

    def origins(self) -> frozenset[str]:
        entries = [e.strip().lower() for e in self._environ.get("RTPROXY_ALLOWED_ORIGINS", "").split(",")]
        for entry in filter(None, entries):
            if not re.fullmatch(r"https?://[^/\s,]+", entry):
                self.problems.append(
                    f"RTPROXY_ALLOWED_ORIGINS has {entry[:60]!r}; accepted: origins such as https://app.example.com"
                )
        return frozenset(filter(None, entries))

    def telemetry(self) -> frozenset[str]:
        """What goes to an OTLP endpoint: the SDK reads OTEL_* itself, and would fall silent over some of it."""
        if self._environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            return frozenset()
        return frozenset(signal for signal in ("traces", "metrics") if self._exported(signal.upper()))

    def _exported(self, signal: str) -> bool:
        of_signal, of_all = f"OTEL_EXPORTER_OTLP_{signal}_", "OTEL_EXPORTER_OTLP_"
        if not any(self._environ.get(f"{prefix}ENDPOINT", "").strip() for prefix in (of_signal, of_all)):
            return False
        exporter = self._one_of(f"OTEL_{signal}_EXPORTER", ("otlp", "none"))
        protocol = f"{of_signal if self._environ.get(f'{of_signal}PROTOCOL') else of_all}PROTOCOL"
        return exporter == "otlp" and self._one_of(protocol, ("grpc",)) == "grpc"

    def _one_of(self, name: str, accepted: tuple[str, ...]) -> str:
        value = self._environ.get(name, "").strip().lower() or accepted[0]
        if value not in accepted:
            problem = f"{name} is {value[:40]!r}; accepted: {' or '.join(accepted)}"
            self.problems += [problem] if problem not in self.problems else []
        return value


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
