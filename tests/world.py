"""What a relay takes from its machine and a test may change while it runs: names, clocks, limits.

``python -m tests.world FILE`` is a relay that asks FILE instead. Of the clocks, Python's own ``time`` does; the loop's
timers are the machine's.
"""

import asyncio
import json
import resource
import runpy
import socket
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvloop


@dataclass
class World:
    """To be told with `tell` once and after each change."""

    file: Path
    names: dict[str, str | None] = field(default_factory=dict)
    """Host to address; None: nobody answers for it. Others are unknown; an address is its own name."""
    set_forward_s: float = 0.0
    """By how much the wall clock was set forward, or back."""
    slept_s: float = 0.0
    """How long the machine was suspended: the wall clock went on, the monotonic one did not."""
    descriptors: int | None = None
    """How many files a process may have open; read at its start."""

    @property
    def relay(self) -> tuple[str, ...]:
        """What Python is to run."""
        return "-m", "tests.world", str(self.file)

    def tell(self) -> None:
        """From now on it is so."""
        draft = self.file.with_suffix(".new")
        draft.write_text(json.dumps(asdict(self) | {"file": None}))
        draft.replace(self.file)


def enter(file: Path) -> None:
    """This process lives in the world of ``file`` from now on."""

    def told(what: str) -> Any:
        return json.loads(file.read_bytes())[what]

    wall, of = time.time, time.clock_gettime
    time.time = lambda: wall() + told("set_forward_s") + told("slept_s")
    time.clock_gettime = lambda clock: of(clock) + (told("slept_s") if clock == time.CLOCK_BOOTTIME else 0.0)

    class Loop(uvloop.Loop):
        async def getaddrinfo(self, host: Any, port: Any, **how: Any) -> Any:
            names = told("names")
            if host not in names and any(letter.isalpha() for letter in host):
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            address = names.get(host, host)
            if address is None:
                await asyncio.Event().wait()
            return await super().getaddrinfo(address, port, **how)

    if (descriptors := told("descriptors")) is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    uvloop.Loop = Loop  # type: ignore[misc]


if __name__ == "__main__":
    enter(Path(sys.argv.pop(1)))
    runpy.run_module("rtproxy", run_name="__main__", alter_sys=True)
