"""What is seen on a terminal while a hold runs."""

import asyncio
import os
import pty
import sys

import pytest

from tests.clients.conftest import BRISK, DEADLINE_S, KEY, Model


@pytest.mark.parametrize(
    ("connections", "seen"),
    [
        ("2", ["call", "kind", "revision", "first audio ms", "2 of 2 sessions open"]),
        ("25", ["opened in all", "25 of 25 sessions"]),
    ],
)
async def test_a_terminal_shows_the_sessions_while_they_are_held(
    model: Model, connections: str, seen: list[str]
) -> None:
    terminal, stderr = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "clients.hold", model.url, *BRISK, "--connections", connections, "--duration", "60"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=stderr,
        env=os.environ | {"RTPROXY_KEY": KEY, "TERM": "xterm-256color", "COLUMNS": "120"},
    )
    os.close(stderr)
    screen = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(screen), os.fdopen(terminal, "rb", buffering=0)
    )
    shown = ""
    async with asyncio.timeout(DEADLINE_S):
        while not all(words in shown for words in seen):
            shown += (await screen.read(4096)).decode(errors="replace")
    process.terminate()
    await process.wait()
    transport.close()
