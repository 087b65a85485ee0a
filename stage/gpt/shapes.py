"""Events and items of the realtime protocol in GA form, and the history of one conversation.

Everything inside the simulated model speaks GA; `handshake` translates the preview dialect. Audio is never kept, only
its length, so a long call costs the stage little memory.
"""

import base64
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Event = dict[str, Any]
Kind = TypeVar("Kind")
_ID_LENGTH = 21  # what the service uses in practice
# The service drops the oldest items at 32k tokens ("truncation": "auto"); this bounds memory the same way.
REMEMBERED_ITEMS = 128
_INPUT_MS_PER_TOKEN = 100
_OUTPUT_MS_PER_TOKEN = 50
_KINDS: Mapping[type, str] = {
    bool: "a boolean",
    str: "a string",
    int: "an integer",
    dict: "an object",
    list: "an array",
}


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


@dataclass
class Item:
    shape: Event
    text_tokens: int = 0
    audio_tokens: int = 0
    audio_ms: int = 0

    @property
    def id(self) -> str:
        return str(self.shape["id"])

    def is_spoken_answer(self) -> bool:
        return self.shape.get("role") == "assistant" and self.audio_ms > 0

    def truncate(self, audio_end_ms: int) -> None:
        """Forget the audio after `audio_end_ms`, and the transcript too: it may have words that were not played."""
        if audio_end_ms > self.audio_ms:
            raise Rejected(
                "invalid_value",
                f"Audio content of {self.audio_ms}ms is already shorter than {audio_end_ms}ms",
                "audio_end_ms",
            )
        self.audio_ms, self.audio_tokens, self.text_tokens = audio_end_ms, spoken_tokens(audio_end_ms), 0
        self.shape = {**self.shape, "content": [{"type": "output_audio", "transcript": ""}]}


class History:
    def __init__(self) -> None:
        self._items: list[Item] = []

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    @property
    def last_type(self) -> str | None:
        return str(self._items[-1].shape["type"]) if self._items else None

    @property
    def last_id(self) -> str | None:
        return self._items[-1].id if self._items else None

    def just_approved(self) -> Item | None:
        """The request that the newest item approves."""
        last = self._items[-1].shape if self._items else {}
        if last.get("type") == "mcp_approval_response" and last["approve"]:
            return self.find(last["approval_request_id"], "create")
        return None

    def has_since_user(self, types: Collection[str]) -> bool:
        """Whether the newest user message has one of these types of items behind it."""
        for item in reversed(self._items):
            if item.shape.get("role") == "user":
                return False
            if item.shape["type"] in types:
                return True
        return False

    def last_user_text(self) -> str:
        """What the user last wrote; empty when the user's last turn was spoken."""
        for item in reversed(self._items):
            if item.shape.get("role") == "user":
                return " ".join(str(part.get("text", "")) for part in item.shape["content"])
        return ""

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Insert after the item `after` ("root": first; None: last) and return the id that now precedes it."""
        if any(known.id == item.id for known in self._items):
            raise Rejected("item_create_duplicate_item_id", f"Item with id '{item.id}' already exists.", "item.id")
        if after is None:
            place = len(self._items)
        elif after == "root":
            place = 0
        else:
            place = self._items.index(self.find(after, "create", "previous_item_id")) + 1
        previous = self._items[place - 1].id if place else None
        self._items.insert(place, item)
        del self._items[:-REMEMBERED_ITEMS]
        return previous

    def find(self, item_id: str, verb: str, param: str = "item_id") -> Item:
        for item in self._items:
            if item.id == item_id:
                return item
        raise Rejected(
            f"item_{verb}_invalid_{param}",
            f"Error {verb[:-1]}ing item: the item with id '{item_id}' does not exist.",
            param,
        )

    def remove(self, item_id: str) -> None:
        self._items.remove(self.find(item_id, "delete"))

    def tokens(self) -> tuple[int, int]:
        """(text, audio) of all items: what a response reads before it speaks."""
        return sum(item.text_tokens for item in self), sum(item.audio_tokens for item in self)


def text_tokens(*texts: object) -> int:
    return sum(-(-len(text) // 4) for text in texts if isinstance(text, str))


def heard_tokens(ms: int) -> int:
    return -(-ms // _INPUT_MS_PER_TOKEN)


def spoken_tokens(ms: int) -> int:
    return -(-ms // _OUTPUT_MS_PER_TOKEN)


def usage(read: tuple[int, int], cached: tuple[int, int], written: tuple[int, int]) -> dict[str, Any]:
    """A `usage` that adds up, each argument being (text, audio) tokens."""
    return {
        "total_tokens": sum(read) + sum(written),
        "input_tokens": sum(read),
        "output_tokens": sum(written),
        "input_token_details": {
            "text_tokens": read[0],
            "audio_tokens": read[1],
            "image_tokens": 0,
            "cached_tokens": sum(cached),
            "cached_tokens_details": {"text_tokens": cached[0], "audio_tokens": cached[1], "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": written[0], "audio_tokens": written[1]},
    }
