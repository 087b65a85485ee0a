"""``python -m stage.soak.serving``: the model of a soak as a process. A line a call on stdout.

The first line tells where it listens; SIGTERM ends it with 0, every account written.
"""

import asyncio
import signal
import sys
from dataclasses import asdict
from pathlib import Path

import orjson
import uvloop

from stage.arm.tls import server_context
from stage.soak.account import write
from stage.soak.end import End
from stage.soak.model import ModelCall
from stage.soak.plan import Plan

BACKLOG = 2048


async def serve(plan: Plan, trust: Path | None) -> None:
    """Plays the model until SIGTERM: under TLS where there is ``trust``, which becomes what a relay is to trust."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    calls: set[asyncio.Task[None]] = set()

    async def live(end: End) -> None:
        if side := await ModelCall(plan, end).live():
            write(asdict(side))

    def ring() -> End:
        end = End(masked=False)
        task = asyncio.create_task(live(end))
        calls.add(task)
        task.add_done_callback(calls.discard)
        return end

    tls = None if trust is None else server_context(trust)
    server = await loop.create_server(ring, "127.0.0.1", 0, backlog=BACKLOG, ssl=tls)
    write({"port": server.sockets[0].getsockname()[1]})
    await stop.wait()
    server.close()
    if calls:
        # Whoever was to ask and did not: their sockets are closed by now, or will never be.
        await asyncio.wait(calls, timeout=5)


if __name__ == "__main__":
    told = orjson.loads(sys.argv[1])
    uvloop.run(serve(Plan(**told["plan"]), told["trust"] and Path(told["trust"])))
