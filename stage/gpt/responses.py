"""A response: what it says, its events from `response.created` to `response.done`, and its pace.

Tools are called by name: the words "call lookup", "call lookup and search" in the last text the user wrote, or, where
the user spoke last, in the instructions, so that a session whose instructions say so has a call in every spoken turn.
A `tool_choice` that leaves no choice calls, too. What follows a call - its output, its approval, its result - is always
spoken about, so that neither words nor a forced choice can loop. Generation 2 says something before it calls (a
preamble), and calls several tools in one response unless `parallel_tool_calls` is false. A function called `wait...` is
a silent tool: nothing is said before it.

Each method of `Response` emits its events in one piece and never waits, so nothing can come between them. `Speaker`
gives them their pace: its task only waits between steps, so `cut` may end the response from outside at any moment.
While `may_finish` is clear, a response goes on without end and ignores `cut` until it is set again.
"""

import asyncio
import hashlib
import json
import math
import random
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any

from stage.gpt.audio import Voice
from stage.gpt.options import KNOWN_BY_KIND, Unverified, check_fields
from stage.gpt.outputs import (
    ApprovalRequest,
    FunctionCall,
    McpCall,
    McpTool,
    Output,
    RunningCalls,
    Speech,
    Step,
    Text,
    approved_call,
    place_of,
)
from stage.gpt.shapes import Event, History, Rejected, new_id, rate_limits, text_tokens, usage

_SILENT = "wait"
_PREAMBLE_SLICES = 3
_AFTER_A_CALL = ("function_call_output", "mcp_approval_response", "mcp_call")
_CALLS = ("function_call", "mcp_approval_request", *_AFTER_A_CALL)
Tool = Event | McpTool
_HUM_INTERVAL_S = 1.0
_STEPS_BEFORE_A_FILTER = 2


@dataclass(frozen=True)
class Ask:
    """One response's terms: the session's, with what `response.create` lays over them."""

    output_modalities: list[str]
    audio_output: Event
    max_output_tokens: int | str
    tools: list[Event]
    tool_choice: Any
    instructions: str
    metadata: Event | None
    out_of_band: bool
    reasons: bool  # generation 2
    parallel_tool_calls: bool

    @property
    def token_limit(self) -> float:
        return math.inf if isinstance(self.max_output_tokens, str) else self.max_output_tokens

    @property
    def prompt_tokens(self) -> int:
        return text_tokens(self.instructions, json.dumps(self.tools) if self.tools else "")

    @property
    def is_spoken(self) -> bool:
        return self.output_modalities == ["audio"]


def read_ask(session: Event, params: Event) -> Ask:
    """Raises Rejected on a field of the wrong kind."""
    check_fields(params, "response.", KNOWN_BY_KIND["response"])
    laid = {**session, **{name: value for name, value in params.items() if value is not None}}
    output = session["audio"]["output"]
    laid_output = (params.get("audio") or {}).get("output") or {}
    reasons = "reasoning" in session
    return Ask(
        output_modalities=laid["output_modalities"],
        audio_output={"format": output["format"], "voice": output["voice"], **laid_output},
        max_output_tokens=laid["max_output_tokens"],
        tools=laid["tools"],
        tool_choice=laid["tool_choice"],
        instructions=laid["instructions"],
        metadata=params.get("metadata"),
        out_of_band=params.get("conversation") == "none",
        reasons=reasons,
        parallel_tool_calls=reasons and laid.get("parallel_tool_calls") is not False,
    )


def choose_outputs(
    ask: Ask, history: History, voice: Voice, servers: Mapping[str, McpTool], unverified: Unverified
) -> list[Output]:
    """`servers`: the tools of the MCP servers that the response may use. Raises Rejected for an unknown tool."""
    if not unverified.approved_call_runs_at_once and (request := history.just_approved()):
        return [approved_call(request)]
    speaks_phases = ask.reasons and unverified.phase_on_items
    called = _tools_to_call(ask, history, servers)
    if not called:
        phase = "final_answer" if speaks_phases else None
        return [Speech(voice, phase=phase) if ask.is_spoken else Text(voice.text, phase=phase)]
    outputs = [_call(tool) for tool in called]
    by_choice = ask.tool_choice == "auto" or unverified.preamble_before_a_forced_call
    if ask.reasons and ask.is_spoken and by_choice and not all(map(_is_silent, called)):
        phase = "commentary" if speaks_phases else None
        return [Speech(voice, slices=_PREAMBLE_SLICES, phase=phase), *outputs]
    return outputs


def _tools_to_call(ask: Ask, history: History, servers: Mapping[str, McpTool]) -> list[Tool]:
    functions = {tool["name"]: tool for tool in ask.tools if isinstance(tool.get("name"), str)}
    tools: dict[str, Tool] = {**functions, **servers}
    if ask.tool_choice == "none" or history.last_type in _AFTER_A_CALL:
        return []
    if isinstance(ask.tool_choice, dict):
        name = str(ask.tool_choice.get("name"))
        if name not in tools:
            raise Rejected("invalid_value", f"Tool choice '{name}' not found in 'tools'.", "tool_choice")
        return [tools[name]]
    words = "" if history.has_since_user(_CALLS) else history.last_user_text() or ask.instructions
    named = [tools[name] for name in tools if _asks_for(name, words)]
    if not named and ask.tool_choice == "required":
        named = list(tools.values())[:1]
    return named if ask.parallel_tool_calls else named[:1]


