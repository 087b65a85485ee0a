"""The simulated deployment as an aiohttp application: its routes, its calls, and the faults of `POST /_stage/faults`.

The body of a fault is {"fault": name, ...}; "session" selects one call, without it the fault is for every live call or
for the next callers. The answer lists the sessions that it touched.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from aiohttp import web

from stage.gpt import handshake
from stage.gpt.calls import Call, Shared
from stage.gpt.handshake import LATE_REFUSALS, REFUSABLE, LateRefusal
from stage.gpt.options import Options
from stage.gpt.responses import Mishap
from stage.gpt.shapes import Event, Rejected
from stage.gpt.wire import Record

_REMEMBERED_CALLS = 1000
_SHUTTING_DOWN = 1001
_MIB = 1024 * 1024
_UNSENDABLE = {1004, 1005, 1006, 1015}
_LONGEST_REASON_BYTES = 123
_LONGEST_ERROR = 64


@dataclass
class NextHandshakes:
    """Faults for the next callers; `refusals` counts down, None has no end."""

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


class BadFault(Exception):
    """The request is not valid; the message names what would be."""


class Target(NamedTuple):
    model: Model
    calls: list[Call]


async def faults(request: web.Request, model: Model) -> web.Response:
    try:
        body = await request.json()
    except ValueError:
        return _refuse("the body must be a JSON object")
    name = str(body.get("fault")) if isinstance(body, dict) else ""
    if name not in FAULTS:
        return _refuse(f"unknown fault {name!r}; known: {', '.join(FAULTS)}")
    calls = list(model.live.values())
    if (session := body.get("session")) is not None:
        calls = [call for call in calls if call.record.id == session]
        if not calls:
            return _refuse(f"no live session {session!r}", status=404)
    try:
        touched = FAULTS[name](Target(model, calls), body)
    except BadFault as fault:
        return _refuse(f"{name}: {fault}")
    return web.json_response({"fault": name, "sessions": [call.record.id for call in touched]})


Fault = Callable[[Target, Event], Iterable[Call]]


def _each(act: Callable[[Call], None]) -> Fault:
    def fault(target: Target, body: Event) -> Iterable[Call]:
        for call in target.calls:
            act(call)
        return target.calls

    return fault


def _close(target: Target, body: Event) -> Iterable[Call]:
    code, reason = body.get("code", 1011), body.get("reason", "")
    if not isinstance(code, int) or not 1000 <= code <= 4999 or code in _UNSENDABLE:
        raise BadFault('"code" must be a close code that may be sent: 1000-4999 without 1004, 1005, 1006, 1015')
    if not isinstance(reason, str) or len(reason.encode()) > _LONGEST_REASON_BYTES:
        raise BadFault(f'"reason" must be a string of at most {_LONGEST_REASON_BYTES} bytes')
    if (error := body.get("error")) is not None and not (isinstance(error, str) and len(error) <= _LONGEST_ERROR):
        raise BadFault(f'"error" must be an error code of at most {_LONGEST_ERROR} characters')
    for call in target.calls:
        if error:
            call.fail(code, error, "The session is over.", reason or None)
        else:
            call.close(code, reason)
    return target.calls


def _never_done(target: Target, body: Event) -> Iterable[Call]:
    on = _is_on(body)
    for call in target.calls:
        if on:
            call.may_finish.clear()
        else:
            call.may_finish.set()
    return target.calls


def _no_answer(target: Target, body: Event) -> Iterable[Call]:
    on = _is_on(body)
    for call in target.calls:
        call.conversation.answers = not on
    return target.calls


def _next_responses(mishap: Mishap) -> Fault:
    def fault(target: Target, body: Event) -> Iterable[Call]:
        count = _count(body, "responses", default=1)
        for call in target.calls:
            call.conversation.mishaps.extend([mishap] * count)
        return target.calls

    return fault


def _say(target: Target, body: Event) -> Iterable[Call]:
    return [call for call in target.calls if _begin(call, {}, 0)]


def _flood(target: Target, body: Event) -> Iterable[Call]:
    size = round(_number(body, "mib") * _MIB)
    return [call for call in target.calls if _begin(call, {"output_modalities": ["audio"]}, size)]


def _begin(call: Call, params: Event, flood_bytes: int) -> bool:
    """False when the call has a response already."""
    try:
        call.conversation.respond({"tool_choice": "none", **params}, flood_bytes)
    except Rejected:
        return False
    return True


def _slow_handshake(target: Target, body: Event) -> Iterable[Call]:
    target.model.next_handshakes.delay_s = _number(body, "seconds")
    return ()


def _refuse_handshakes(target: Target, body: Event) -> Iterable[Call]:
    status = body.get("status")
    if status not in REFUSABLE:
        raise BadFault(f'"status" must be one of {", ".join(map(str, REFUSABLE))}')
    nexts = target.model.next_handshakes
    nexts.status, nexts.refusals = status, _times(body)
    nexts.retry_after = _number(body, "retry_after") if "retry_after" in body else None
    return ()


def _refuse_late(target: Target, body: Event) -> Iterable[Call]:
    code = body.get("code")
    if not isinstance(code, int) or code not in LATE_REFUSALS:
        raise BadFault(f'"code" must be one of {", ".join(map(str, LATE_REFUSALS))}')
    nexts = target.model.next_handshakes
    nexts.late, nexts.late_refusals = LATE_REFUSALS[code], _times(body)
    return ()


def _none(target: Target, body: Event) -> Iterable[Call]:
    if "session" not in body:
        target.model.next_handshakes = NextHandshakes()
    for call in target.calls:
        call.may_finish.set()
        call.wire.resume()
        call.conversation.answers = True
        call.conversation.mishaps.clear()
    return target.calls


def _is_on(body: Event) -> bool:
    on = body.get("on", True)
    if not isinstance(on, bool):
        raise BadFault('"on" must be true or false')
    return on


def _times(body: Event) -> int | None:
    """None: until cleared."""
    return None if body.get("times") is None else _count(body, "times", default=1)


def _count(body: Event, name: str, *, default: int) -> int:
    count = body.get(name, default)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise BadFault(f'"{name}" must be a whole number, 1 or more')
    return count


def _number(body: Event, name: str) -> float:
    value: Any = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise BadFault(f'"{name}" must be a number, 0 or more')
    return value


def _refuse(message: str, status: int = 400) -> web.Response:
    return web.json_response({"error": message}, status=status)


FAULTS: Mapping[str, Fault] = {
    "none": _none,
    "reset": _each(lambda call: call.end(call.wire.reset)),
    "drop": _each(lambda call: call.end(call.wire.drop)),
    "close": _close,
    "expire": _each(Call.expire),
    "stall": _each(lambda call: call.wire.stall()),
    "unstall": _each(lambda call: call.wire.resume()),
    "never_done": _never_done,
    "no_answer": _no_answer,
    "throttle": _next_responses(Mishap.THROTTLED),
    "content_filter": _next_responses(Mishap.FILTERED),
    "malformed": _each(Call.garble),
    "say": _say,
    "flood": _flood,
    "slow_handshake": _slow_handshake,
    "refuse": _refuse_handshakes,
    "refuse_after_101": _refuse_late,
}
