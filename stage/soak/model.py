"""The model's side of a call: answer, talk, and what its kind wants of it."""

import asyncio
import base64
import hashlib
import re
from collections.abc import Awaitable, Callable

from stage.soak.account import ModelSide
from stage.soak.end import End
from stage.soak.plan import NUMBER, Life, Plan
from stage.soak.speech import AUDIO, BROKEN_DOWN, FLOOD, events

HUNG_UP_S, LATE_S = 0.6, (0.3, 2.0)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = re.compile(rb"^sec-websocket-key:\s*(\S+)\r?$", re.IGNORECASE | re.MULTILINE)
_NUMBER = re.compile(rb"\b" + re.escape(NUMBER.encode()) + rb"(\d+)\b")
_FLOODS = 96
ASKING = ("client.stalls", "client.stuck")
REFUSALS = {
    "model.busy": b"429 Too Many Requests\r\nRetry-After: 1",
    "model.fails": b"500 Internal Server Error",
}


class ModelCall:
    """One call as the model sees it: answer, converse, and what its kind wants."""

    def __init__(self, plan: Plan, end: End) -> None:
        self._plan = plan
        self._end = end

    async def live(self) -> ModelSide | None:
        """The call from the request to its end; None where nobody asked."""
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
            accept = base64.b64encode(hashlib.sha1(key[1] + _GUID, usedforsecurity=False).digest())
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