def _asks_for(name: str, text: str) -> bool:
    return re.search(rf"\bcall\b[^.!?]*(?<![\w-]){re.escape(name)}(?![\w-])", text) is not None


def _call(tool: Tool) -> Output:
    if isinstance(tool, dict):
        return FunctionCall(tool)
    return ApprovalRequest(tool) if tool.needs_approval else McpCall(tool)


def _is_silent(tool: Tool) -> bool:
    return isinstance(tool, dict) and str(tool["name"]).startswith(_SILENT)


class Sent:
    """The audio deltas of one response: how many, how long, and a hash of their PCM."""

    def __init__(self) -> None:
        self.deltas = self.audio_bytes = 0
        self._digest = hashlib.sha256()

    def add(self, pcm: bytes) -> None:
        self.deltas += 1
        self.audio_bytes += len(pcm)
        self._digest.update(pcm)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


NoteResponse = Callable[[str, str, Sent], None]


@dataclass
class Floor:
    """What all parts of a call's conversation share."""

    conversation_id: str
    history: History
    emit: Callable[[Event], None]
    rate_limits_first: bool
    note: NoteResponse
    mcp_calls: RunningCalls
    transcription_s: float
    unverified: Unverified
    cached: tuple[int, int] = (0, 0)  # (text, audio) tokens of the last prompt that the next finds in the cache


class Response:
    """`begin`; then for each output `open`, any number of `say`, `close`; then `finish`, which closes what is open.

    A response that is cut early may finish with no output at all.
    """

    def __init__(self, floor: Floor, ask: Ask) -> None:
        self.id = new_id("resp")
        self.active = False
        self.sent = Sent()
        self._floor, self._ask = floor, ask
        self._outputs: list[Output] = []
        self._is_open = False
        text, audio = floor.history.tokens()
        self._read = (text + ask.prompt_tokens, audio)

    @property
    def written(self) -> tuple[int, int]:
        """(text, audio) tokens so far."""
        items = [output.item for output in self._outputs]
        return sum(item.text_tokens for item in items), sum(item.audio_tokens for item in items)

    @property
    def in_conversation(self) -> bool:
        return not self._ask.out_of_band

    def begin(self) -> None:
        self.active = True
        self._floor.emit({"type": "response.created", "response": self._shape("in_progress")})
        if self._floor.rate_limits_first:
            self._floor.emit(rate_limits(sum(self._read)))

    def open(self, output: Output) -> None:
        self._outputs.append(output)
        self._is_open = True
        self._previous = self._floor.history.add(output.item) if self.in_conversation else None
        self._emit_output_item("added")
        self._emit_conversation_item("added")
        self._emit_parts(output.opening())

    def say(self, step: Step) -> None:
        if step.pcm:
            self.sent.add(step.pcm)
        self._emit_parts(step.events)

    def close(self, status: str = "completed") -> None:
        """The end of the output that is open. An MCP call whose arguments are whole begins to run, and ends later."""
        output, self._is_open = self._outputs[-1], False
        self._emit_parts(output.closing())
        output.settle(status)
        if isinstance(output, McpCall):
            if status == "completed":
                place = place_of(self.id, len(self._outputs) - 1, self._previous, self.in_conversation)
                self._floor.mcp_calls.run(output, place)
                return
            if not self._floor.unverified.unfinished_mcp_call_ends:
                return
            self._floor.emit({"type": "response.mcp_call.failed", **self._position(), "item_id": output.item.id})
        self._emit_conversation_item("done")
        self._emit_output_item("done")

    def finish(self, status: str, reason: str | None = None, failure: Event | None = None) -> None:
        if self._is_open:
            self.close("completed" if status == "completed" else "incomplete")
        done = self._shape(status)
        if reason or failure:
            details = {"reason": reason} if reason else {"error": failure}
            done["status_details"] = {"type": status, **details}
        failed_unbilled = status == "failed" and not self._floor.unverified.usage_of_a_failed_response
        done["usage"] = None if failed_unbilled else self._usage()
        self._floor.emit({"type": "response.done", "response": done})
        self.active = False
        self._floor.note(self.id, status, self.sent)
        if done["usage"] and not self._floor.rate_limits_first:
            self._floor.emit(rate_limits(done["usage"]["total_tokens"]))

    def abandon(self) -> None:
        """The call has ended, so nothing is emitted."""
        self.active = False
        self._floor.note(self.id, "abandoned", self.sent)

    def _usage(self) -> Event:
        cached = self._floor.cached
        self._floor.cached = _cacheable(self._read[0]), _cacheable(self._read[1])
        return usage(self._read, (min(cached[0], self._read[0]), min(cached[1], self._read[1])), self.written)

    def _position(self) -> Event:
        return {"output_index": len(self._outputs) - 1}

    def _emit_parts(self, events: list[Event]) -> None:
        output = self._outputs[-1]
        place: Event = {"response_id": self.id, "item_id": output.item.id, **self._position()}
        if output.is_part:
            place["content_index"] = 0
        for event in events:
            self._floor.emit({**event, **place})

    def _emit_output_item(self, what: str) -> None:
        place = {"response_id": self.id, **self._position()}
        self._floor.emit({"type": f"response.output_item.{what}", **place, "item": self._outputs[-1].item.shape})

    def _emit_conversation_item(self, what: str) -> None:
        if self.in_conversation:
            item = {"previous_item_id": self._previous, "item": self._outputs[-1].item.shape}
            self._floor.emit({"type": f"conversation.item.{what}", **item})

    def _shape(self, status: str) -> Event:
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": None,
            "output": [output.item.shape for output in self._outputs],
            "conversation_id": self._floor.conversation_id if self.in_conversation else None,
            "output_modalities": self._ask.output_modalities,
            "max_output_tokens": self._ask.max_output_tokens,
            "audio": {"output": self._ask.audio_output},
            "usage": None,
            "metadata": self._ask.metadata,
        }


