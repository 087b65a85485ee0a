"""The container registry: which images there are, and the builds that made them. It holds no layers."""

import hashlib
import uuid
from dataclasses import dataclass, field

from stage.platform import Rejected

DEFAULT_TAG = "latest"


@dataclass
class Run:
    """A build."""

    id: str
    status: str = "Queued"
    log: bytes = b""

    @property
    def over(self) -> bool:
        return self.status in ("Succeeded", "Failed")

    def end(self, status: str, log: list[str]) -> None:
        """az looks for whole lines by their CR LF."""
        self.status, self.log = status, "".join(f"{line}\r\n" for line in log).encode()


@dataclass
class Registry:
    """Handed to the platform as ``pull=registry.has``."""

    login_server: str = ""
    """host:port of the ARM endpoint, which serves the registry too, once it listens."""
    tags: dict[str, list[str]] = field(default_factory=dict)
    """Of each repository, oldest first."""
    digests: dict[str, set[str]] = field(default_factory=dict)
    """Of each repository."""
    contexts: dict[str, bytes] = field(default_factory=dict)
    """What was uploaded for builds, by the name of the upload. It stays, because a build may be asked for twice."""
    runs: dict[str, Run] = field(default_factory=dict)

    def add(self, repository: str, tag: str, digest: str = "") -> str:
        """The full name of the image that there is from now on."""
        tags = self.tags.setdefault(repository, [])
        if tag not in tags:
            tags.append(tag)
        made_up = f"sha256:{hashlib.sha256(f'{repository}:{tag}'.encode()).hexdigest()}"
        self.digests.setdefault(repository, set()).add(digest or made_up)
        return f"{self.login_server}/{repository}:{tag}"

    def has(self, image: str) -> bool:
        """Whether ``image`` can be pulled; other registries are taken to have everything."""
        ours = f"{self.login_server}/"
        if not self.login_server or not image.startswith(ours):
            return True
        name, _, digest = image.removeprefix(ours).partition("@")
        repository, _, tag = name.partition(":")
        if digest:
            return digest in self.digests.get(repository, ())
        return (tag or DEFAULT_TAG) in self.tags.get(repository, ())

    def clear(self) -> None:
        """Forgets every image: the registry was deleted."""
        self.tags.clear()
        self.digests.clear()

    def new_run(self) -> Run:
        run = Run(f"ca{len(self.runs) + 1}")
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
