"""One response as events, from `response.created` to `response.done`; `speaking` gives it its pace.

Each method emits its events in one piece and never waits, so nothing can come between them.
"""

from collections.abc import Callable
from dataclasses import dataclass

from stage.gpt.answers import Ask
from stage.gpt.history import History, usage
from stage.gpt.mcp import McpCall, RunningCalls, place_of
from stage.gpt.outputs import Output, Step
from stage.gpt.record import NoteResponse, Sent
from stage.gpt.shapes import Event, new_id, rate_limits
from stage.gpt.unverified import Unverified


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
        """The call is gone, and there is nobody to tell."""
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
