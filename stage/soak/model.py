"""The model's side of a call, and ``python -m stage.soak.model``: the model of a soak as a process.

The process writes its port in its first line, then a line for each call. SIGTERM ends it with 0, every line written.
"""

import asyncio
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import orjson
import uvloop

from stage.arm.server import server_context
from stage.rawpeer import PING, accepted, frame
from stage.soak.end import End, ModelSide, write
from stage.soak.plan import NUMBER, Life, Plan

_DELTA = b'{"type":"response.output_audio.delta","event_id":"event_1","delta":"'
AUDIO = _DELTA + b"A" * 4000 + b'",'
FLOOD = _DELTA + b"A" * 32_000 + b'",'
BROKEN_DOWN = (
    frame(1, b"masked", masked=True),
    frame(1, b"reserved bit", masked=False, rsv=2),
    frame(PING, b"long" * 32, masked=False),
    frame(0, b"the end of nothing", masked=False),
    frame(11, b"reserved opcode", masked=False),
)
HUNG_UP_S, LATE_S = 0.6, (0.3, 2.0)
_KEY = re.compile(rb"^sec-websocket-key:\s*(\S+)\r?$", re.IGNORECASE | re.MULTILINE)
_NUMBER = re.compile(rb"\b" + re.escape(NUMBER.encode()) + rb"(\d+)\b")
_FLOODS = 96
ASKING = ("client.stalls", "client.stuck")
REFUSALS = {
    "model.busy": b"429 Too Many Requests\r\nRetry-After: 1",
    "model.fails": b"500 Internal Server Error",
}
BACKLOG = 2048


def events(life: Life, side: ModelSide) -> Iterator[bytes]:
    """What the model sends in each period, without end; empty: nothing. ``side`` counts the responses."""
    yield b'{"type":"session.created","session":{"id":"soak-%d"},' % life.number
    while True:
        yield b'{"type":"input_audio_buffer.speech_started",'
        yield from (b"",) * life.chance.randrange(10)
        yield b'{"type":"input_audio_buffer.speech_stopped",'
        yield b'{"type":"response.created",'
        yield from (AUDIO,) * life.chance.randrange(40)
        tokens_in, tokens_out = life.chance.randrange(1, 100), life.chance.randrange(1, 100)
        usage = b'{"input_tokens":%d,"output_tokens":%d}' % (tokens_in, tokens_out)
        side.responses += 1
        side.tokens_in += tokens_in
        side.tokens_out += tokens_out
        yield b'{"type":"response.done","response":{"usage":%b},' % usage
        yield from (b"",) * life.chance.randrange(5)


class ModelCall:
    """One call as the model sees it: answer, converse, and what its kind wants."""

    def __init__(self, plan: Plan, end: End) -> None:
        self._plan = plan
        self._end = end

    async def live(self) -> ModelSide | None:
        """The call from the request to its end; None where no request came."""
        end = self._end
        head = await end.head
        key, number = _KEY.search(head), _NUMBER.search(head)
        if key is None or number is None:
            end.leave()
            return None
        life = self._plan.life(int(number[1]), "model")
        side = ModelSide(life.number, heard=end.told)
        await asyncio.sleep(self._hesitates(life))
        if refusal := REFUSALS.get(life.kind.name):
            side.status = int(refusal[:3])
            end.transport.write(b"HTTP/1.1 " + refusal + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            end.leave()
        elif life.kind.name != "model.mute":
            side.status = 101
            accept = accepted(key[1]).encode()
            end.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Protocol: realtime\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            await self._converse(life, side)
        await end.over.wait()
        return side

    def _hesitates(self, life: Life) -> float:
        if life.kind.name == "model.late":
            return life.chance.uniform(*LATE_S)
        return HUNG_UP_S if life.kind.name == "client.hangs-up" else 0.0

    async def _converse(self, life: Life, side: ModelSide) -> None:
        end, loop = self._end, asyncio.get_running_loop()
        moment = loop.time() + life.lasts_s
        act, asks = ACTS.get(life.kind.name), life.kind.name in ASKING
        said = events(life, side)
        while not end.over.is_set() and end.told.said_close is None:
            if act is not None and (end.asked_for_flood if asks else loop.time() >= moment):
                goes_on = await act(self, life)
                if not goes_on:
                    return
                act = None
            elif end.room and (event := next(said)):
                end.tell(event)
            await asyncio.sleep(self._plan.period_s)

    # What a kind wants of its model, once its time has come; true: and the conversation goes on.

    async def _close(self, life: Life) -> bool:
        self._end.close(life.code)
        return False

    async def _reset(self, life: Life) -> bool:
        self._end.reset()
        return False

    async def _drop(self, life: Life) -> bool:
        self._end.leave()
        return False

    async def _break_off(self, life: Life) -> bool:
        self._end.begin(8000, AUDIO)
        life.chance.choice((self._end.leave, self._end.reset))()
        return False

    async def _fall_silent(self, life: Life) -> bool:
        self._end.answers = False
        return False

    async def _break(self, life: Life) -> bool:
        self._end.raw(life.chance.choice(BROKEN_DOWN))
        return False

    async def _flood(self, life: Life) -> bool:
        for _ in range(_FLOODS):
            await self._end.has_room()
            self._end.tell(FLOOD)
        return True


Act = Callable[[ModelCall, Life], Awaitable[bool]]
ACTS: dict[str, Act] = {
    "model.closes": ModelCall._close,
    "model.resets": ModelCall._reset,
    "model.drops": ModelCall._drop,
    "model.mid-delta": ModelCall._break_off,
    "model.silent": ModelCall._fall_silent,
    "model.breaks": ModelCall._break,
    "model.floods": ModelCall._flood,
    "client.stalls": ModelCall._flood,
    "client.stuck": ModelCall._flood,
}


async def serve(plan: Plan, trust: Path | None) -> None:
    """Plays the model until SIGTERM; with ``trust`` under TLS, by certificates that the file makes a relay trust."""
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
        # Connections without a request: their sockets are closed by now, or will never be.
        await asyncio.wait(calls, timeout=5)


if __name__ == "__main__":
    told = orjson.loads(sys.argv[1])
    uvloop.run(serve(Plan(**told["plan"]), told["trust"] and Path(told["trust"])))
