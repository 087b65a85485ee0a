"""The items of one conversation, in order, and what they weigh in tokens.

Audio itself is never kept, only its length: a long call costs the stage no memory to speak of.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from stage.gpt.shapes import Event, Rejected

# The service drops the oldest items at 32k tokens ("truncation": "auto"); this bounds memory the same way.
REMEMBERED_ITEMS = 128

_INPUT_MS_PER_TOKEN = 100
_OUTPUT_MS_PER_TOKEN = 50


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
        """Forget the audio after `audio_end_ms`, and the transcript with it, as it may name what was not heard."""
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
