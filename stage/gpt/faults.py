"""`POST /_stage/faults`: what can be made to go wrong, on live calls or for callers yet to come.

A body is {"fault": name, ...}; "session" picks one call, absent it is every live one. The answer
lists the sessions that were touched.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from aiohttp import web

from stage.gpt.calls import Call
from stage.gpt.handshake import LATE_REFUSALS, REFUSABLE
from stage.gpt.model import Model, NextHandshakes
from stage.gpt.shapes import Event, Rejected
from stage.gpt.speaking import Mishap

_MIB = 1024 * 1024
_UNSENDABLE = {1004, 1005, 1006, 1015}
_LONGEST_REASON_BYTES = 123
_LONGEST_ERROR = 64


class BadFault(Exception):
    """The request makes no sense; the message says what would."""


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
