"""JSON shapes of the realtime protocol that more than one module builds, in GA form.

Everything inside the simulated model speaks GA; `preview` translates at the edge.
"""

import base64
import random
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

Event = dict[str, Any]
Kind = TypeVar("Kind")

_ID_LENGTH = 21  # what the service uses in practice


class Rejected(Exception):
    """A client event the model will not act on: it becomes an `error` event and the session goes on."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


def new_id(prefix: str) -> str:
    """`prefix` and 21 alphanumerics; base64 letters, because this runs for every event sent."""
    letters = base64.b64encode(random.randbytes(16), altchars=b"Az")
    return f"{prefix}_{letters[:_ID_LENGTH].decode()}"


def error(code: str, message: str, param: str | None = None, event_id: str | None = None) -> Event:
    """`event_id` is the client's: the event that went wrong."""
    return {
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "code": code,
            "message": message,
            "param": param,
            "event_id": event_id,
        },
    }


def missing(param: str) -> Rejected:
    return Rejected("missing_required_parameter", f"Missing required parameter: '{param}'.", param)


def unsupported(param: str, value: object, supported: Sequence[str]) -> Rejected:
    choices = ", ".join(f"'{choice}'" for choice in supported)
    return Rejected("invalid_value", f"Invalid value: '{value}'. Supported values are: {choices}.", param)


def require(event: Mapping[str, Any], param: str, kind: type[Kind], within: str = "") -> Kind:
    """The field `param` of `event`, or the rejection the service would give. `within` is the outer path."""
    path, value = within + param, event.get(param)
    if value is None:
        raise missing(path)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise Rejected(
            "invalid_type",
            f"Invalid type for '{path}': expected {_KINDS[kind]}, but got {type(value).__name__} instead.",
            path,
        )
    return value


_KINDS: Mapping[type, str] = {
    bool: "a boolean",
    str: "a string",
    int: "an integer",
    dict: "an object",
    list: "an array",
}


def message(item_id: str, role: str, content: list[Event], status: str = "completed") -> Event:
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "status": status,
        "role": role,
        "content": content,
    }


def rate_limits(tokens_used: int) -> Event:
    limit = 100_000
    return {
        "type": "rate_limits.updated",
        "rate_limits": [
            {"name": "requests", "limit": 1000, "remaining": 999, "reset_seconds": 0.06},
            {
                "name": "tokens",
                "limit": limit,
                "remaining": limit - tokens_used,
                "reset_seconds": round(tokens_used * 60 / limit, 3),
            },
        ],
    }