def _cacheable(tokens: int) -> int:
    """The service caches prompts in blocks of 64 tokens."""
    return tokens // 64 * 64


class Mishap(Enum):
    """What may become of a response that is not cut."""

    NONE = "none"
    THROTTLED = "throttled"
    FILTERED = "filtered"


@dataclass(frozen=True)
class Tempo:
    """`pace` is how many times faster than speech; `drained` returns when the socket has taken all so far."""

    thinking_s: float
    noise_s: float
    pace: float
    drained: Callable[[], Awaitable[None]]
    may_finish: asyncio.Event


@dataclass(frozen=True)
class Plan:
    """The outputs of a response, and how it ends."""

    outputs: Sequence[Output]
    token_limit: float
    flood_bytes: int  # of audio, after the last output, as fast as the socket takes them
    mishap: Mishap
    throttled: Event  # the error of a throttled response


class Speaker:
    """Starts to say what is planned at once, and calls `ended` after its `response.done`."""

    def __init__(self, response: Response, plan: Plan, tempo: Tempo, ended: Callable[["Speaker"], None]) -> None:
        self.response = response
        self._plan, self._tempo, self._ended = plan, tempo, ended
        self._cut_for: str | None = None
        response.begin()
        self._task = asyncio.create_task(self._speak())

    def cut(self, reason: str) -> None:
        """End as cancelled: the done events have left when this returns, unless the response may not finish."""
        if self._tempo.may_finish.is_set():
            self._task.cancel()
            self._finish("cancelled", reason)
        else:
            self._cut_for = reason

    async def abandon(self) -> None:
        """The call has ended: stop without another event."""
        self._task.cancel()
        await asyncio.wait({self._task})
        if self.response.active:
            self.response.abandon()

    async def _speak(self) -> None:
        noise_s = random.expovariate(1 / self._tempo.noise_s) if self._tempo.noise_s else 0.0
        await asyncio.sleep(self._tempo.thinking_s + noise_s)
        if self._plan.mishap is Mishap.THROTTLED:
            self._finish("failed", failure=self._plan.throttled)
            return
        short = await self._say_all()
        await self._flood()
        await self._hum()
        if self._cut_for:
            self._finish("cancelled", self._cut_for)
        elif short:
            self._finish("incomplete", short)
        else:
            self._finish("completed")

    def _finish(self, status: str, reason: str | None = None, failure: Event | None = None) -> None:
        self.response.finish(status, reason, failure)
        self._ended(self)

    async def _say_all(self) -> str | None:
        """Say the outputs one after the other and leave the last one open; returns why it stopped early, if it did."""
        *before, last = self._plan.outputs
        for output in before:
            if short := await self._say(output):
                return short
            self.response.close()
        return await self._say(last)

    async def _say(self, output: Output) -> str | None:
        clock = asyncio.get_running_loop().time
        due = clock()
        self.response.open(output)
        for number, step in enumerate(output.steps()):
            if self._plan.mishap is Mishap.FILTERED and number == _STEPS_BEFORE_A_FILTER:
                return "content_filter"
            self.response.say(step)
            await self._tempo.drained()
            if sum(self.response.written) >= self._plan.token_limit:
                return "max_output_tokens"
            due += step.seconds / self._tempo.pace
            await asyncio.sleep(max(0.0, due - clock()))
        return None

    async def _flood(self) -> None:
        filler, sent = self._plan.outputs[-1].filler(), 0
        while sent < self._plan.flood_bytes and (step := next(filler, None)):
            self.response.say(step)
            await self._tempo.drained()
            sent += sum(len(event["delta"]) for event in step.events)

    async def _hum(self) -> None:
        filler = self._plan.outputs[-1].filler()
        while not self._tempo.may_finish.is_set():
            if step := next(filler, None):
                self.response.say(step)
                await self._tempo.drained()
            with suppress(TimeoutError):
                async with asyncio.timeout(_HUM_INTERVAL_S):
                    await self._tempo.may_finish.wait()
