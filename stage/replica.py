"""One relay process, as a platform would run it, and one process of the simulated model beside it."""

import asyncio
import os
import signal
import sys
from asyncio import StreamReader
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Self

import orjson

from stage.leash import leashed

RELAY = ("-m", "rtproxy")
"""What Python runs as a relay."""
START_TIMEOUT_S = 20.0
DEPLOYMENT = "gpt-realtime"


class ReplicaError(RuntimeError):
    """The relay did not start; the message has its output on stderr."""


def inherited() -> dict[str, str]:
    """All that a relay gets of our own environment: whom it trusts, and COVERAGE_*, by which a suite measures it."""
    names = [name for name in os.environ if name in ("PATH", "SSL_CERT_FILE") or name.startswith("COVERAGE_")]
    return {name: os.environ[name] for name in names}


class Replica:
    """A ``python -m rtproxy`` on a free loopback port. ``events`` grows as the process writes them."""

    def __init__(self, process: Process, log: BinaryIO | None, stdout: StreamReader | None = None) -> None:
        self.process = process
        self._stdout = stdout or process.stdout
        self._log = log
        self.events: list[dict[str, Any]] = []
        self.stderr = b""
        self.port = 0
        self._news = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())
        self._reading_stderr = asyncio.create_task(self._read_stderr())

    @classmethod
    async def start(
        cls, settings: Mapping[str, str], log: BinaryIO | None = None, relay: Sequence[str] = RELAY
    ) -> Self:
        """Runs the relay with ``settings`` and returns when it listens; its lines go to ``log`` too.

        ``relay`` are the arguments of Python. The relay inherits no setting of ours, and no Ctrl-C: it ends by the
        signals that it is sent, and when we end.
        """
        environ = inherited() | {"PORT": "0", "RTPROXY_HOST": "127.0.0.1", **settings}
        # uvloop's PIPE is a pair of sockets; what a container writes to is a pipe.
        reading, writing = os.pipe()
        try:
            process = await leashed(sys.executable, *relay, env=environ, stdout=writing, stderr=PIPE)
        finally:
            os.close(writing)
        stdout = StreamReader(limit=1 << 20)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stdout), os.fdopen(reading, "rb", buffering=0)
        )
        replica = cls(process, log, stdout)
        started = asyncio.create_task(replica.event("proxy.started"))
        exited = asyncio.create_task(process.wait())
        await asyncio.wait((started, exited), timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        exited.cancel()
        if not started.done():
            started.cancel()
            await replica.kill()
            raise ReplicaError(replica.stderr.decode(errors="replace").strip() or "the relay did not start")
        replica.port = started.result()["port"]
        return replica

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def event(self, name: str, **fields: object) -> dict[str, Any]:
        """Waits for the first event of that name whose fields match."""

        def found() -> list[dict[str, Any]]:
            return [e for e in self.events if e["event"] == name and all(e.get(k) == v for k, v in fields.items())]

        async with self._news:
            await self._news.wait_for(found)
        return found()[0]

    def stop_reading(self) -> None:
        """Leaves its lines in the pipe, until `read_on`: the pipe fills up."""
        self._pipe().pause_reading()

    def read_on(self) -> None:
        """Reads what is in the pipe, and what comes."""
        self._pipe().resume_reading()

    def stop_listening(self) -> None:
        """Closes the pipe: nothing reads what the relay writes from now on."""
        self._pipe().close()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process, if it still runs."""
        if self.process.returncode is None:
            self.process.send_signal(number)

    async def exited(self) -> int:
        """Waits for the exit code, every line read."""
        await asyncio.gather(self._reading, self._reading_stderr)
        return await self.process.wait()

    async def kill(self) -> int:
        """SIGKILL, where it still runs."""
        self.read_on()
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        return await self.exited()

    def _pipe(self) -> asyncio.ReadTransport:
        pipe: asyncio.ReadTransport = self._stdout._transport  # type: ignore[union-attr]
        return pipe

    async def _read(self) -> None:
        assert self._stdout is not None
        async for line in self._stdout:
            if self._log is not None:
                self._log.write(line)
                self._log.flush()
            async with self._news:
                self.events.append(orjson.loads(line))
                self._news.notify_all()
        self._pipe().close()

    async def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        self.stderr = await self.process.stderr.read()


class ModelError(RuntimeError):
    """The simulated model did not start; the reason is on stderr."""


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
        """Ends it with SIGTERM."""
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.wait()
