"""The container engine at hand, and no more of it than the checks need: build, run, exec, stop, inspect, remove."""

import asyncio
import contextlib
import os
import re
import shlex
import shutil
import subprocess
import uuid
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import NamedTuple

from stage.replica import Replica

ROOT = Path(__file__).parents[2]
BASE = re.findall(r"^FROM (\S+) AS pinned$", (ROOT / "Containerfile").read_text(), re.M)[0]
ENGINES = ("podman", "docker")
# What a careful platform allows: nothing to write to, nothing to gain.
CONFINED = ("--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges")
# podman puts a tmpfs on /tmp and /run of a read-only root, docker does not.
CONFINED_MORE = {"podman": ("--read-only-tmpfs=false",)}


class EngineError(RuntimeError):
    """No check can be made; the message says why, and what to do about it."""


class Engine(NamedTuple):
    """One that builds and starts. buildah by itself is none: nothing it runs is first process of a container."""

    command: str

    @property
    def name(self) -> str:
        return Path(self.command).name

    def do(self, *words: str) -> str:
        """What it printed. Raises EngineError with what it complained of."""
        done = subprocess.run((self.command, *words), capture_output=True, text=True, cwd=ROOT)
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-15:]
            raise EngineError("\n".join((f"{self.name} {words[0]} ended with {done.returncode}:", *said)))
        return done.stdout

    def fetch(self, base: str) -> None:
        """Has ``base`` on this machine when it returns."""
        try:
            self.do("image", "inspect", base)
        except EngineError:
            try:
                self.do("pull", base)
            except EngineError as error:
                raise EngineError(
                    f"the base image {base} cannot be had: {error}\n"
                    "Name one that can, from a mirror or on this machine: RTPROXY_IMAGE_BASE=REFERENCE"
                ) from error

    def build(self, *words: str, context: str = ".") -> str:
        """The name of the image that was built. RTPROXY_IMAGE_BUILD_ARGS has more words for ``build``."""
        more = shlex.split(os.environ.get("RTPROXY_IMAGE_BUILD_ARGS", ""))
        tag = f"localhost/rtproxy-check:{uuid.uuid4().hex[:12]}"
        self.do("build", *more, *words, "--tag", tag, context)
        return tag

    def python(self, image: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs the Python of an image once."""
        command = ("run", "--rm", "--network", "none", "--user", "10001", "--entrypoint", "python", image, *words)
        return subprocess.run((self.command, *command), capture_output=True, text=True, check=True)

    async def start(self, image: str, settings: dict[str, str]) -> "Container":
        """The image, confined, on the network of this machine; it listens when this returns. Raises EngineError."""
        name = f"rtproxy-check-{uuid.uuid4().hex[:12]}"
        environ = [
            f"--env={key}={value}" for key, value in ({"PORT": "0", "RTPROXY_HOST": "127.0.0.1"} | settings).items()
        ]
        command = ("run", "--name", name, "--network", "host", *CONFINED, *CONFINED_MORE.get(self.name, ()), *environ)
        process = await asyncio.create_subprocess_exec(
            self.command, *command, image, stdout=PIPE, stderr=PIPE, limit=1 << 20, start_new_session=True
        )
        container = Container(self, name, Replica(process, None))
        started = asyncio.create_task(container.replica.event("proxy.started"))
        ended = asyncio.create_task(process.wait())
        await asyncio.wait((started, ended), return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not started.done():
            started.cancel()
            await container.remove()
            raise EngineError(f"the image did not start: {container.replica.stderr.decode(errors='replace')}")
        container.replica.port = started.result()["port"]
        return container


class Container(NamedTuple):
    """A relay in a container: its events, its port and its exit code are ``replica``'s."""

    engine: Engine
    name: str
    replica: Replica

    def python(self, code: str) -> str:
        """What ``code`` prints inside, beside the relay."""
        return self.engine.do("exec", self.name, "python", "-c", code)

    async def stop(self, grace_s: int) -> int:
        """SIGTERM, and SIGKILL after ``grace_s``, as a platform does; the exit code."""
        await asyncio.to_thread(self.engine.do, "stop", "-t", str(grace_s), self.name)
        return await self.replica.exited()

    async def remove(self) -> None:
        with contextlib.suppress(EngineError):  # it may never have come to be
            await asyncio.to_thread(self.engine.do, "rm", "--force", self.name)
        await self.replica.exited()


def find() -> Engine:
    """The engine that RTPROXY_IMAGE_ENGINE names, or the first one that works. Raises EngineError."""
    asked = os.environ.get("RTPROXY_IMAGE_ENGINE")
    problems = []
    for name in (asked,) if asked else ENGINES:
        command = shutil.which(name)
        if command is None:
            problems.append(f"{name}: not on the PATH")
            continue
        try:
            # A docker without its daemon answers everything but this.
            Engine(command).do("info")
        except EngineError as error:
            problems.append(f"{name}: {str(error).splitlines()[-1]}")
        else:
            return Engine(command)
    raise EngineError(
        "\n  ".join(("no container engine works here, so nothing was checked:", *problems))
        + "\nInstall podman (apt-get install podman, brew install podman), or start docker."
    )
