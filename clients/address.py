"""Where to dial when that is not where the URL points: `--connect-to`, as curl has it."""

import ipaddress
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from yarl import URL


class Address(NamedTuple):
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

    A name that is dialled is the one whose certificate is there: a gateway that takes TLS off and passes Host on, for
    example, through which a revision's own address is reached.

    Not done by a resolver, because aiohttp asks none when the URL's host is an IP address.
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
