"""``python -m stage.soak.load``: so many clients on the phone at once, each followed by the next. A line a call.

SIGTERM calls everybody home; the process ends with 0 when the last account is written.
"""

import asyncio
import itertools
import signal
import sys
from dataclasses import asdict

import orjson
import uvloop

from stage.soak.account import write
from stage.soak.client import Client
from stage.soak.plan import Plan

RAMP_S = 0.01
"""From a place's first call to the next place's."""


async def call(plan: Plan, port: int, key: str) -> None:
    """Keeps ``plan.calls`` places taken until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    numbers = itertools.count()

    async def place(at: int) -> None:
        await asyncio.sleep(at * RAMP_S)
        while not stopped.is_set():
            write(asdict(await Client(plan, next(numbers), port, key, stopped).live()))

    await asyncio.gather(*(place(at) for at in range(plan.calls)))


if __name__ == "__main__":
    told = orjson.loads(sys.stdin.buffer.read())
    uvloop.run(call(Plan(**told["plan"]), told["port"], told["key"]))
