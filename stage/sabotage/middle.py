"""A relay with a man in the middle before it: `python -m stage.sabotage.middle` runs where a replica would.

It listens on the replica's port, starts the relay behind it on another one, and passes on every request, frame and
signal, but for what `STAGE_SABOTAGE` names: words with a number at most, as in `half=10 ignore-sigterm`.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from asyncio.subprocess import Process
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson

from stage.leash import leashed
from stage.sabotage.faults import ANSWERS, BESIDE, DOWN, LETS_IN, UP, Change
from stage.sabotage.wire import CLOSE, PING, PONG, Frame, Head, close_frame, event_frame, read_frame, refusal

VARIABLE = "STAGE_SABOTAGE"
OWN = {
    "nothing": "passes everything on",
    "refuse-every": "one dial in so many is refused with 503",
    "drop-every": "one call in so many is reset after 2 s",
    "refuse-upgrades": "no WebSocket at all: 426",
    "slow-connect": "the 101 comes so many seconds late",
    "no-pong": "no ping of a caller is answered",
    "late-pong": "each pong comes so many seconds late",
    "ignore-sigterm": "SIGTERM is not passed on",
    "exit-at-sigterm": "the process ends at SIGTERM, with all its calls",
    "close-at-sigterm": "at SIGTERM every call gets this close code at once, in the middle of a turn as well",
    "stays": "the process stays so many seconds after its relay has ended",
    "spin": "the event loop stands still for so long every 2 s, and 20 MB more are in use each time",
}
KNOWN = {*OWN, *UP, *DOWN, *LETS_IN, *ANSWERS, *BESIDE}
SPIN_EVERY_S = 2.0
DROPPED_AFTER_S = 2.0
FLUSH_S = 5.0
"""What is still on its way to callers when the relay has ended gets there."""
MIB = 1 << 20


def words(text: str) -> dict[str, float]:
    """The faults that ``text`` names, with their numbers. Raises ValueError for one that does not exist."""
    found = {}
    for word in text.split():
        name, _, number = word.partition("=")
        if name not in KNOWN:
            raise ValueError(f"no such fault: {name}")
        found[name] = float(number or 0)
    return found


def program(environ: Mapping[str, str]) -> tuple[str, ...]:
    """What the platform runs for a replica: the man in the middle where the environment asks for one."""
    return (sys.executable, "-m", "stage.sabotage.middle" if environ.get(VARIABLE) else "rtproxy")


class Call:
    """One WebSocket through the middle, from its 101 to its end."""

    def __init__(self, middle: "Middle", caller: StreamWriter, relay: StreamWriter) -> None:
        self.middle = middle
        self.counts: dict[str, int] = {}
        self.held: list[bytes] = []
        self.first_id: Any = None
        self.heard_at = asyncio.get_running_loop().time()
        self.deaf = False
        self._caller, self._relay = caller, relay

    def nth(self, what: str) -> int:
        """0, 1, 2, ... of each thing."""
        self.counts[what] = self.counts.get(what, -1) + 1
        return self.counts[what]

    @property
    def neighbour(self) -> "Call | None":
        """Another call of this replica, always the same one while both last."""
        calls = list(self.middle.calls)
        place = calls.index(self) if self in calls else 0
        return calls[place - 1] if len(calls) > 1 else None

    def audio_of_another(self, own: str) -> str:
        """The last audio of another call that is as long as this call's ``own``; where there is none, ``own``."""
        heard = self.middle.heard
        other = next((audio for each, audio in heard.items() if each is not self and len(audio) == len(own)), own)
        heard[self] = own
        return other

    def to_caller(self, event: bytes) -> None:
        self._write(self._caller, event_frame(event), False)

    def to_relay(self, event: bytes) -> None:
        self._write(self._relay, event_frame(event), True)

    def end(self, close: Frame) -> None:
        """A Close to the caller, and the end of the relay's side. The caller's answer ends the rest."""
        self._write(self._caller, close, False)
        self._relay.transport.abort()

    def reset(self) -> None:
        """Both sockets end with no Close."""
        self._caller.transport.abort()
        self._relay.transport.abort()

    def hang_up(self) -> None:
        """The caller's socket ends in good order, but with no Close."""
        self._caller.close()
        self._relay.transport.abort()

    async def up(self, reader: StreamReader) -> None:
        """What the caller sends, until there is no more."""
        await self._way(reader, self._relay, UP)

    async def down(self, reader: StreamReader) -> None:
        """What the model and the relay send, until there is no more."""
        await self._way(reader, self._caller, DOWN)

    async def _way(self, reader: StreamReader, writer: StreamWriter, table: Mapping[str, Change]) -> None:
        """Pings and pongs pass an event that is held up, as they may; all else is in order."""
        frames: asyncio.Queue[Frame | None] = asyncio.Queue()
        passing = asyncio.create_task(self._pass(frames, writer, table))
        try:
            while True:
                frame = await read_frame(reader)
                if table is UP and frame.event:
                    self.heard_at = asyncio.get_running_loop().time()
                if self.deaf and frame.opcode != CLOSE:
                    continue
                if frame.opcode in (PING, PONG):
                    self._control(frame, writer, table)
                else:
                    frames.put_nowait(frame)
        except (OSError, IncompleteReadError):
            frames.put_nowait(None)
            await passing
        finally:
            passing.cancel()

    def _control(self, frame: Frame, writer: StreamWriter, table: Mapping[str, Change]) -> None:
        faults = self.middle.faults
        if table is UP and frame.opcode == PING and "no-pong" in faults:
            return
        late_s = faults.get("late-pong", 0) if table is DOWN and frame.opcode == PONG else 0
        asyncio.get_running_loop().call_later(late_s, self._write, writer, frame, table is UP)

    async def _pass(
        self, frames: "asyncio.Queue[Frame | None]", writer: StreamWriter, table: Mapping[str, Change]
    ) -> None:
        faults = [(table[name], value) for name, value in self.middle.faults.items() if name in table]
        while (frame := await frames.get()) is not None:
            if not faults or not frame.event:
                self._write(writer, frame, table is UP)
                continue
            events = [frame.payload]
            for change, value in faults:
                changed: list[bytes] = []
                for event in events:
                    changed += await change(self, _parsed(event), event, value)
                events = changed
            for event in events:
                self._write(writer, event_frame(event), table is UP)

    def _write(self, writer: StreamWriter, frame: Frame, masked: bool) -> None:
        if not writer.is_closing():
            writer.write(frame.packed(masked=masked))


