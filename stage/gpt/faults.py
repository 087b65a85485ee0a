"""`POST /_stage/faults`: what can be made to go wrong, on live calls or for callers yet to come.

A body is {"fault": name, ...}; "session" picks one call, absent it is every live one. The answer
lists the sessions that were touched.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from aiohttp import web

from stage.gpt.calls import Call
from stage.gpt.handshake import REFUSABLE
from stage.gpt.model import Model, NextHandshakes
from stage.gpt.shapes import Event, Rejected

_MIB = 1024 * 1024
_UNSENDABLE = {1004, 1005, 1006, 1015}
_LONGEST_REASON_BYTES = 123


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
    for call in target.calls:
        call.close(code, reason)
    return target.calls


def _never_done(target: Target, body: Event) -> Iterable[Call]:
    on = body.get("on", True)
    if not isinstance(on, bool):
        raise BadFault('"on" must be true or false')
    for call in target.calls:
        if on:
            call.may_finish.clear()
        else:
            call.may_finish.set()
    return target.calls


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
    status, times = body.get("status"), body.get("times")
    if status not in REFUSABLE:
        raise BadFault(f'"status" must be one of {", ".join(map(str, REFUSABLE))}')
    if times is not None and (not isinstance(times, int) or times < 1):
        raise BadFault('"times" must be a positive integer, or absent: until cleared')
    nexts = target.model.next_handshakes
    nexts.status, nexts.refusals = status, times
    nexts.retry_after = _number(body, "retry_after") if "retry_after" in body else None
    return ()


def _none(target: Target, body: Event) -> Iterable[Call]:
    if "session" not in body:
        target.model.next_handshakes = NextHandshakes()
    for call in target.calls:
        call.may_finish.set()
        call.wire.resume()
    return target.calls


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
    "malformed": _each(Call.garble),
    "say": _say,
    "flood": _flood,
    "slow_handshake": _slow_handshake,
    "refuse": _refuse_handshakes,
}
