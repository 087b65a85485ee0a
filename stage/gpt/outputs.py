"""What a response can produce while it is generated: speech, text, function calls, and calls of tools on MCP servers.

An output knows its own events; the response that carries it adds the ids and the pace.
"""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from stage.gpt.audio import Slice, Voice
from stage.gpt.shapes import Event, History, Item, Rejected, message, new_id, spoken_tokens, text_tokens

_WORD_SECONDS = 0.3
_SAMPLES: Mapping[str, object] = {"integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}, "null": None}
_LISTING_S = 0.05
_DEFAULT_TOOLS = ("search",)
_SCHEMA = {"type": "object", "properties": {"query": {"type": "string"}}}
_FOUND = '{"results": []}'
_LOCATORS = ("server_url", "connector_id", "tunnel_id")


class Step(NamedTuple):
    """Events that leave together, how long they last at the speed of speech, and the sound of the audio delta."""

    events: list[Event]
    seconds: float
    pcm: bytes = b""


class Output(ABC):
    """One item from `response.output_item.added` to `.done`."""

    is_part = True  # lives in a content part of a message, so its events carry a content_index

    def __init__(self, id_prefix: str = "item") -> None:
        self.item = Item(shape={"id": new_id(id_prefix)})
        self.settle("in_progress")

    @abstractmethod
    def settle(self, status: str) -> None:
        """Write what was said so far, and `status`, into the item."""

    def steps(self) -> Iterator[Step]:
        return iter(())

    def closing(self) -> list[Event]:
        """The `.done` events of what was said so far."""
        return []

    def opening(self) -> list[Event]:
        return []

    def filler(self) -> Iterator[Step]:
        """What comes when a response may not end: nothing, unless the output can hum."""
        return iter(())


class Speech(Output):
    """`slices`: how many slices of the answer; None: all. `phase`: the purpose of the message in 2.x."""

    def __init__(self, voice: Voice, *, slices: int | None = None, phase: str | None = None) -> None:
        self._voice, self._slices, self._phase, self._said = voice, slices, phase, ""
        super().__init__()

    def settle(self, status: str) -> None:
        content = [{"type": "output_audio", "transcript": self._said}] if status != "in_progress" else []
        self.item.shape = _in_phase(message(self.item.id, "assistant", content, status), self._phase)

    def opening(self) -> list[Event]:
        return [{"type": "response.content_part.added", "part": {"type": "audio", "transcript": ""}}]

    def steps(self) -> Iterator[Step]:
        return map(self._say, self._voice.answer[: self._slices])

    def filler(self) -> Iterator[Step]:
        return map(self._say, self._voice.hum())

    def closing(self) -> list[Event]:
        return [
            {"type": "response.output_audio.done"},
            {"type": "response.output_audio_transcript.done", "transcript": self._said},
            {"type": "response.content_part.done", "part": {"type": "audio", "transcript": self._said}},
        ]

    def _say(self, piece: Slice) -> Step:
        self._said += piece.words
        self.item.audio_ms += piece.ms
        self.item.audio_tokens = spoken_tokens(self.item.audio_ms)
        self.item.text_tokens = text_tokens(self._said)
        words = [{"type": "response.output_audio_transcript.delta", "delta": piece.words}] if piece.words else []
        pcm, audio = piece.stamped()
        return Step([*words, {"type": "response.output_audio.delta", "delta": audio}], piece.ms / 1000, pcm)


class Text(Output):
    def __init__(self, text: str, *, phase: str | None = None) -> None:
        self._words, self._phase, self._said = text.split(" "), phase, ""
        super().__init__()

    def settle(self, status: str) -> None:
        content = [{"type": "output_text", "text": self._said}] if status != "in_progress" else []
        self.item.shape = _in_phase(message(self.item.id, "assistant", content, status), self._phase)

    def opening(self) -> list[Event]:
        return [{"type": "response.content_part.added", "part": {"type": "text", "text": ""}}]

    def steps(self) -> Iterator[Step]:
        for word in self._words:
            delta = f" {word}" if self._said else word
            self._said += delta
            self.item.text_tokens = text_tokens(self._said)
            yield Step([{"type": "response.output_text.delta", "delta": delta}], _WORD_SECONDS)

    def closing(self) -> list[Event]:
        return [
            {"type": "response.output_text.done", "text": self._said},
            {"type": "response.content_part.done", "part": {"type": "text", "text": self._said}},
        ]


class Arguments(Output):
    """A tool call, while its arguments are written."""

    is_part = False
    kind: str

    def __init__(self, name: str, schema: Mapping[str, Any], **ids: str) -> None:
        self._name, self.written, self._ids = name, "", ids
        self._arguments = json.dumps(_sample(schema))
        super().__init__()

    def write_all(self) -> None:
        """The arguments at once, with no event."""
        self.written = self._arguments
        self.item.text_tokens = text_tokens(self._name, self.written)

    def steps(self) -> Iterator[Step]:
        rest = iter(self._arguments)
        while piece := "".join(islice(rest, 8)):
            self.written += piece
            self.item.text_tokens = text_tokens(self._name, self.written)
            yield Step([{"type": f"response.{self.kind}_arguments.delta", **self._ids, "delta": piece}], _WORD_SECONDS)

    def closing(self) -> list[Event]:
        return [{"type": f"response.{self.kind}_arguments.done", **self._ids, "arguments": self.written}]


class FunctionCall(Arguments):
    """A call that the client has to make."""

    kind = "function_call"

    def __init__(self, tool: Mapping[str, Any]) -> None:
        schema = tool.get("parameters") or {"type": "object"}
        super().__init__(str(tool["name"]), schema, call_id=new_id("call"))

    def settle(self, status: str) -> None:
        self.item.shape = {
            "id": self.item.id,
            "object": "realtime.item",
            "type": "function_call",
            "status": status,
            "name": self._name,
            **self._ids,
            "arguments": self.written,
        }

    def closing(self) -> list[Event]:
        return [{**event, "name": self._name} for event in super().closing()]


def _in_phase(item: Event, phase: str | None) -> Event:
    return {**item, "phase": phase} if phase else item


def _sample(schema: object) -> object:
    """A value that a JSON schema as plain as most tools' accepts."""
    if not isinstance(schema, dict):
        return "example"
    if schema.get("enum"):
        return schema["enum"][0]
    if isinstance(properties := schema.get("properties"), dict):
        return {name: _sample(inner) for name, inner in properties.items()}
    return _SAMPLES.get(str(schema.get("type")), "example")


class McpTool(NamedTuple):
    server: str
    name: str
    needs_approval: bool


class McpCall(Arguments):
    """A call that the service makes; its client only watches."""

    kind = "mcp_call"

    def __init__(self, tool: McpTool, approval_request_id: str | None = None) -> None:
        self.tool, self._approval = tool, approval_request_id
        self._result: Event = {}
        super().__init__(tool.name, _SCHEMA)

    def settle(self, status: str) -> None:
        self.item.shape = {
            "id": self.item.id,
            "type": "mcp_call",
            "server_label": self.tool.server,
            "name": self.tool.name,
            "arguments": self.written,
            **({"approval_request_id": self._approval} if self._approval else {}),
            **self._result,
        }

    def end(self) -> bool:
        """Put the result on the item; returns whether the call succeeded."""
        failed = self.tool.name.startswith("fail")
        error = {"type": "http_error", "code": 502, "message": "Bad gateway"}
        self._result = {"output": None, "error": error} if failed else {"output": _FOUND, "error": None}
        self.item.text_tokens += text_tokens(self._result["output"])
        self.settle("completed")
        return not failed


class ApprovalRequest(Output):
    """The call that the model would make if a person agreed."""

    is_part = False

    def __init__(self, tool: McpTool) -> None:
        self.tool = tool
        super().__init__("mcpr")

    def settle(self, status: str) -> None:
        self.item.shape = {
            "id": self.item.id,
            "type": "mcp_approval_request",
            "server_label": self.tool.server,
            "name": self.tool.name,
            "arguments": "{}",
        }


def approved_call(request: Item) -> McpCall:
    return McpCall(McpTool(request.shape["server_label"], request.shape["name"], needs_approval=False), request.id)


class Place(NamedTuple):
    """Where a running call was announced: in a response, in the conversation, in both."""

    response: Event | None
    output_index: int
    conversation: Event | None


def place_of(response_id: str, output_index: int, previous: str | None, in_conversation: bool) -> Place:
    position = {"response_id": response_id, "output_index": output_index}
    return Place(position, output_index, {"previous_item_id": previous} if in_conversation else None)


@dataclass
class RunningCalls:
    """The MCP calls of one conversation that have begun and not ended."""

    emit: Callable[[Event], None]
    history: History
    seconds: float
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self._tasks)

    def run(self, call: McpCall, place: Place) -> None:
        self._tell("in_progress", call, place)
        task = asyncio.create_task(self._run(call, place))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def run_approved(self, request: Item) -> None:
        """A person agreed: the call is an item of its own, in no response."""
        call = approved_call(request)
        call.write_all()
        call.settle("in_progress")
        previous = {"previous_item_id": self.history.add(call.item)}
        self.emit({"type": "conversation.item.added", **previous, "item": call.item.shape})
        self.run(call, Place(None, 0, previous))

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _run(self, call: McpCall, place: Place) -> None:
        await asyncio.sleep(self.seconds)
        self._tell("completed" if call.end() else "failed", call, place)
        if place.response:
            self.emit({"type": "response.output_item.done", **place.response, "item": call.item.shape})
        if place.conversation:
            self.emit({"type": "conversation.item.done", **place.conversation, "item": call.item.shape})

    def _tell(self, what: str, call: McpCall, place: Place) -> None:
        position = {"item_id": call.item.id, "output_index": place.output_index}
        self.emit({"type": f"response.mcp_call.{what}", **position})


