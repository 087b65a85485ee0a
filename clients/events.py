"""Reading the model's events: the type from the head of the text, the rest only of the few that matter.

Audio is by far the most of what arrives, and none of it is ever parsed.
"""

import re
from typing import Any

import orjson

AUDIO_DELTAS = {b"response.output_audio.delta", b"response.audio.delta"}  # GA, beta

# The type is the first field or follows event_id; anywhere deeper it may be the type of something else.
_TYPE = re.compile(rb'\s*\{\s*(?:"event_id"\s*:\s*"[^"]*"\s*,\s*)?"type"\s*:\s*"([^"]+)"')


def type_of(message: bytes) -> bytes:
    head = _TYPE.match(message)
    return head[1] if head else str(parse(message).get("type")).encode()


def parse(message: bytes) -> dict[str, Any]:
    """Empty for what is no JSON object: a harness outlives a broken model."""
    try:
        event = orjson.loads(message)
    except orjson.JSONDecodeError:
        return {}
    return event if isinstance(event, dict) else {}


def part_of(event: dict[str, Any], name: str) -> dict[str, Any]:
    """Empty where there is no such object, like `parse`."""
    part = event.get(name)
    return part if isinstance(part, dict) else {}


def field_of(event: dict[str, Any], part: str, name: str) -> str | None:
    value = part_of(event, part).get(name)
    return None if value is None else str(value)


def failure_of(response: dict[str, Any]) -> str | None:
    details = part_of(response, "status_details")
    return field_of(details, "error", "message") or field_of(response, "status_details", "reason")
