"""The client's side of a call, and ``python -m stage.soak.client``: so many clients at once, each followed by the next.

The process writes a line for each call. On SIGTERM every client closes its call, and the process ends with 0 when the
last line is written.
"""

import asyncio
import base64
import itertools
import os
import random
import re
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import orjson
import uvloop

from stage.rawpeer import BINARY, CLOSE, PING, announced, frame
from stage.soak.end import FLOOD_PING, ClientSide, End, write
from stage.soak.plan import NUMBER, OVER_CODE, Plan

UP = b'{"type":"input_audio_buffer.append","audio":"' + b"A" * 1700 + b'",'
BIG = b'{"type":"input_audio_buffer.append","audio":"' + b"A" * (1 << 20) + b'",'
OVERSIZE = 16 * 1024 * 1024 + 1
BROKEN_UP = (
    frame(1, b"bare", masked=False),
    frame(1, b"reserved bit", masked=True, rsv=4),
    frame(3, b"reserved opcode", masked=True),
    frame(PING, b"in pieces", masked=True, fin=False),
    frame(0, b"the end of nothing", masked=True),
    frame(PING, b"long" * 32, masked=True),
    frame(CLOSE, (1005).to_bytes(2), masked=True),
    frame(CLOSE, b"1", masked=True),
)
OVERDUE_S = 90.0
"""A call that is still there so long after what should have ended it was left behind: longer than any timeout."""
HANGS_UP_S = 0.2
STALL_S = 3.0
STUCK_S = 75.0
"""Until a client that was not given up reads on. What its kernel still takes now and then begins the 30 s anew."""
RECEIVE_BYTES = 16 * 1024
"""The kernel's buffer of a client that will not read: little, so that the relay notices."""
_SESSION = re.compile(rb"^x-rtproxy-session: (\S+)\r?$", re.IGNORECASE | re.MULTILINE)
KEYS = 1000
"""A client whose call the model refused waits for its next one, and no other does."""
RAMP_S = 0.01
"""From a place's first call to the next place's."""


def speak(end: End, chance: random.Random) -> None:
    """Sends what a client sends in a period: nearly always a frame of audio."""
    now = chance.random()
    if now < 0.0005:
        end.tell(BIG)
    elif now < 0.02:
        end.say(PING, b"soak?")
    elif now < 0.04:
        end.tell(UP[:100], BINARY, fin=False)
        end.say(PING, b"soak between")
        end.tell(b"", 0, fin=False)
        end.tell(UP[:600], 0)
    else:
        end.tell(UP)


def key_of(key: str, number: int) -> str:
    """Of the client that makes the call with that number; ``key`` is the run's."""
    return f"{key}-{number % KEYS}"


