"""Nothing of ours outlives us: not a process of the platform, nor a relay of a test, even when we are killed."""

import asyncio
import os
import select
import sys
from asyncio.subprocess import PIPE

import pytest

from tests.conftest import DEADLINE_S

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
