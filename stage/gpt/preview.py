"""Preview (beta) events from GA ones and back: names, content types, the session's and the response's shape.

Preview's `conversation.item.created` is GA's `.added`; it has nothing for GA's `.done`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from stage.gpt.shapes import Event
from stage.gpt.terms import PCM

_EVENT_NAMES: Mapping[str, str] = {
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "conversation.item.added": "conversation.item.created",
}
_PART_NAMES: Mapping[str, str] = {"output_audio": "audio", "output_text": "text"}
_GA_PART_NAMES: Mapping[str, str] = {name: ga for ga, name in _PART_NAMES.items()}
_TEMPERATURE = 0.8


def _modalities_to_ga(modalities: Any) -> Any:
    return ["audio"] if isinstance(modalities, list) and "audio" in modalities else modalities


def _modalities_from_ga(modalities: Any) -> Any:
    return ["text", "audio"] if modalities == ["audio"] else modalities


def _same(value: Any) -> Any:
    return value


def _detection_from_ga(detection: Any) -> Any:
    return detection and {name: value for name, value in detection.items() if name != "idle_timeout_ms"}


class _Field(NamedTuple):
    """Where GA keeps a preview field, and its value there and back."""

    path: tuple[str, ...]
    to_ga: Callable[[Any], Any] = _same
    from_ga: Callable[[Any], Any] = _same


def _audio_format(side: str) -> _Field:
    return _Field(("audio", side, "format"), lambda name: PCM if name == "pcm16" else name, lambda _: "pcm16")


_FIELDS: Mapping[str, _Field] = {
    "modalities": _Field(("output_modalities",), _modalities_to_ga, _modalities_from_ga),
    "voice": _Field(("audio", "output", "voice")),
    "speed": _Field(("audio", "output", "speed")),
    "input_audio_format": _audio_format("input"),
    "output_audio_format": _audio_format("output"),
    "input_audio_transcription": _Field(("audio", "input", "transcription")),
    "input_audio_noise_reduction": _Field(("audio", "input", "noise_reduction")),
    "turn_detection": _Field(("audio", "input", "turn_detection"), from_ga=_detection_from_ga),
    "max_response_output_tokens": _Field(("max_output_tokens",)),
}
ONLY_IN_PREVIEW = frozenset({*_FIELDS, "temperature"})
ONLY_IN_GA = frozenset({"type", "audio", "output_modalities", "max_output_tokens", "reasoning", "parallel_tool_calls"})
_GA_FIELDS = ONLY_IN_GA | {"truncation", "prompt", "include"}


def to_ga(event: Event) -> Event:
    told = dict(event)
    for name, translate in (("session", _fields_to_ga), ("response", _fields_to_ga), ("item", _item_to_ga)):
        if isinstance(told.get(name), dict):
            told[name] = translate(told[name])
    return told


def from_ga(event: Event) -> Event | None:
    if event["type"] == "conversation.item.done":
        return None
    told = {**event, "type": _EVENT_NAMES.get(event["type"], event["type"])}
    for name, translate in (("session", _session), ("response", _response), ("item", _item)):
        if name in told:
            told[name] = translate(told[name])
    if told["type"] == "response.function_call_arguments.done":
        del told["name"]
    return told


def _fields_to_ga(fields: Event) -> Event:
    ga: Event = {name: value for name, value in fields.items() if name not in _FIELDS}
    for name, field in _FIELDS.items():
        if name in fields:
            place, (*outer, last) = ga, field.path
            for step in outer:
                place = place.setdefault(step, {})
            place[last] = field.to_ga(fields[name])
    return ga


def _session(session: Event) -> Event:
    told = {"temperature": _TEMPERATURE} | {name: it for name, it in session.items() if name not in _GA_FIELDS}
    for name, field in _FIELDS.items():
        value: Any = session
        for step in field.path:
            value = value[step]
        told[name] = field.from_ga(value)
    return told


def _response(response: Event) -> Event:
    told = {name: value for name, value in response.items() if name not in ("audio", "output_modalities")}
    return told | {
        "modalities": _modalities_from_ga(response["output_modalities"]),
        "output": [_item(item) for item in response["output"]],
        "voice": response["audio"]["output"]["voice"],
        "output_audio_format": "pcm16",
        "temperature": _TEMPERATURE,
    }


def _item(item: Event) -> Event:
    return _rename_parts({name: value for name, value in item.items() if name != "phase"}, _PART_NAMES)


def _item_to_ga(item: Event) -> Event:
    return _rename_parts(item, _GA_PART_NAMES)


def _rename_parts(item: Event, names: Mapping[str, str]) -> Event:
    if not isinstance(item.get("content"), list):
        return item
    parts = [
        part | {"type": names.get(str(part.get("type")), part.get("type"))} if isinstance(part, dict) else part
        for part in item["content"]
    ]
    return {**item, "content": parts}