class Client:
    """One client. When ``stopped`` is set, it closes as soon as its kind allows."""

    def __init__(self, plan: Plan, number: int, port: int, key: str, stopped: asyncio.Event) -> None:
        self._plan = plan
        self._life = plan.life(number, "client")
        self._port, self._key = port, key_of(key, number)
        self._stopped = stopped
        self._end = End(masked=True)
        self._side = ClientSide(number, self._life.kind.name, self._life.code, heard=self._end.told)

    async def live(self) -> ClientSide:
        """The call from dial to end."""
        side, end, kind = self._side, self._end, self._life.kind.name
        try:
            await self._dial()
        except OSError:
            return side
        if kind in BEFORE:
            await BEFORE[kind](self)
        else:
            await self._heard(end.head)
            head = await end.head if end.head.done() else b""
            side.status = int(head.split()[1]) if head else 0
            if side.status == 101 and (found := _SESSION.search(head)):
                side.session = found[1].decode()
                await self._call()
        if not end.over.is_set() and side.status != 101:
            end.leave()
        await self._gone()
        return side

    async def _dial(self) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        if self._life.kind.name in ("client.stalls", "client.stuck"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(sock, ("127.0.0.1", self._port))
        except OSError:
            sock.close()
            raise
        await loop.create_connection(lambda: self._end, sock=sock)
        request = self._request()
        slow = self._life.kind.name == "client.slow"
        self._end.transport.write(request[: len(request) // 2] if slow else request)

    def _request(self) -> bytes:
        key = "no-such-key" if self._life.kind.name == "client.bad-key" else self._key
        lines = (
            "GET /v1/realtime HTTP/1.1",
            f"Host: 127.0.0.1:{self._port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            f"Sec-WebSocket-Protocol: realtime, {NUMBER}{self._life.number}",
            f"Authorization: Bearer {key}",
        )
        return "\r\n".join((*lines, "", "")).encode()

    async def _call(self) -> None:
        await self._talk(self._life.lasts_s)
        kind = self._life.kind
        if self._over():
            return
        self._side.stopped = self._stopped.is_set()
        if self._side.stopped:
            self._end.close(OVER_CODE, "soak over")
        elif kind.name in ACTS:
            await ACTS[kind.name](self)
        elif kind.ended_by == "client":
            self._end.close(self._life.code)
        else:
            # The model decides the end by now, even when the clients are stopped.
            await self._talk(OVERDUE_S, to_the_end=True)

    async def _talk(self, seconds: float, *, to_the_end: bool = False) -> None:
        """Sends until the time or the call is over or, without ``to_the_end``, the clients are stopped."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while not self._over() and (to_the_end or not self._stopped.is_set()) and loop.time() < until:
            if self._end.room:
                speak(self._end, self._life.chance)
            await asyncio.sleep(min(self._plan.period_s, max(0.0, until - loop.time())))

    def _over(self) -> bool:
        return self._end.over.is_set() or self._end.told.said_close is not None

    async def _gone(self) -> None:
        if not self._end.over.is_set():
            await self._heard(self._end.over.wait())
        if not self._end.over.is_set():
            self._side.overdue = True
            self._end.reset()
            await self._end.over.wait()

    async def _heard(self, news: Awaitable[Any]) -> None:
        """Waits for it, but not for ever."""
        await asyncio.wait((asyncio.ensure_future(news),), timeout=OVERDUE_S)

    # What a kind wants of its client, once its time has come.

    async def _reset(self) -> None:
        self._end.reset()

    async def _leave(self) -> None:
        self._end.leave()

    async def _break_off(self) -> None:
        self._end.begin(4000, UP)
        await asyncio.sleep(self._life.chance.choice((0, self._plan.period_s)))
        self._life.chance.choice((self._end.leave, self._end.reset))()

    def _stop_reading(self) -> None:
        self._end.transport.pause_reading()
        self._end.say(PING, FLOOD_PING)

    async def _stall(self) -> None:
        self._stop_reading()
        await self._talk(min(STALL_S, self._plan.longest_s / 2))
        self._end.transport.resume_reading()
        await self._talk(1.0)
        self._end.close(self._life.code)

    async def _stick(self) -> None:
        self._stop_reading()
        await self._talk(STUCK_S)
        self._side.stopped = self._stopped.is_set()
        self._end.transport.resume_reading()
        self._end.close(OVER_CODE, "soak over")

    async def _fall_silent(self) -> None:
        self._end.answers = False

    async def _break(self) -> None:
        self._end.raw(self._life.chance.choice(BROKEN_UP))

    async def _oversend(self) -> None:
        self._end.raw(announced(BINARY, OVERSIZE, masked=True))
        for _ in range(OVERSIZE // len(BIG)):
            await self._end.has_room()
            if self._end.over.is_set():
                break
            self._end.raw(BIG)

    async def _hang_up(self) -> None:
        await asyncio.sleep(HANGS_UP_S)
        self._life.chance.choice((self._end.leave, self._end.reset))()

    async def _never_finish(self) -> None:
        waits = (asyncio.ensure_future(self._end.over.wait()), asyncio.ensure_future(self._stopped.wait()))
        await asyncio.wait(waits, timeout=self._life.lasts_s, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()
        self._side.stopped = not self._end.over.is_set()


Act = Callable[[Client], Awaitable[None]]
BEFORE: dict[str, Act] = {"client.hangs-up": Client._hang_up, "client.slow": Client._never_finish}
ACTS: dict[str, Act] = {
    "client.resets": Client._reset,
    "client.leaves": Client._leave,
    "client.mid-frame": Client._break_off,
    "client.stalls": Client._stall,
    "client.stuck": Client._stick,
    "client.silent": Client._fall_silent,
    "client.breaks": Client._break,
    "client.oversends": Client._oversend,
}


async def keep_calling(plan: Plan, port: int, key: str) -> None:
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
    uvloop.run(keep_calling(Plan(**told["plan"]), told["port"], told["key"]))
