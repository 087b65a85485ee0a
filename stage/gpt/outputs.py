"""What a response can produce - speech, text, a function call - while it is generated; `mcp` has two more.

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
    """`slices`: so many of the answer's, absent all. `phase`: what 2.x says the message is for."""

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
