"""Where to dial when that is not where the URL points: `--connect-to`, as curl has it."""

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
        return cls(parts.hostname, parts.port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Dialled(NamedTuple):
    """A request for `url` that reaches another address: Host and SNI are still the URL's.

    Not done by a resolver, because aiohttp asks none when the URL's host is an IP address.
    """

    url: URL
    headers: dict[str, str]
    server_hostname: str | None


def dialled(url: URL, connect_to: Address | None) -> Dialled:
    if connect_to is None:
        return Dialled(url, {}, None)
    there = url.with_host(connect_to.host).with_port(connect_to.port)
    return Dialled(there, {"Host": url.host_port_subcomponent or ""}, url.host)
