"""The image as a platform runs it: as nobody, with nothing to write to, first process of its container."""

import asyncio
import sys
import time
from asyncio.subprocess import PIPE

import aiohttp
import pytest

from stage.replica import Replica
from tests.conftest import KEY
from tests.image.conftest import ContainerFactory

pytestmark = [pytest.mark.image, pytest.mark.timeout(1200)]

FIRST_PROCESS = """
status = dict(line.split(":\\t") for line in open("/proc/1/status").read().splitlines() if ":\\t" in line)
print(open("/proc/1/cmdline").read().split("\\0")[:3])
print(status["Uid"].split()[1], status["Gid"].split()[1], status["CapEff"].strip("0") or "none", status["NoNewPrivs"])
"""
WRITE = """
import os
for path in ("/written", "/tmp/written", "/venv/written"):
    try:
        open(path, "w")
    except OSError as error:
        print(os.strerror(error.errno))
"""


class Held:
    """A call through the container that was greeted by the model, and is listened to."""

    def __init__(self, http: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._http, self._socket = http, socket
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def dial(cls, replica: Replica) -> "Held":
        http = aiohttp.ClientSession(headers={"api-key": KEY})
        socket = await http.ws_connect(replica.url + "/v1/realtime")
        assert (await socket.receive_json())["type"] == "session.created"
        return cls(http, socket)

    async def _listen(self) -> int | None:
        async for _ in self._socket:
            pass
        await self._http.close()
        return self._socket.close_code

    async def ended(self) -> int | None:
        """The close code that the caller sees."""
        return await self._listening


async def test_it_is_ready_as_nobody_with_nothing_to_write_to(image: str, container_for: ContainerFactory) -> None:
    before = time.monotonic()
    container = await container_for(image)
    print(f"listens {time.monotonic() - before:.2f} s after the engine was asked")  # noqa: T201
    async with aiohttp.ClientSession() as http, http.get(container.replica.url + "/readyz") as answer:
        assert answer.status == 200

    assert container.python(FIRST_PROCESS).splitlines() == ["['python', '-m', 'rtproxy']", "10001 10001 none 1"]
    assert container.python(WRITE).splitlines() == ["Read-only file system"] * 3


async def test_calls_pass(image: str, container_for: ContainerFactory) -> None:
    container = await container_for(image)
    hold = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "clients.hold", container.replica.url),
        *("--connections", "3", "--duration", "4", "--talk-every", "0.5"),
        env={"RTPROXY_KEY": KEY},
        stdout=PIPE,
        stderr=PIPE,
    )
    said = await hold.communicate()
    assert hold.returncode == 0, said
    assert container.replica.stderr == b""


async def test_sigterm_drains_it(image: str, container_for: ContainerFactory) -> None:
    container = await container_for(image, RTPROXY_DRAIN_SECONDS="4")
    call = await Held.dial(container.replica)

    before = time.monotonic()
    code = await container.stop(grace_s=10)

    assert time.monotonic() - before < 4 + 2
    assert code == 0
    assert await call.ended() == 1012
    events = [event["event"] for event in container.replica.events]
    end = events[events.index("signal.received") :]
    assert [end[0], end[-1]] == ["signal.received", "proxy.stopped"]
    assert [end.count(each) for each in ("drain.started", "connection.closed", "drain.completed")] == [1, 1, 1]


async def test_behind_a_shell_it_would_not_drain(behind_a_shell: str, container_for: ContainerFactory) -> None:
    """So the check above can fail: a shell as first process keeps SIGTERM to itself."""
    container = await container_for(behind_a_shell, RTPROXY_DRAIN_SECONDS="1")
    call = await Held.dial(container.replica)

    assert await container.stop(grace_s=3) == 137
    assert await call.ended() == 1006
    assert "signal.received" not in [event["event"] for event in container.replica.events]