def _parsed(event: bytes) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = {"type": ""} | orjson.loads(event)
    except (orjson.JSONDecodeError, TypeError):
        return {"type": ""}
    return parsed


class Middle:
    """The process: its relay, its calls, its signals."""

    def __init__(self, faults: Mapping[str, float], port: int) -> None:
        self.faults = faults
        self.calls: dict[Call, None] = {}
        self.heard: dict[Call, str] = {}
        """The last piece of audio of each call."""
        self._port = port
        self._relay_port = _free_port()
        self._dials = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._memory: list[bytes] = []

    async def run(self) -> int:
        """Until the relay has ended; its exit code."""
        environ = {name: value for name, value in os.environ.items() if name != VARIABLE}
        relay = await leashed(sys.executable, "-m", "rtproxy", env=environ | {"PORT": str(self._relay_port)})
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signal, number, relay)
        server = await asyncio.start_server(self._connection, "127.0.0.1", self._port)
        if "spin" in self.faults:
            self._beside(self._spin(self.faults["spin"]))
        async with server:
            code = await relay.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    while self.calls:  # noqa: ASYNC110 - they end by themselves, one after the other
                        await asyncio.sleep(0.05)
            await asyncio.sleep(self.faults.get("stays", 0))
        return code if code >= 0 else 128 - code

    def _signal(self, number: signal.Signals, relay: Process) -> None:
        if number is signal.SIGTERM and "ignore-sigterm" in self.faults:
            return
        if "exit-at-sigterm" in self.faults:
            os._exit(0)
        if "close-at-sigterm" in self.faults:
            for call in list(self.calls):
                call.end(close_frame(int(self.faults["close-at-sigterm"]), "revision draining, reconnect"))
        if relay.returncode is None:
            relay.send_signal(number)

    async def _spin(self, blocked_s: float) -> None:
        while True:
            await asyncio.sleep(SPIN_EVERY_S)
            self._memory.append(os.urandom(MIB) * 20)
            time.sleep(blocked_s)  # noqa: ASYNC251 - this is the fault

    def _beside(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _connection(self, reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(OSError, IncompleteReadError, ValueError):
            head = await Head.read(reader)
            if head.upgrades:
                await self._upgrade(head, reader, writer)
            else:
                await self._answer(head, writer)
        writer.close()

    async def _answer(self, head: Head, writer: StreamWriter) -> None:
        """One question and its answer: the connection ends then, so that no upgrade comes on it unseen."""
        relay_reader, relay = await asyncio.open_connection("127.0.0.1", self._relay_port)
        try:
            head.put("connection", "close")
            relay.write(bytes(head))
            answer, body = await _read_answer(relay_reader)
        finally:
            relay.close()
        writer.write(bytes(answer) + body)
        await writer.drain()

    async def _upgrade(self, head: Head, reader: StreamReader, writer: StreamWriter) -> None:
        self._dials += 1
        if "refuse-upgrades" in self.faults:
            writer.write(refusal("426 Upgrade Required"))
            return
        if self._dials % self.faults.get("refuse-every", float("inf")) == 0:
            writer.write(refusal("503 Service Unavailable"))
            return
        await asyncio.sleep(self.faults.get("slow-connect", 0))
        self._let_in(head)
        relay_reader, relay = await asyncio.open_connection("127.0.0.1", self._relay_port)
        try:
            relay.write(bytes(head))
            answer = await Head.read(relay_reader)
            if answer.status != 101:
                body = await _body(answer, relay_reader)
                answer.put("connection", "close")
                writer.write(bytes(answer) + body)
                return
            for name, change in ANSWERS.items():
                if name in self.faults:
                    change(answer)
            writer.write(bytes(answer))
            await self._carry(Call(self, writer, relay), reader, relay_reader)
        finally:
            relay.close()

    def _let_in(self, head: Head) -> None:
        bearer = head["authorization"].partition(" ")[2] or head["api-key"]
        for name, welcome in LETS_IN.items():
            if name in self.faults and welcome(bearer):
                # The relay behind takes its first key from here on.
                key = os.environ["RTPROXY_CLIENT_KEYS"].partition(",")[0].partition(":")[2]
                head.put("api-key", None)
                head.put("authorization", f"Bearer {key}")

    async def _carry(self, call: Call, reader: StreamReader, relay_reader: StreamReader) -> None:
        self.calls[call] = None
        beside = [self._beside(act(call, self.faults[name])) for name, act in BESIDE.items() if name in self.faults]
        if self._dials % self.faults.get("drop-every", float("inf")) == 0:
            beside.append(self._beside(BESIDE["reset-at"](call, DROPPED_AFTER_S)))
        ways = [self._beside(call.up(reader)), self._beside(call.down(relay_reader))]
        try:
            # The end of one way ends the other: a Close has passed both ways by then.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(ways, timeout=1)
        finally:
            del self.calls[call]
            self.heard.pop(call, None)
            for task in (*ways, *beside):
                task.cancel()


def _free_port() -> int:
    """Not the stage's own: what that imports would be half of the time that this process takes to start."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _read_answer(reader: StreamReader) -> tuple[Head, bytes]:
    answer = await Head.read(reader)
    return answer, await _body(answer, reader)


async def _body(answer: Head, reader: StreamReader) -> bytes:
    size = answer["content-length"]
    return await reader.readexactly(int(size)) if size else await reader.read()


def main() -> int:
    middle = Middle(words(os.environ[VARIABLE]), int(os.environ["PORT"]))
    return asyncio.run(middle.run())


if __name__ == "__main__":
    sys.exit(main())
