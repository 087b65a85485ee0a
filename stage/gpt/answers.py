"""What the model answers with: read from the session's terms, the `response.create` and the conversation.

A tool is called when the last text a user wrote says "call <tool>", or when tool_choice leaves no
choice; the answer to a function's output is always spoken, so that a forced choice cannot loop.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from stage.gpt.fields import check_fields
from stage.gpt.history import History, text_tokens
from stage.gpt.outputs import FunctionCall, Output, Speech, Text
from stage.gpt.shapes import Event, Rejected
from stage.gpt.voice import Voice


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

    @property
    def token_limit(self) -> float:
        return math.inf if isinstance(self.max_output_tokens, str) else self.max_output_tokens

    @property
    def prompt_tokens(self) -> int:
        return text_tokens(self.instructions, json.dumps(self.tools) if self.tools else "")


def read_ask(session: Event, params: Event) -> Ask:
    """Raises Rejected on a field of the wrong kind."""
    check_fields(params, "response.")
    laid = {**session, **{name: value for name, value in params.items() if value is not None}}
    output = session["audio"]["output"]
    laid_output = (params.get("audio") or {}).get("output") or {}
    return Ask(
        output_modalities=laid["output_modalities"],
        audio_output={"format": output["format"], "voice": output["voice"], **laid_output},
        max_output_tokens=laid["max_output_tokens"],
        tools=laid["tools"],
        tool_choice=laid["tool_choice"],
        instructions=laid["instructions"],
        metadata=params.get("metadata"),
        out_of_band=params.get("conversation") == "none",
    )


def choose_output(ask: Ask, history: History, voice: Voice) -> Output:
    if tool := _tool_to_call(ask, history):
        return FunctionCall(tool)
    return Speech(voice) if ask.output_modalities == ["audio"] else Text(voice.text)


def _tool_to_call(ask: Ask, history: History) -> Event | None:
    tools = {tool["name"]: tool for tool in ask.tools if isinstance(tool.get("name"), str)}
    if not tools or ask.tool_choice == "none" or history.last_type == "function_call_output":
        return None
    if isinstance(ask.tool_choice, dict):
        name = str(ask.tool_choice.get("name"))
        if name not in tools:
            raise Rejected("invalid_value", f"Tool choice '{name}' not found in 'tools'.", "tool_choice")
        return tools[name]
    asked = next((tools[name] for name in tools if _asks_for(name, history.last_user_text())), None)
    if asked or ask.tool_choice == "auto":
        return asked
    return next(iter(tools.values()))


def _asks_for(name: str, text: str) -> bool:
    return re.search(rf"\bcall {re.escape(name)}\b", text) is not None
