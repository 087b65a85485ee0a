"""What the model answers with: read from the session's terms, the `response.create` and the conversation.

Tools are called by name: the words "call lookup", "call lookup and search" in the last text the user wrote, or, where
the user spoke last, in the instructions, so that a session whose instructions say so has a call in every spoken turn.
A `tool_choice` that leaves no choice calls, too. What follows a call - its output, its approval, its result - is always
spoken about, so that neither words nor a forced choice can loop.

Generation 2 says something before it calls (a preamble), and calls several tools in one response unless
`parallel_tool_calls` is false. A function called `wait...` is a silent tool: nothing is said before it.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stage.gpt.fields import KNOWN_BY_KIND, check_fields
from stage.gpt.history import History, text_tokens
from stage.gpt.mcp import ApprovalRequest, McpCall, McpTool, approved_call
from stage.gpt.outputs import FunctionCall, Output, Speech, Text
from stage.gpt.shapes import Event, Rejected
from stage.gpt.unverified import Unverified
from stage.gpt.voice import Voice

_SILENT = "wait"
_PREAMBLE_SLICES = 3
_AFTER_A_CALL = ("function_call_output", "mcp_approval_response", "mcp_call")
_CALLS = ("function_call", "mcp_approval_request", *_AFTER_A_CALL)

Tool = Event | McpTool


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
    """`servers`: the tools of the MCP servers that the response may use. Raises Rejected for a tool nobody has."""
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
