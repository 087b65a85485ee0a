"""The simulated deployment as an aiohttp application: its routes, its live calls, its memory of past ones."""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from aiohttp import web

from stage.gpt import handshake
from stage.gpt.calls import Call
from stage.gpt.options import Options
from stage.gpt.record import Record
from stage.gpt.voice import Voice

_REMEMBERED_CALLS = 1000
_SHUTTING_DOWN = 1001


@dataclass
class NextHandshakes:
    """Faults that wait for callers yet to come; `refusals` counts down, None is for good."""

    delay_s: float = 0
    status: int | None = None
    retry_after: float | None = None
    refusals: int | None = None

    def refuse(self) -> web.Response | None:
        if self.status is None or self.refusals == 0:
            return None
        if self.refusals is not None:
            self.refusals -= 1
        return handshake.refusal(self.status, self.retry_after)


@dataclass
class Model:
    options: Options
    voice: Voice
    live: dict[str, Call] = field(default_factory=dict)
    ended: deque[Record] = field(default_factory=lambda: deque(maxlen=_REMEMBERED_CALLS))
    next_handshakes: NextHandshakes = field(default_factory=NextHandshakes)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self.next_handshakes.delay_s)
        door = handshake.DOORS[request.path]
        if refused := self.next_handshakes.refuse():
            return refused
        proof = handshake.authenticated_by(request, self.options)
        if proof is None:
            return handshake.refusal(401)
        if refused := handshake.turned_away(request, door, self.options, len(self.live)):
            return refused
        return await self._hold(Call(request, self.options, self.voice, door.dialect, proof))

    async def _hold(self, call: Call) -> web.StreamResponse:
        self.live[call.record.id] = call
        try:
            return await call.run()
        except (ConnectionError, web.HTTPBadRequest):
            # The client left during the handshake, and aiohttp wants an answer all the same; or it was none.
            return handshake.refusal(400)
        finally:
            del self.live[call.record.id]
            if call.record.ended:
                self.ended.append(call.record)

    async def sessions(self, request: web.Request) -> web.Response:
        records = [*self.ended, *(call.record for call in self.live.values())]
        return web.json_response([record.as_json() for record in records])

    async def hang_up(self, app: web.Application) -> None:
        for call in list(self.live.values()):
            call.close(_SHUTTING_DOWN, "The server is shutting down.")
