"""The Application Gateway of the stage: where it leads, what it keeps shut, and how quiet a call may be."""

import re
from dataclasses import dataclass

from stage.envoy_config import Document, only_from


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """The Application Gateway of the stage; a session over which nothing flows for the timeout is cut.

    It has two ports: one for callers, and one for rollouts, which ask a revision at its own address. What stands here
    unless said otherwise is what `bicep/` says.
    """

    app: str = "rtproxy"
    """The app whose name it puts into Host for callers."""
    request_timeout_s: float = 3900.0
    """Of the backend setting. The usual 20-30 s cut calls."""
    idle_timeout_s: float = 240.0
    """Of its public IP: 4 minutes, where `idleTimeoutInMinutes` does not say 5 to 30."""
    paths: tuple[str, ...] = ("/ws", "/ws/", "/v1/*", "/openai/*", "/healthz")
    """What a caller may ask for."""
    elsewhere: str | None = "/"
    """What any other path is asked for as; None: as itself."""
    revisions: tuple[str, ...] = ("rtproxy--*",)
    """The names below the environment's domain that pass at the port of rollouts; any other is 404."""
    rollouts: tuple[str, ...] = ("127.0.0.1/32",)
    """The networks that may come to that port. On Azure the others get no answer at all; here it is 403."""

    def callers(self, domain: str) -> list[Document]:
        """The virtual hosts of the callers' port, for an environment of that domain."""
        onward = {**self._onward(), "host_rewrite_literal": f"{self.app}.{domain}"}
        routes: list[Document] = [{"match": _path(each), "route": onward} for each in self.paths]
        other = {} if self.elsewhere is None else _rewrite(self.elsewhere)
        return [_host("app", [*routes, {"match": {"prefix": "/"}, "route": onward | other}])]

    def tried(self, domain: str) -> list[Document]:
        """The virtual hosts of the port of rollouts."""
        routes = [{"match": _name(f"{each}.{domain}"), "route": self._onward()} for each in self.revisions]
        return [_host("revisions", routes) | only_from(self.rollouts)]

    def _onward(self) -> Document:
        return {
            "cluster": "ingress",
            "timeout": f"{self.request_timeout_s}s",
            # What both timeouts mean to a WebSocket: the longest silence.
            "idle_timeout": f"{min(self.request_timeout_s, self.idle_timeout_s)}s",
            "append_x_forwarded_host": True,
        }


def _host(name: str, routes: list[Document]) -> Document:
    return {"name": name, "domains": ["*"], "routes": routes}


def _path(pattern: str) -> Document:
    """A path, or all that begins with what stands before the star at its end."""
    return {"prefix": pattern.removesuffix("*")} if pattern.endswith("*") else {"path": pattern}


def _rewrite(path: str) -> Document:
    return {"regex_rewrite": {"pattern": {"regex": "^.*$"}, "substitution": path}}


def _name(pattern: str) -> Document:
    """A Host with any letters, digits, dashes and dots for a star, and any port."""
    regex = "[a-z0-9.-]*".join(map(re.escape, pattern.split("*")))
    said = {"name": ":authority", "string_match": {"safe_regex": {"regex": rf"(?i){regex}(:\d+)?"}}}
    return {"prefix": "/", "headers": [said]}
