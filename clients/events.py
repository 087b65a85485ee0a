"""The model's events: what a caller asks for with session.update, and pieces of any event, whatever its shape.

A harness must survive a broken model, so no reader here expects a field to be there or of its type.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from clients.speech import RATE_HZ

Event = dict[str, Any]
# The code of a response that failed because the deployment has no tokens left for it: the socket stays open.
THROTTLED = "inference_rate_limit_exceeded"
_FORMAT = {"type": "audio/pcm", "rate": RATE_HZ}
SERVER_VAD: Event = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "create_response": True,
}
INSTRUCTIONS = "This is a test call. Whatever you hear, answer in one short sentence."


def parse(message: bytes) -> Event | None:
    """None for what is no JSON object."""
    try:
        event = orjson.loads(message)
    except orjson.JSONDecodeError:
        return None
    return event if isinstance(event, dict) else None


def part_of(event: Event, name: str) -> Event:
    """Empty where there is no such object."""
    part = event.get(name)
    return part if isinstance(part, dict) else {}


def list_of(event: Event, name: str) -> list[Event]:
    """The objects in it; empty where there is no such list."""
    parts = event.get(name)
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def text_of(event: Event, name: str) -> str | None:
    value = event.get(name)
    return None if value is None else str(value)


def field_of(event: Event, part: str, name: str) -> str | None:
    return text_of(part_of(event, part), name)


def failure_of(response: Event) -> str | None:
    details = part_of(response, "status_details")
    return field_of(details, "error", "message") or field_of(response, "status_details", "reason")


def failure_code_of(response: Event) -> str | None:
    return field_of(part_of(response, "status_details"), "error", "code")


def terms(
    *, detection: Event | None = SERVER_VAD, instructions: str = INSTRUCTIONS, tools: Sequence[Event] = ()
) -> Event:
    """The `session` of a session.update. `detection` None: the caller decides when a turn is over."""
    wanted: Event = {
        "type": "realtime",
        "instructions": instructions,
        "output_modalities": ["audio"],
        "audio": {"input": {"format": _FORMAT, "turn_detection": detection}, "output": {"format": _FORMAT}},
    }
    return wanted | ({"tools": list(tools), "tool_choice": "auto"} if tools else {})


def in_dialect_of(created: Event, wanted: Event) -> Event:
    """`wanted` in the dialect of the other end: the preview protocol's session has `modalities` and no type."""
    if "type" in created or "modalities" not in created:
        return wanted
    given = wanted["audio"]["input"]
    beta = {name: value for name, value in wanted.items() if name not in ("type", "output_modalities", "audio")}
    return beta | {
        "modalities": ["text", "audio"],
        "input_audio_format": "pcm16",
        "output_audio_format": "pcm16",
        "turn_detection": given["turn_detection"],
    }


def differences(wanted: Event, granted: Event) -> list[str]:
    """The paths at which `granted` is not what was asked for; other fields of it do not matter."""
    return sorted(_differences(wanted, granted, ""))


def _differences(wanted: Any, granted: Any, path: str) -> Iterator[str]:
    if isinstance(wanted, dict) and isinstance(granted, dict):
        for name, value in wanted.items():
            yield from _differences(value, granted.get(name), f"{path}.{name}" if path else name)
    elif isinstance(wanted, list) and isinstance(granted, list) and len(wanted) == len(granted):
        if all(isinstance(value, str) for value in wanted + granted):  # modalities, in whatever order
            wanted, granted = sorted(wanted), sorted(granted)
        for index, (one, other) in enumerate(zip(wanted, granted, strict=True)):
            yield from _differences(one, other, f"{path}[{index}]")
    elif isinstance(wanted, bool) is not isinstance(granted, bool) or wanted != granted:
        yield path
