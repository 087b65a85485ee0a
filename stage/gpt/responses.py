"""One response as events, from `response.created` to `response.done`; `speaking` gives it its pace.

Each method emits its events in one piece and never waits, so nothing can come between them.
"""

from collections.abc import Callable
from dataclasses import dataclass

from stage.gpt.answers import Ask
from stage.gpt.history import History, usage
from stage.gpt.outputs import Output
from stage.gpt.shapes import Event, new_id, rate_limits


@dataclass
class Floor:
    """What every response of a call shares."""

    conversation_id: str
    history: History
    emit: Callable[[Event], None]
    rate_limits_first: bool
    cached: tuple[int, int] = (0, 0)  # (text, audio) tokens of the last prompt that the next finds in the cache


class Response:
    """`begin`, `open`, any number of `say`, `finish`; a response cut early may finish unopened."""

    def __init__(self, floor: Floor, ask: Ask, output: Output) -> None:
        self.id = new_id("resp")
        self.active = False
        self._floor, self._ask, self._output = floor, ask, output
        self._opened = False
        text, audio = floor.history.tokens()
        self._read = (text + ask.prompt_tokens, audio)

    @property
    def written(self) -> tuple[int, int]:
        """(text, audio) tokens so far."""
        return self._output.item.text_tokens, self._output.item.audio_tokens

    def begin(self) -> None:
        self.active = True
        self._floor.emit({"type": "response.created", "response": self._shape("in_progress")})
        if self._floor.rate_limits_first:
            self._floor.emit(rate_limits(sum(self._read)))

    def open(self) -> None:
        self._opened = True
        item = self._output.item
        self._previous = None if self._ask.out_of_band else self._floor.history.add(item)
        self._emit_output_item("added")
        self._emit_conversation_item("added")
        self.say(self._output.opening())

    def say(self, events: list[Event]) -> None:
        place: Event = {"response_id": self.id, "item_id": self._output.item.id, "output_index": 0}
        if self._output.is_part:
            place["content_index"] = 0
        for event in events:
            self._floor.emit({**event, **place})

    def finish(self, status: str, reason: str | None = None) -> None:
        if self._opened:
            self.say(self._output.closing())
            self._output.settle("completed" if status == "completed" else "incomplete")
            self._emit_conversation_item("done")
            self._emit_output_item("done")
        done = self._shape(status)
        done["status_details"] = {"type": status, "reason": reason} if reason else None
        done["usage"] = self._usage()
        self._floor.emit({"type": "response.done", "response": done})
        self.active = False
        if not self._floor.rate_limits_first:
            self._floor.emit(rate_limits(done["usage"]["total_tokens"]))

    def _usage(self) -> Event:
        cached = self._floor.cached
        self._floor.cached = _cacheable(self._read[0]), _cacheable(self._read[1])
        return usage(self._read, (min(cached[0], self._read[0]), min(cached[1], self._read[1])), self.written)

    def _emit_output_item(self, what: str) -> None:
        place = {"response_id": self.id, "output_index": 0}
        self._floor.emit({"type": f"response.output_item.{what}", **place, "item": self._output.item.shape})

    def _emit_conversation_item(self, what: str) -> None:
        if not self._ask.out_of_band:
            item = {"previous_item_id": self._previous, "item": self._output.item.shape}
            self._floor.emit({"type": f"conversation.item.{what}", **item})

    def _shape(self, status: str) -> Event:
        finished = self._opened and status != "in_progress"
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": None,
            "output": [self._output.item.shape] if finished else [],
            "conversation_id": None if self._ask.out_of_band else self._floor.conversation_id,
            "output_modalities": self._ask.output_modalities,
            "max_output_tokens": self._ask.max_output_tokens,
            "audio": {"output": self._ask.audio_output},
            "usage": None,
            "metadata": self._ask.metadata,
        }


def _cacheable(tokens: int) -> int:
    """The service caches prompts in blocks of 64 tokens."""
    return tokens // 64 * 64
