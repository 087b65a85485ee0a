"""One command, with a relay and a simulated model around it for as long as it runs."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import orjson
import pytest

CALL = """
import asyncio, os, sys, aiohttp
async def main(code, url):
    headers = {"api-key": os.environ["RTPROXY_KEY"]}
    async with aiohttp.ClientSession(headers=headers) as http, http.ws_connect(url + "/v1/realtime") as call:
        print((await call.receive_json())["type"], flush=True)
        if code == "wait":
            await call.receive()
    sys.exit(int(code))
asyncio.run(main(*sys.argv[1:]))
"""

Local = Callable[[str], Awaitable[Process]]


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[Local]:
    """Runs CALL by ``stage.local``, which is to end with the code it is given."""
    started: list[Process] = []

    async def start(code: str) -> Process:
        command = (sys.executable, "-m", "stage.local", "--", sys.executable, "-c", CALL, code)
        started.append(await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stdout=PIPE, stderr=PIPE))
        return started[-1]

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


def gone(stderr: bytes) -> bool:
    """Whether neither of the servers that ``stderr`` names is left."""
    pids = [line.split(b"pid ")[1].split()[0].decode() for line in stderr.splitlines() if b"pid " in line]
    assert len(pids) == 2
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize("code", ["0", "3"])
async def test_the_exit_code_is_the_commands_and_nothing_is_left_running(
    local: Local, tmp_path: Path, code: str
) -> None:
    process = await local(code)
    stdout, stderr = await process.communicate()
    assert (process.returncode, stdout) == (int(code), b"session.created\n"), stderr
    assert gone(stderr)
    record = (tmp_path / "hold-model.jsonl").read_bytes().splitlines()
    assert [orjson.loads(line)["model"] for line in record] == ["session.ended"]
    events = [orjson.loads(line)["event"] for line in (tmp_path / "hold-relay.jsonl").read_bytes().splitlines()]
    assert events.count("connection.closed") == 1
    assert events[-1] == "proxy.stopped"


async def test_a_termination_ends_the_command_and_both_servers(local: Local) -> None:
    process = await local("wait")
    assert process.stdout is not None
    await process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    _, stderr = await process.communicate()
    assert process.returncode not in (0, None)
    assert gone(stderr)


async def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "stage.local", "--", "no-such-command")
    process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stdout=PIPE, stderr=PIPE)
    _, stderr = await process.communicate()
    assert process.returncode == 1
    assert stderr.decode().splitlines()[2:] == ["stage.local: [Errno 2] No such file or directory: 'no-such-command'"]
    assert gone(stderr)
