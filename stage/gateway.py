"""The Application Gateway of the stage: where it leads, and how quiet a call may be."""

from dataclasses import dataclass

from stage.envoy_config import Document


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """The Application Gateway of the stage; a session over which nothing flows for the timeout is cut."""

    app: str = "rtproxy"
    """The app whose name it puts into Host."""
    request_timeout_s: float = 3900.0
    """Of the backend setting. The usual 20-30 s cut calls; 3900 is what `bicep/` says."""
    idle_timeout_s: float = 240.0
    """Of its public IP: 4 minutes, where `idleTimeoutInMinutes` does not say 5 to 30."""
    revisions: bool = False
    """Whether an address below the environment's domain passes as the caller says it, a revision's own for example."""

    def hosts(self, domain: str, port: int) -> list[Document]:
        """The virtual hosts of its listener, for an environment of that domain."""
        onward = {
            "cluster": "ingress",
            "timeout": f"{self.request_timeout_s}s",
            # What both timeouts mean to a WebSocket: the longest silence.
            "idle_timeout": f"{min(self.request_timeout_s, self.idle_timeout_s)}s",
            "append_x_forwarded_host": True,
        }
        served = [_host("app", ["*"], {**onward, "host_rewrite_literal": f"{self.app}.{domain}"})]
        if self.revisions:
            served.append(_host("revisions", [f"*.{domain}", f"*.{domain}:{port}"], onward))
        return served


def _host(name: str, domains: list[str], route: Document) -> Document:
    return {"name": name, "domains": domains, "routes": [{"match": {"prefix": "/"}, "route": route}]}
