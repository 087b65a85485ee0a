"""The client's hand on the conversation: `conversation.item.*`."""

from collections.abc import Callable, Mapping

from stage.gpt.history import Item, heard_tokens, text_tokens
from stage.gpt.responses import Floor
from stage.gpt.shapes import Event, Rejected, message, new_id, require, unsupported
from stage.gpt.voice import BYTES_PER_MS

_PARTS_BY_ROLE: Mapping[str, tuple[str, ...]] = {
    "user": ("input_text", "input_audio", "input_image"),
    "assistant": ("output_text", "output_audio"),
    "system": ("input_text",),
}
_LONGEST_ID = 32


class Items:
    def __init__(self, floor: Floor) -> None:
        self._history, self._emit, self._mcp_calls = floor.history, floor.emit, floor.mcp_calls
        self._approved_run_at_once = floor.unverified.approved_call_runs_at_once
        self.handlers: Mapping[str, Callable[[Event], None]] = {
            "conversation.item.create": self._create,
            "conversation.item.retrieve": self._retrieve,
            "conversation.item.delete": self._delete,
            "conversation.item.truncate": self._truncate,
        }

    def add(self, item: Item, after: str | None = None) -> None:
        """Put a finished item into the conversation and tell the client."""
        placed = {"previous_item_id": self._history.add(item, after), "item": item.shape}
        self._emit({"type": "conversation.item.added", **placed})
        self._emit({"type": "conversation.item.done", **placed})

    def _create(self, event: Event) -> None:
        item = self._read(require(event, "item", dict))
        self.add(item, event.get("previous_item_id"))
        if self._approved_run_at_once and (request := self._history.just_approved()):
            self._mcp_calls.run_approved(request)

    def _retrieve(self, event: Event) -> None:
        item = self._history.find(require(event, "item_id", str), "retrieve")
        self._emit({"type": "conversation.item.retrieved", "item": item.shape})

    def _delete(self, event: Event) -> None:
        item_id = require(event, "item_id", str)
        self._history.remove(item_id)
        self._emit({"type": "conversation.item.deleted", "item_id": item_id})

    def _truncate(self, event: Event) -> None:
        item_id, index = require(event, "item_id", str), require(event, "content_index", int)
        end_ms = require(event, "audio_end_ms", int)
        self._history.find(item_id, "truncate").truncate(end_ms)
        place = {"item_id": item_id, "content_index": index, "audio_end_ms": end_ms}
        self._emit({"type": "conversation.item.truncated", **place})

    def _read(self, given: Event) -> Item:
        readers = {
            "message": _read_message,
            "function_call": _read_function_call,
            "function_call_output": self._read_function_output,
            "mcp_approval_response": self._read_approval,
        }
        kind = require(given, "type", str, "item.")
        if kind not in readers:
            raise unsupported("item.type", kind, list(readers))
        item_id = given.get("id") or new_id("item")
        if not isinstance(item_id, str) or len(item_id) > _LONGEST_ID:
            raise Rejected(
                "string_above_max_length",
                f"Invalid 'item.id': expected a string with maximum length {_LONGEST_ID}.",
                "item.id",
            )
        return readers[kind](item_id, given)

    def _read_function_output(self, item_id: str, given: Event) -> Item:
        call_id, output = require(given, "call_id", str, "item."), require(given, "output", str, "item.")
        calls = (item.shape for item in self._history if item.shape["type"] == "function_call")
        if not any(call["call_id"] == call_id for call in calls):
            raise Rejected(
                "invalid_value",
                f"No tool call found for function call output with call_id '{call_id}'.",
                "item.call_id",
            )
        shape = {"call_id": call_id, "output": output}
        return Item(_function_shape(item_id, "function_call_output", shape), text_tokens(output))

    def _read_approval(self, item_id: str, given: Event) -> Item:
        request_id, approve = (
            require(given, "approval_request_id", str, "item."),
            require(given, "approve", bool, "item."),
        )
        kinds = {item.id: item.shape["type"] for item in self._history}
        answered = {item.shape.get("approval_request_id") for item in self._history}
        if kinds.get(request_id) != "mcp_approval_request" or request_id in answered:
            raise Rejected(
                "invalid_value", f"No approval request is open with id '{request_id}'.", "item.approval_request_id"
            )
        answer = {"id": item_id, "type": "mcp_approval_response", "approval_request_id": request_id, "approve": approve}
        return Item(answer)


def _read_message(item_id: str, given: Event) -> Item:
    role = require(given, "role", str, "item.")
    if role not in _PARTS_BY_ROLE:
        raise unsupported("item.role", role, list(_PARTS_BY_ROLE))
    item = Item(message(item_id, role, []))
    for index, part in enumerate(require(given, "content", list, "item.")):
        path = f"item.content[{index}]"
        if not isinstance(part, dict) or part.get("type") not in _PARTS_BY_ROLE[role]:
            kind = part.get("type") if isinstance(part, dict) else part
            raise unsupported(f"{path}.type", kind, _PARTS_BY_ROLE[role])
        needed = {"text"} if part["type"].endswith("_text") else set()
        for field in needed | {name for name in ("audio", "transcript") if part.get(name) is not None}:
            require(part, field, str, f"{path}.")
        _weigh(item, part)
        item.shape["content"].append({name: value for name, value in part.items() if name != "audio"})
    return item


def _weigh(item: Item, part: Event) -> None:
    item.text_tokens += text_tokens(part.get("text"), part.get("transcript"))
    ms = len(part.get("audio") or "") * 3 // 4 // BYTES_PER_MS
    item.audio_ms, item.audio_tokens = item.audio_ms + ms, item.audio_tokens + heard_tokens(ms)


def _read_function_call(item_id: str, given: Event) -> Item:
    name, arguments = require(given, "name", str, "item."), require(given, "arguments", str, "item.")
    call_id = require({"call_id": new_id("call"), **given}, "call_id", str, "item.")
    shape = {"call_id": call_id, "name": name, "arguments": arguments}
    return Item(_function_shape(item_id, "function_call", shape), text_tokens(name, arguments))


def _function_shape(item_id: str, kind: str, fields: Event) -> Event:
    return {"id": item_id, "object": "realtime.item", "type": kind, "status": "completed", **fields}
