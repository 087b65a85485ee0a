"""Input transcription: a second model that writes down what the user said, in its own time."""

import asyncio
from collections.abc import Callable

from stage.gpt.history import Item, text_tokens
from stage.gpt.shapes import Event

_HEARD = "Hello, can you help me with my booking?"


async def transcribe(item: Item, emit: Callable[[Event], None], seconds: float, *, by_duration: bool) -> None:
    """Emit the deltas of `item`'s transcript, then put it on the item. `by_duration`: how it is billed."""
    place = {"item_id": item.id, "content_index": 0}
    words = _HEARD.split()
    for index, word in enumerate(words):
        await asyncio.sleep(seconds / len(words))
        delta = f" {word}" if index else word
        emit({"type": "conversation.item.input_audio_transcription.delta", **place, "delta": delta})
    item.shape = {**item.shape, "content": [{"type": "input_audio", "transcript": _HEARD}]}
    done = {"transcript": _HEARD, "usage": _duration(item) if by_duration else _tokens(item)}
    emit({"type": "conversation.item.input_audio_transcription.completed", **place, **done})


def _tokens(item: Item) -> Event:
    written = text_tokens(_HEARD)
    return {
        "type": "tokens",
        "total_tokens": item.audio_tokens + written,
        "input_tokens": item.audio_tokens,
        "input_token_details": {"text_tokens": 0, "audio_tokens": item.audio_tokens},
        "output_tokens": written,
    }


def _duration(item: Item) -> Event:
    return {"type": "duration", "seconds": item.audio_ms / 1000}
