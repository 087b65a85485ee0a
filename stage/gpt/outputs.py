"""The three things a response can produce - speech, text, a function call - while it is generated.

An output knows its own events; the response that carries it adds the ids and the pace.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from stage.gpt.history import Item, spoken_tokens, text_tokens
from stage.gpt.shapes import Event, message, new_id
from stage.gpt.voice import Slice, Voice

_WORD_SECONDS = 0.3
_SAMPLES: Mapping[str, object] = {"integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}, "null": None}


class Step(NamedTuple):
    """Events that leave together, and how long they last at the speed of speech."""

    events: list[Event]
    seconds: float


class Output(ABC):
    """One item from `response.output_item.added` to `.done`."""

    is_part = True  # lives in a content part of a message, so its events carry a content_index

    def __init__(self) -> None:
        self.item = Item(shape={"id": new_id("item")})
        self.settle("in_progress")

    @abstractmethod
    def settle(self, status: str) -> None:
        """Write what was said so far, and `status`, into the item."""

    @abstractmethod
    def steps(self) -> Iterator[Step]: ...

    @abstractmethod
    def closing(self) -> list[Event]:
        """The `.done` events of what was said so far."""

    def opening(self) -> list[Event]:
        return []

    def filler(self) -> Iterator[Step]:
        """What comes when a response may not end: nothing, unless the output can hum."""
        return iter(())


class Speech(Output):
    def __init__(self, voice: Voice) -> None:
        self._voice, self._said = voice, ""
        super().__init__()

    def settle(self, status: str) -> None:
        content = [{"type": "output_audio", "transcript": self._said}] if status != "in_progress" else []
        self.item.shape = message(self.item.id, "assistant", content, status)

    def opening(self) -> list[Event]:
        return [{"type": "response.content_part.added", "part": {"type": "audio", "transcript": ""}}]

    def steps(self) -> Iterator[Step]:
        return map(self._say, self._voice.answer)

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
        return Step([*words, {"type": "response.output_audio.delta", "delta": piece.audio}], piece.ms / 1000)


class Text(Output):
    def __init__(self, text: str) -> None:
        self._words, self._said = text.split(" "), ""
        super().__init__()

    def settle(self, status: str) -> None:
        content = [{"type": "output_text", "text": self._said}] if status != "in_progress" else []
        self.item.shape = message(self.item.id, "assistant", content, status)

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


class FunctionCall(Output):
    is_part = False

    def __init__(self, tool: Mapping[str, Any]) -> None:
        self._name, self._call_id, self._written = str(tool["name"]), new_id("call"), ""
        self._arguments = json.dumps(_sample(tool.get("parameters") or {"type": "object"}))
        super().__init__()

    def settle(self, status: str) -> None:
        self.item.shape = {
            "id": self.item.id,
            "object": "realtime.item",
            "type": "function_call",
            "status": status,
            "name": self._name,
            "call_id": self._call_id,
            "arguments": self._written,
        }

    def steps(self) -> Iterator[Step]:
        rest = iter(self._arguments)
        while piece := "".join(islice(rest, 8)):
            self._written += piece
            self.item.text_tokens = text_tokens(self._name, self._written)
            delta = {"type": "response.function_call_arguments.delta", "call_id": self._call_id, "delta": piece}
            yield Step([delta], _WORD_SECONDS)

    def closing(self) -> list[Event]:
        done = {"name": self._name, "arguments": self._written}
        return [{"type": "response.function_call_arguments.done", "call_id": self._call_id, **done}]


def _sample(schema: object) -> object:
    """A value that a JSON schema as plain as most tools' accepts."""
    if not isinstance(schema, dict):
        return "example"
    if schema.get("enum"):
        return schema["enum"][0]
    if isinstance(properties := schema.get("properties"), dict):
        return {name: _sample(inner) for name, inner in properties.items()}
    return _SAMPLES.get(str(schema.get("type")), "example")
