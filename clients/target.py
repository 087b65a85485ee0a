"""What a hold runs against: the URL in one form, where to dial, the credentials, and whom to trust for TLS."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from yarl import URL

from clients.address import Address, may_be_looked_up

REALTIME_PATH = "/v1/realtime"
SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
PAGE_SCHEMES = {"ws": "http", "wss": "https", "http": "http", "https": "https"}
# Names under which keys are put into URLs; there they end up in the log of every hop.
KEY_PARAMETERS = {"api-key", "api_key", "apikey", "key", "token", "access_token", "code"}


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
