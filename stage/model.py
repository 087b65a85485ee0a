"""The simulated model as a process of its own, for whoever needs one beside a relay."""

import sys
from asyncio.subprocess import PIPE, Process
from typing import Self

import orjson

from stage.leash import leashed

DEPLOYMENT = "gpt-realtime"


class ModelError(RuntimeError):
    """The simulated model did not start; it said why on stderr."""


class Model:
    """A ``python -m stage.realtime`` on a free loopback port."""

    def __init__(self, process: Process, url: str) -> None:
        self.process = process
        self.url = url

    @classmethod
    async def start(cls, key: str, *options: str) -> Self:
        """Returns when it listens. ``options`` are flags of stage.realtime. No Ctrl-C of ours reaches it.

        Raises ModelError.
        """
        # With "=", because a key may begin with a dash.
        arguments = ("-m", "stage.realtime", "--port", "0", f"--key={key}", "--model", DEPLOYMENT, *options)
        process = await leashed(sys.executable, *arguments, stdout=PIPE)
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            await process.wait()
            raise ModelError("the simulated model did not start")
        return cls(process, str(orjson.loads(line)["url"]))

    async def stop(self) -> None:
        """Ends it politely."""
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.wait()
