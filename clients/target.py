"""What a client connects to: the URL in one form, the address to dial, the credentials, and whom to trust for TLS."""

import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from yarl import URL

REALTIME_PATH = "/v1/realtime"
SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
PAGE_SCHEMES = {"ws": "http", "wss": "https", "http": "http", "https": "https"}
# Names under which keys are put into URLs; there they end up in the log of every hop.
KEY_PARAMETERS = {"api-key", "api_key", "apikey", "key", "token", "access_token", "code"}


class Address(NamedTuple):
    """Where to connect when that is not where the URL points: `--connect-to`, as curl has it."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`HOST:PORT`. Raises ValueError."""
        parts = urlsplit(f"//{text}")
        if not parts.hostname or not parts.port or parts.netloc != text or "@" in text:
            raise ValueError(text)
        may_be_looked_up(parts.hostname)
        return cls(parts.hostname, parts.port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Dialled(NamedTuple):
    """A request for `url` that reaches another address: Host is still the URL's, and so is SNI for an IP address.

    A dialled name is the one whose certificate is expected, such as that of a gateway that ends TLS and passes Host on,
    through which a revision's own address is reached. No resolver does this, as aiohttp asks none when the
    URL's host is an IP address.
    """

    url: URL
    headers: dict[str, str]
    server_hostname: str | None


def dialled(url: URL, connect_to: Address | None) -> Dialled:
    if connect_to is None:
        return Dialled(url, {}, None)
    there = url.with_host(connect_to.host).with_port(connect_to.port)
    server_hostname = url.host if _is_ip(connect_to.host) else connect_to.host
    return Dialled(there, {"Host": url.host_port_subcomponent or ""}, server_hostname)


def may_be_looked_up(host: str) -> None:
    """Raises ValueError for a label that is empty or too long, as a resolver would in the middle of a dial."""
    host.encode("idna")


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Target:
    url: URL
    connect_to: Address | None
    headers: dict[str, str] = field(repr=False)
    trust: ssl.SSLContext | bool = field(repr=False)
    key: str | None = field(repr=False)


def target(
    text: str,
    model: str,
    key: str | None,
    key_header: str,
    ca_file: str | None,
    insecure: bool,
    connect_to: Address | None = None,
) -> tuple[Target, list[str]]:
    """The target and the problems with it. With any problem the target is of no use. No problem quotes the key."""
    url, problems = _url(text, model, key)
    trust, mistrust = whom_to_trust(ca_file, insecure)
    if key and not (key.isascii() and key.isprintable()):
        problems.append("the key has characters that no HTTP header can carry")
    return Target(url, connect_to, _headers(key_header, key), trust, key), problems + mistrust


def _url(text: str, model: str, key: str | None) -> tuple[URL, list[str]]:
    """No path means the realtime path, and a realtime path gets a model."""
    url, problems = base_url(text, SCHEMES)
    if not url.host:
        return url, problems
    if KEY_PARAMETERS & {name.lower() for name in url.query} or (key and key in url.query.values()):
        problems.append("URL must carry no key, URLs end up in logs; it belongs in RTPROXY_KEY")
    if url.path == "/":
        url = url.with_path(REALTIME_PATH, keep_query=True)
    if url.path.endswith("/realtime") and not {"model", "deployment"} & set(url.query):
        url = url.update_query(model=model)
    return url, problems


def base_url(text: str, schemes: Mapping[str, str]) -> tuple[URL, list[str]]:
    """ws, wss, http or https, the scheme then replaced by what `schemes` has for it; empty when it is none of them."""
    try:
        url = URL(text)
        host = url.host
        may_be_looked_up(url.raw_host or "")
    except ValueError:
        host = None
    if host is None or url.scheme not in schemes:
        # Not quoted: after a mistyped option the word that stands here may be the key.
        return URL(), ["URL wants the form ws://host:port, wss://, http:// or https://"]
    problems = []
    if url.user or url.password:
        problems.append("URL must carry no user and password; the key belongs in RTPROXY_KEY")
    return url.with_scheme(schemes[url.scheme]).with_fragment(None), problems


def _headers(key_header: str, key: str | None) -> dict[str, str]:
    if key is None:
        return {}
    return {"api-key": key} if key_header == "api-key" else {"Authorization": f"Bearer {key}"}


def whom_to_trust(ca_file: str | None, insecure: bool) -> tuple[ssl.SSLContext | bool, list[str]]:
    """In aiohttp's terms: a context, True for the system's authorities, False to verify nothing."""
    if ca_file is None:
        return not insecure, []
    if insecure:
        return False, ["--insecure and --ca-file exclude each other"]
    try:
        return ssl.create_default_context(cafile=ca_file), []
    except OSError as error:  # ssl.SSLError is one
        return False, [f"--ca-file wants a PEM file with certificates: {error}"]
