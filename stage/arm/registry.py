"""The container registry: which images there are, and the builds that made them. It holds no layers."""

import uuid
from dataclasses import dataclass, field

from stage.platform import Rejected

DEFAULT_TAG = "latest"


@dataclass(frozen=True)
class Run:
    """A build that is over."""

    id: str
    succeeded: bool
    log: bytes


@dataclass
class Registry:
    """Handed to the platform as ``pull=registry.has``."""

    login_server: str = ""
    """host:port of the ARM endpoint, which serves the registry too, once it listens."""
    tags: dict[str, list[str]] = field(default_factory=dict)
    """Of each repository, oldest first."""
    contexts: dict[str, bytes] = field(default_factory=dict)
    """What was uploaded for builds that have not run yet, by the name of the upload."""
    runs: dict[str, Run] = field(default_factory=dict)

    def add(self, repository: str, tag: str) -> str:
        """The full name of the image that there is from now on."""
        tags = self.tags.setdefault(repository, [])
        if tag not in tags:
            tags.append(tag)
        return f"{self.login_server}/{repository}:{tag}"

    def has(self, image: str) -> bool:
        """Whether ``image`` can be pulled; other registries are taken to have everything."""
        ours = f"{self.login_server}/"
        if not self.login_server or not image.startswith(ours):
            return True
        repository, _, tag = image.removeprefix(ours).partition(":")
        return (tag or DEFAULT_TAG) in self.tags.get(repository, ())

    def clear(self) -> None:
        """Forgets every image: the registry was deleted."""
        self.tags.clear()

    def record(self, succeeded: bool, log: list[str]) -> Run:
        """Takes note of a build; az looks for whole lines by their CR LF."""
        run = Run(f"ca{len(self.runs) + 1}", succeeded, "".join(f"{line}\r\n" for line in log).encode())
        self.runs[run.id] = run
        return run

    def run(self, run: str) -> Run:
        if run not in self.runs:
            raise Rejected("RunNotFound", f"The run '{run}' was not found.", 404)
        return self.runs[run]

    def new_context(self) -> str:
        """The name of an upload to come."""
        name = f"{uuid.uuid4().hex}.tar.gz"
        self.contexts[name] = b""
        return name
