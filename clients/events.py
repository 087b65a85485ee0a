"""Pieces of the model's events, whatever their shape: a harness outlives a broken model."""

from typing import Any

import orjson

Event = dict[str, Any]

# The code of a response that failed because the deployment has no tokens left for it: the socket stays open.
THROTTLED = "inference_rate_limit_exceeded"


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
