"""Nothing of ours outlives us: not a process of the platform, nor a relay of a test, even when we are killed."""

import asyncio
import os
import select
import signal
import sys
from asyncio.subprocess import PIPE
from contextlib import suppress

import pytest

from tests.conftest import DEADLINE_S
from tests.standstill import within

STARTER = """
import asyncio, sys
from stage.replica import Replica
from tests.conftest import settings_for

async def hold():
    replica = await Replica.start(settings_for(9))
    print(replica.process.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(hold())
"""


STUBBORN = """
import os, signal
signal.signal(signal.SIGINT, lambda *_: print("heard", flush=True))
print(os.getpid(), flush=True)
while True:
    signal.pause()
"""
PLAY = f"""
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
subprocess.run((sys.executable, "-c", {STUBBORN!r}))
"""
REHEARSAL = f"""
import asyncio, os, sys
from stage.commandline import until_interrupted
from stage.leash import started

async def rehearse():
    async with started((sys.executable, "-c", {PLAY!r}), os.environ):
        await asyncio.Event().wait()

asyncio.run(until_interrupted(rehearse()))
"""


async def test_what_a_command_started_is_gone_when_the_second_interrupt_does_not_wait_for_it() -> None:
    rehearsal = await asyncio.create_subprocess_exec(sys.executable, "-c", REHEARSAL, stdout=PIPE)
    assert rehearsal.stdout is not None
    child = int(await rehearsal.stdout.readline())
    try:
        rehearsal.send_signal(signal.SIGINT)
        assert await rehearsal.stdout.readline() == b"heard\n"
        rehearsal.send_signal(signal.SIGINT)
        async with within(DEADLINE_S):
            await rehearsal.wait()
            await rehearsal.stdout.read()  # the child has the other end
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel has no such leash")
async def test_a_relay_is_gone_when_who_started_it_is_killed() -> None:
    starter = await asyncio.create_subprocess_exec(sys.executable, "-c", STARTER, stdout=PIPE)
    assert starter.stdout is not None
    relay = os.pidfd_open(int(await starter.stdout.readline()))
    try:
        starter.kill()
        await starter.wait()
        readable, _, _ = await asyncio.to_thread(select.select, [relay], [], [], DEADLINE_S)
        assert readable, "the relay is still there"
    finally:
        os.close(relay)
