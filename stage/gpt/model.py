"""The simulated deployment as an aiohttp application: its routes, its live calls, its memory of past ones."""

import asyncio
from collections import deque
from dataclasses import dataclass, field, replace

from aiohttp import web

from stage.gpt import handshake
from stage.gpt.calls import Call, Shared
from stage.gpt.handshake import LateRefusal
from stage.gpt.options import Options
from stage.gpt.record import Record

_REMEMBERED_CALLS = 1000
_SHUTTING_DOWN = 1001


@dataclass
class NextHandshakes:
    """Faults that wait for callers yet to come; `refusals` counts down, None is for good."""

    delay_s: float = 0
    status: int | None = None
    retry_after: float | None = None
    refusals: int | None = None
    late: LateRefusal | None = None
    late_refusals: int | None = None

    def refuse(self) -> web.Response | None:
        if self.status is None or self.refusals == 0:
            return None
        if self.refusals is not None:
            self.refusals -= 1
        return handshake.refusal(self.status, self.retry_after)

    def refuse_late(self) -> LateRefusal | None:
        if self.late is None or self.late_refusals == 0:
            return None
        if self.late_refusals is not None:
            self.late_refusals -= 1
        return self.late


@dataclass
class Model:
    shared: Shared
    live: dict[str, Call] = field(default_factory=dict)
    ended: deque[Record] = field(default_factory=lambda: deque(maxlen=_REMEMBERED_CALLS))
    next_handshakes: NextHandshakes = field(default_factory=NextHandshakes)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self.next_handshakes.delay_s)
        door = handshake.DOORS[request.path]
        if refused := self.next_handshakes.refuse():
            return refused
        proof = handshake.authenticated_by(request, self._options)
        if proof is None:
            return handshake.refusal(401)
        if refused := handshake.turned_away(request, door, self._options, len(self.live)):
            return refused
        welcome = handshake.welcome(request, door, self._options, proof)
        if late := self.next_handshakes.refuse_late():
            welcome = replace(welcome, refused_late=late)
        return await self._hold(Call(request, self.shared, door.dialect, welcome))

    @property
    def _options(self) -> Options:
        return self.shared.options

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
        for call in self.live.values():
            call.witness()
        records = [*self.ended, *(call.record for call in self.live.values())]
        return web.json_response([record.as_json() for record in records])

    async def hang_up(self, app: web.Application) -> None:
        for call in list(self.live.values()):
            call.close(_SHUTTING_DOWN, "The server is shutting down.")

    async def put_away(self, app: web.Application) -> None:
        """After the last call."""
        self.shared.file.close()