class Servers:
    """The MCP servers that a session has named; a tool can be called once its server has listed it."""

    def __init__(self, emit: Callable[[Event], None], history: History) -> None:
        self._emit, self._history = emit, history
        self._tools: dict[str, dict[str, McpTool]] = {}  # empty while the list is not there
        self._listings: set[asyncio.Task[None]] = set()

    def tools(self, declared: list[Event]) -> dict[str, McpTool]:
        """What can be called of the servers among these tools, by name."""
        labels = [str(tool["server_label"]) for tool in declared if tool.get("type") == "mcp"]
        return {name: tool for label in labels for name, tool in self._tools.get(label, {}).items()}

    def check(self, declared: list[Event], within: str) -> None:
        """Raises Rejected for a server that cannot be found."""
        for index, tool in enumerate(declared):
            if tool.get("type") != "mcp" or any(tool.get(name) for name in _LOCATORS):
                continue
            if tool["server_label"] not in self._tools:
                path = f"{within}tools[{index}].server_url"
                raise Rejected("missing_required_parameter", f"Missing required parameter: '{path}'.", path)

    def add(self, declared: list[Event], *, at_once: bool = False) -> None:
        """Ask the servers among these tools that were not asked before what they have."""
        for tool in declared:
            if tool.get("type") == "mcp" and tool["server_label"] not in self._tools:
                label = str(tool["server_label"])
                self._tools[label] = {}
                begun = self._begin(label)
                if at_once:
                    self._complete(tool, *begun)
                else:
                    task = asyncio.create_task(self._list(tool, *begun))
                    self._listings.add(task)
                    task.add_done_callback(self._listings.discard)

    async def end(self) -> None:
        for task in self._listings:
            task.cancel()
        if self._listings:
            await asyncio.wait(self._listings)

    def _begin(self, label: str) -> tuple[Item, Event]:
        item = Item({"id": new_id("item"), "type": "mcp_list_tools", "server_label": label, "tools": []})
        previous = {"previous_item_id": self._history.add(item)}
        self._emit({"type": "conversation.item.added", **previous, "item": item.shape})
        self._emit({"type": "mcp_list_tools.in_progress", "item_id": item.id})
        return item, previous

    async def _list(self, tool: Event, item: Item, previous: Event) -> None:
        await asyncio.sleep(_LISTING_S)
        self._complete(tool, item, previous)

    def _complete(self, tool: Event, item: Item, previous: Event) -> None:
        label = str(tool["server_label"])
        failed = "broken" in label
        if not failed:
            self._tools[label] = {name: McpTool(label, name, _needs_approval(tool, name)) for name in _names(tool)}
            listed = [{"name": name, "input_schema": _SCHEMA} for name in self._tools[label]]
            item.shape = {**item.shape, "tools": listed}
        self._emit({"type": f"mcp_list_tools.{'failed' if failed else 'completed'}", "item_id": item.id})
        self._emit({"type": "conversation.item.done", **previous, "item": item.shape})


def _names(tool: Event) -> tuple[str, ...]:
    return _filtered(tool.get("allowed_tools")) or _DEFAULT_TOOLS


def _needs_approval(tool: Mapping[str, Any], name: str) -> bool:
    """The service asks unless the tool says not to."""
    rule = tool.get("require_approval") or "always"
    if isinstance(rule, str):
        return rule != "never"
    return name not in _filtered(rule.get("never"))


def _filtered(names: Any) -> tuple[str, ...]:
    """The tools that a list or a filter object names."""
    listed = names.get("tool_names") if isinstance(names, dict) else names
    return tuple(map(str, listed)) if isinstance(listed, list) else ()
