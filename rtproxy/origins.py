"""The web origins that may call (RFC 6454): entries of RTPROXY_ALLOWED_ORIGINS, and the Origin that a browser sends.

Both are converted to the form that browsers send: lower case, punycode, no default port, addresses in their short form.
An entry that no browser can send would have no effect, and is refused at the start.
"""

import ipaddress
import re
from collections.abc import Iterable

from yarl import URL

_PORTS = {"http": 80, "https": 443}
_NOT_SENT = frozenset(("ws", "wss", "ftp", "file", "data", "blob", "about", "javascript"))
"""Schemes that no calling page has: the page of a wss:// socket has https://, and a page from a file has null."""
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[^\s/?#@:\\\[\]%,*]+)(?::([0-9]{1,5}))?")
_NAME = re.compile(r"(?=.{1,254}$)([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")
_NAME_CHARACTERS = 254
_ANY = "*."


def origin(text: str) -> str:
    """``text`` in the form that browsers send.

    Raises ValueError, with the reason, for an origin that no browser sends.
    """
    match = _ORIGIN.fullmatch(text.lower())
    if match is None:
        raise ValueError("an origin is SCHEME://HOST or SCHEME://HOST:PORT, and nothing else")
    scheme, host, port = match[1], match[2], match[3]
    if scheme in _NOT_SENT:
        raise ValueError(f"no page that calls has an origin of {scheme}:")
    if port is not None and not 0 < int(port) < 65536:
        raise ValueError("a port is from 1 to 65535")
    if scheme in _PORTS:
        host = _host(host)
    elif not _NAME.fullmatch(host):
        raise ValueError("the host of an app's scheme takes letters, digits, dots and dashes")
    default_port = port is None or int(port) == _PORTS.get(scheme)
    return f"{scheme}://{host}" if default_port else f"{scheme}://{host}:{int(port)}"


def allowed_origin(text: str) -> str:
    """An entry of the setting: an origin, or ``https://*.example.com`` for exactly one label. Raises ValueError."""
    scheme, _, rest = text.partition("://")
    if text.lower() == "null":
        raise ValueError("any page can make its origin null")
    if text == "*":
        raise ValueError("without RTPROXY_ALLOWED_ORIGINS any origin may call")
    if "*" not in text:
        return origin(text)
    parent = rest.removeprefix(_ANY)
    if scheme.lower() not in _PORTS or parent == rest or "*" in parent:
        raise ValueError("a wildcard stands for the first label of a name")
    # With a label in the place of the wildcard it must be an origin that browsers send.
    plain = origin(f"{scheme}://x.{parent}")
    host = plain.partition("://")[2].partition(":")[0]
    if host.rstrip(".").count(".") < 2:
        raise ValueError("a wildcard needs two labels behind it, or anybody can register one")
    return plain.replace("://x.", f"://{_ANY}", 1)


class Origins:
    """Decides whether a page of an origin may call. Without entries every page may."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._entries = frozenset(entries)

    def allow(self, sent: Iterable[str]) -> bool:
        """Whether a request with these Origin headers may call: a browser sends one, other clients none."""
        values = list(sent)
        if not self._entries or not values:
            return True
        if len(values) > 1 or not values[0].isascii():
            return False
        try:
            value = origin(values[0])
        except ValueError:
            return False
        scheme, _, host = value.partition("://")
        return value in self._entries or f"{scheme}://{_ANY}{host.partition('.')[2]}" in self._entries


def _host(host: str) -> str:
    """The host of a web page in the form that browsers send."""
    if host.startswith("["):
        return f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
    last = host.rstrip(".").rpartition(".")[2]
    if last.isdecimal() or last.startswith("0x"):
        return str(ipaddress.IPv4Address(host))
    name = "" if len(host) > _NAME_CHARACTERS else URL(f"https://{host}").raw_host or ""
    if not _NAME.fullmatch(name):
        raise ValueError("the host is no name that DNS carries")
    return name
