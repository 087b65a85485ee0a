"""HTTPS_PROXY and NO_PROXY: which connections use a proxy, by the rules of curl, Go and Python. Loopback never does."""

import base64
import ipaddress
import re
from collections.abc import Mapping
from typing import NamedTuple, Self

from yarl import URL

_HOST = re.compile(r"[0-9a-fA-F:.]*:[0-9a-fA-F:.]*|([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?")
ACCEPTED = "http://HOST:PORT or http://USER:PASSWORD@HOST:PORT"


class Proxy(NamedTuple):
    """A proxy that opens tunnels (RFC 9110 section 9.3.6).

    ``headers`` contain its password, and are sent only to it.
    """

    host: str
    port: int
    headers: Mapping[str, str]

    @property
    def url(self) -> URL:
        """The URL without the password."""
        return URL.build(scheme="http", host=self.host, port=self.port)

    @property
    def name(self) -> str:
        """Its name for the log."""
        return f"{self.url.host_subcomponent}:{self.port}"

    @classmethod
    def parse(cls, value: str) -> Self:
        """Reads a setting. Raises ValueError, which does not quote it."""
        try:
            url = URL(value if "://" in value else f"http://{value}")
            valid = url.scheme == "http" and bool(_HOST.fullmatch(url.raw_host or "")) and bool(url.port)
            valid = valid and url.path in ("", "/") and not (url.query_string or url.fragment)
        except ValueError:
            url, valid = URL(), False
        if not valid or url.raw_host is None or url.port is None:
            raise ValueError(f"not a proxy; accepted: {ACCEPTED}")
        if url.user is None and url.password is None:
            return cls(url.raw_host, url.port, {})
        credentials = base64.b64encode(f"{url.user or ''}:{url.password or ''}".encode()).decode()
        return cls(url.raw_host, url.port, {"Proxy-Authorization": f"Basic {credentials}"})


class Proxies(NamedTuple):
    """The environment's proxy settings: the value of HTTPS_PROXY, and the entries of NO_PROXY."""

    value: str = ""
    direct: tuple[str, ...] = ()

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """Reads the environment. The lower-case variable has precedence, as for curl and Python."""
        value, direct = (environ.get(name, environ.get(name.upper(), "")) for name in ("https_proxy", "no_proxy"))
        return cls(value.strip(), tuple(filter(None, re.split(r"[,\s]+", direct.lower()))))

    def of(self, url: URL) -> Proxy | None:
        """The proxy for ``url``, or None. Raises ValueError when the setting is not a valid proxy."""
        if not self.value or url.scheme != "https" or self._is_direct(url):
            return None
        return Proxy.parse(self.value)

    def _is_direct(self, url: URL) -> bool:
        host = (url.raw_host or "").rstrip(".")
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            address = None
        if host == "localhost" or (address is not None and address.is_loopback):
            return True
        return any(_names(entry, host, url.port, address) for entry in self.direct)


def _names(
    entry: str, host: str, port: int | None, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None
) -> bool:
    """Whether an entry of NO_PROXY is ``*``, the host, a parent of it, its address, or a network that contains it."""
    if entry == "*":
        return True
    if address is not None:
        try:
            return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
        except ValueError:
            pass  # perhaps one with a port
    name, colon, digits = entry.rpartition(":")
    if colon and digits.isdecimal():
        if int(digits) != port:
            return False
        entry = name.strip("[]")
    entry = entry.removeprefix("*").strip(".")
    return bool(entry) and (host == entry or host.endswith(f".{entry}"))
