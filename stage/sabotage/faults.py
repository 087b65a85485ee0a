"""What the man in the middle can do to a call: each fault by its name, as a table for each place where it acts.

A fault may have a number, as in `reset-at=4`. None of them looks at anything but the events and the time.
"""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import orjson

from stage.sabotage.wire import Frame, Head, close_frame

Event = dict[str, Any]


class Call(Protocol):
    """What a fault sees of a call and can do to it."""

    counts: dict[str, int]
    held: list[bytes]
    first_id: Any
    heard_at: float
    deaf: bool

    @property
    def neighbour(self) -> "Call | None": ...
    def nth(self, what: str) -> int: ...
    def audio_of_another(self, own: str) -> str: ...
    def to_caller(self, event: bytes) -> None: ...
    def to_relay(self, event: bytes) -> None: ...
    def end(self, close: Frame) -> None: ...
    def reset(self) -> None: ...
    def hang_up(self) -> None: ...


Change = Callable[[Call, Event, bytes, float], Awaitable[list[bytes]]]
"""An event, parsed and as it came, to what is sent in its place."""

DELTAS = ("response.output_audio.delta", "response.audio.delta")
WORDS = ("response.output_audio_transcript.delta", "response.audio_transcript.delta")
UP: dict[str, Change] = {}
DOWN: dict[str, Change] = {}


def up(name: str) -> Callable[[Change], Change]:
    """Acts on what the caller sends."""
    return lambda change: UP.setdefault(name, change)


def down(name: str) -> Callable[[Change], Change]:
    """Acts on what the model sends."""
    return lambda change: DOWN.setdefault(name, change)


# From the caller to the model.


@up("lose-appends")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """Every second piece of audio is lost, so that the model never hears enough silence to answer."""
    return [] if event["type"] == "input_audio_buffer.append" and call.nth("append") % 2 else [raw]


@up("lose-speech")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """Every second piece of speech is lost, of silence none: the model answers to half of what was said."""
    loud = event["type"] == "input_audio_buffer.append" and len(set(event["audio"][:200])) > 2
    return [] if loud and call.nth("speech") % 2 else [raw]


@up("other-speech")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """The caller's audio arrives with one byte of each piece changed."""
    if event["type"] != "input_audio_buffer.append":
        return [raw]
    audio = event["audio"]
    changed = audio[:40] + ("B" if audio[40] == "A" else "A") + audio[41:]
    return [orjson.dumps({**event, "audio": changed})]


@up("speech-to-neighbour")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """What one caller says is also heard by the model of another call."""
    neighbour = call.neighbour
    if event["type"] == "input_audio_buffer.append" and neighbour is not None and call.nth("append") % 4 == 0:
        neighbour.to_relay(raw)
    return [raw]


@up("swallow")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """`session.update` never reaches the model."""
    return [] if event["type"] == "session.update" else [raw]


@up("swallow-tool-output")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """What a tool found never reaches the model."""
    item = event.get("item") or {}
    return [] if item.get("type") == "function_call_output" else [raw]


@up("swallow-text")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """What a caller types never reaches the model, which answers all the same."""
    item = event.get("item") or {}
    return [] if item.get("type") == "message" else [raw]


@up("swallow-commit")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """A push-to-talk call's commit, and its wish for an answer, never reach the model."""
    return [] if event["type"] in ("input_audio_buffer.commit", "response.create") else [raw]


# From the model to the caller.


@down("no-done")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """`response.done` is never sent."""
    return [] if event["type"] == "response.done" else [raw]


@down("no-answer")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """Nothing of any response is sent."""
    return [] if event["type"].startswith("response.") else [raw]


@down("no-updated")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """`session.updated` is never sent."""
    return [] if event["type"] == "session.updated" else [raw]


@down("no-tool-call")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """A function call's arguments never arrive, and its response lists no output."""
    if "function_call" in event["type"] or (event.get("item") or {}).get("type") == "function_call":
        return []
    if event["type"] == "response.done":
        output = [item for item in event["response"].get("output", ()) if item.get("type") != "function_call"]
        return [orjson.dumps({**event, "response": {**event["response"], "output": output}})]
    return [raw]


@down("to-neighbour-too")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """Each delta of audio also goes to another call."""
    if event["type"] in DELTAS and call.neighbour is not None:
        call.neighbour.to_caller(raw)
    return [raw]


@down("to-neighbour")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """Callers hear their neighbour's answers in place of their own: audio and its words."""
    if event["type"] in DELTAS + WORDS and call.neighbour is not None:
        call.neighbour.to_caller(raw)
        return []
    return [raw]


@down("words-to-neighbour")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """What is said can be read in another call: transcripts only, now and then."""
    if event["type"] in WORDS and call.neighbour is not None and call.nth("words") % 4 == 0:
        call.neighbour.to_caller(raw)
    return [raw]


@down("lose-words")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """Pieces of a transcript are lost, and its end is whole."""
    return [] if event["type"] in WORDS and call.nth("words") % 4 == 0 else [raw]


@down("neighbours-audio")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """The audio of another call under the ids of this one: nothing but the sound is wrong."""
    if event["type"] not in DELTAS:
        return [raw]
    return [orjson.dumps({**event, "delta": call.audio_of_another(event["delta"])})]


@down("silence")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """Every answer is silence of the right length."""
    if event["type"] not in DELTAS:
        return [raw]
    silent = re.sub(r"[^=]", "A", event["delta"])
    return [orjson.dumps({**event, "delta": silent})]


@down("quiet-noise")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """Every answer is a very quiet hiss of the right length."""
    if event["type"] not in DELTAS:
        return [raw]
    size = len(event["delta"]) // 4
    return [orjson.dumps({**event, "delta": "AQD+" * size + event["delta"][4 * size :]})]


