"""Input transcription: a second model that writes down what the user said, in its own time."""

import asyncio
from collections.abc import Callable

from stage.gpt.history import Item, text_tokens
from stage.gpt.shapes import Event

_HEARD = "Hello, can you help me with my booking?"
_WORD_INTERVAL_S = 0.02


async def transcribe(item: Item, emit: Callable[[Event], None], *, by_duration: bool) -> None:
    """Emit the deltas of `item`'s transcript, then put it on the item. `by_duration`: how it is billed."""
    place = {"item_id": item.id, "content_index": 0}
    for index, word in enumerate(_HEARD.split()):
        await asyncio.sleep(_WORD_INTERVAL_S)
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
