"""The terms a caller asks for with session.update, and whether session.updated grants them."""

from collections.abc import Iterator, Sequence
from typing import Any

from clients.events import Event
from clients.speech import RATE_HZ

_FORMAT = {"type": "audio/pcm", "rate": RATE_HZ}
SERVER_VAD: Event = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "create_response": True,
}
INSTRUCTIONS = "This is a test call. Whatever you hear, answer in one short sentence."


def terms(
    *, detection: Event | None = SERVER_VAD, instructions: str = INSTRUCTIONS, tools: Sequence[Event] = ()
) -> Event:
    """The `session` of a session.update. `detection` None: the caller says itself when a turn is over."""
    asked: Event = {
        "type": "realtime",
        "instructions": instructions,
        "output_modalities": ["audio"],
        "audio": {"input": {"format": _FORMAT, "turn_detection": detection}, "output": {"format": _FORMAT}},
    }
    return asked | ({"tools": list(tools), "tool_choice": "auto"} if tools else {})


def in_dialect_of(created: Event, asked: Event) -> Event:
    """`asked` as the other end speaks: the preview protocol's session has `modalities` and no type."""
    if "type" in created or "modalities" not in created:
        return asked
    given = asked["audio"]["input"]
    beta = {name: value for name, value in asked.items() if name not in ("type", "output_modalities", "audio")}
    return beta | {
        "modalities": ["text", "audio"],
        "input_audio_format": "pcm16",
        "output_audio_format": "pcm16",
        "turn_detection": given["turn_detection"],
    }


def differences(asked: Event, granted: Event) -> list[str]:
    """The paths at which `granted` is not what was asked for; what else it has is the service's own business."""
    return sorted(_differences(asked, granted, ""))


def _differences(asked: Any, granted: Any, path: str) -> Iterator[str]:
    if isinstance(asked, dict) and isinstance(granted, dict):
        for name, value in asked.items():
            yield from _differences(value, granted.get(name), f"{path}.{name}" if path else name)
    elif isinstance(asked, list) and isinstance(granted, list) and len(asked) == len(granted):
        if all(isinstance(value, str) for value in asked + granted):  # modalities, in whatever order
            asked, granted = sorted(asked), sorted(granted)
        for index, (one, other) in enumerate(zip(asked, granted, strict=True)):
            yield from _differences(one, other, f"{path}[{index}]")
    elif isinstance(asked, bool) is not isinstance(granted, bool) or asked != granted:
        yield path