@down("first-three")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """Of each answer only the first three deltas arrive."""
    if event["type"] == "response.created":
        call.counts["delta"] = 0
    return [] if event["type"] in DELTAS and call.nth("delta") >= 3 else [raw]


@down("lose-last")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """The end of each answer is missing: every delta is held back until the next, the last one for ever."""
    if event["type"] in DELTAS:
        held, call.held = call.held, [raw]
        return held
    if event["type"] == "response.done":
        call.held = []
    return [raw]


@down("lose")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """One delta in so many is lost."""
    return [] if event["type"] in DELTAS and call.nth("delta") % value == value - 1 else [raw]


@down("twice")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """One delta in so many arrives twice."""
    return [raw, raw] if event["type"] in DELTAS and call.nth("delta") % value == value - 1 else [raw]


@down("swap")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """One delta in so many changes places with the next."""
    if event["type"] in DELTAS:
        if call.held:
            held, call.held = call.held, []
            return [raw, *held]
        if call.nth("delta") % value == 0:
            call.held = [raw]
            return []
        return [raw]
    held, call.held = call.held, []
    return [*held, raw]


@down("done-first")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """The last delta of each answer comes behind its `response.done`."""
    if event["type"] in DELTAS:
        held, call.held = call.held, [raw]
        return held
    if event["type"] == "response.done":
        held, call.held = call.held, []
        return [raw, *held]
    return [raw]


@down("half")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """One frame of audio in so many is cut to half: no JSON any more."""
    return [raw[: len(raw) // 2]] if event["type"] in DELTAS and call.nth("delta") % value == value - 1 else [raw]


@down("stall")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """Each answer stops in the middle for so many seconds."""
    if event["type"] == "response.created":
        call.counts["delta"] = 0
    if event["type"] in DELTAS and call.nth("delta") == 2:
        await asyncio.sleep(value)
    return [raw]


@down("late")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """Each answer begins so many seconds late."""
    if event["type"] == "response.created":
        await asyncio.sleep(value)
    return [raw]


@down("update-error")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """Each `session.update` is answered with an error beside the model's answer."""
    return [_error(), raw] if event["type"] == "session.updated" else [raw]


@down("other-session")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """`session.updated` says something else than the caller asked for."""
    if event["type"] != "session.updated":
        return [raw]
    session = {**event["session"], "instructions": "Answer in one long sentence.", "output_modalities": ["text"]}
    return [orjson.dumps({**event, "session": session})]


@down("same-event-id")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """Every event has the id of the first one."""
    call.first_id = call.first_id or event.get("event_id")
    return [orjson.dumps({**event, "event_id": call.first_id})]


@down("done-twice")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """Each `response.done` arrives twice."""
    return [raw, raw] if event["type"] == "response.done" else [raw]


@down("no-created")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """`response.created` is never sent."""
    return [] if event["type"] == "response.created" else [raw]


@down("stray-error")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """An error comes before each answer."""
    return [_error(), raw] if event["type"] == "response.created" else [raw]


@down("failed")
async def _(call: Call, event: Event, raw: bytes, value: float) -> list[bytes]:
    """One response in so many says that it failed."""
    if event["type"] != "response.done" or call.nth("done") % value:
        return [raw]
    error = {"type": "server_error", "code": "server_error", "message": "failed"}
    details = {"type": "failed", "reason": None, "error": error}
    return [orjson.dumps({**event, "response": {**event["response"], "status": "failed", "status_details": details}})]


def _error() -> bytes:
    error = {"type": "invalid_request_error", "code": "unknown_parameter", "message": "no such thing", "param": None}
    return orjson.dumps({"type": "error", "event_id": f"event_{random.getrandbits(60):x}", "error": error})


# The handshake.


LETS_IN: Mapping[str, Callable[[str], bool]] = {
    "anybody": lambda shown: True,
    "anybody-with-a-key": bool,
    "anybody-without-a-key": lambda shown: not shown,
}
"""Whom it lets in beside those who may, by the credential that was shown."""

ANSWERS: Mapping[str, Callable[[Head], None]] = {
    "no-revision": lambda head: head.put("x-rtproxy-revision", None),
    "other-revision": lambda head: head.put("x-rtproxy-revision", f"{head['x-rtproxy-revision']}x"),
    "says-blue": lambda head: head.put("x-rtproxy-revision", head["x-rtproxy-revision"].replace("green", "blue")),
    "other-replica": lambda head: head.put("x-rtproxy-replica", "rtproxy--somewhere-else"),
}

# Beside the call, from its 101 on.


async def _reset_at(call: Call, value: float) -> None:
    await asyncio.sleep(value)
    call.reset()


async def _drop_at(call: Call, value: float) -> None:
    await asyncio.sleep(value)
    call.hang_up()


async def _end_at(call: Call, value: float, code: int) -> None:
    await asyncio.sleep(value)
    call.end(close_frame(code, "revision draining, reconnect" if code == 1012 else ""))


async def _reset_when_silent(call: Call, value: float) -> None:
    loop = asyncio.get_running_loop()
    while (left := call.heard_at + value - loop.time()) > 0:  # noqa: ASYNC110 - each event moves the end
        await asyncio.sleep(left)
    call.reset()


async def _deaf_at(call: Call, value: float) -> None:
    await asyncio.sleep(value)
    call.deaf = True


BESIDE: Mapping[str, Callable[[Call, float], Awaitable[None]]] = {
    "reset-at": _reset_at,
    "drop-at": _drop_at,
    "1000-at": lambda call, value: _end_at(call, value, 1000),
    "1012-at": lambda call, value: _end_at(call, value, 1012),
    "reset-when-silent": _reset_when_silent,
    "deaf-at": _deaf_at,
}
