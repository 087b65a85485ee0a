"""What a call used, as the model reports it: tokens of each kind, and seconds of transcribed audio."""

from typing import Any


class Usage:
    """The usage that the model reported for one call: tokens, and seconds of transcribed audio."""

    __slots__ = (
        "cached",
        "in_audio",
        "in_text",
        "out_audio",
        "out_text",
        "tokens_in",
        "tokens_out",
        "transcription_s",
        "transcription_tokens",
    )

    def __init__(self) -> None:
        self.tokens_in = self.tokens_out = 0
        self.in_text = self.in_audio = self.cached = 0
        self.out_text = self.out_audio = 0
        self.transcription_tokens = 0
        self.transcription_s = 0.0

    def of_response(self, usage: dict[str, Any]) -> None:
        """Adds the ``usage`` of a `response.done`. ``cached`` tokens are a part of the input tokens."""
        self.tokens_in += _count(usage.get("input_tokens"))
        self.tokens_out += _count(usage.get("output_tokens"))
        supplied, produced = as_object(usage.get("input_token_details")), as_object(usage.get("output_token_details"))
        self.in_text += _count(supplied.get("text_tokens"))
        self.in_audio += _count(supplied.get("audio_tokens"))
        self.cached += _count(supplied.get("cached_tokens"))
        self.out_text += _count(produced.get("text_tokens"))
        self.out_audio += _count(produced.get("audio_tokens"))

    def of_transcription(self, usage: dict[str, Any]) -> None:
        """Adds the ``usage`` of a transcription, which is billed by tokens or by the length of the audio."""
        self.transcription_tokens += _count(usage.get("total_tokens"))
        seconds = usage.get("seconds")
        if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 < seconds < 86_400:
            self.transcription_s += seconds

    def tokens(self) -> dict[str, int]:
        """The tokens by their names in `connection.closed`."""
        return {
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "tokens_in_text": self.in_text,
            "tokens_in_audio": self.in_audio,
            "tokens_in_cached": self.cached,
            "tokens_out_text": self.out_text,
            "tokens_out_audio": self.out_audio,
            "transcription_tokens": self.transcription_tokens,
        }


def as_object(value: object) -> dict[str, Any]:
    """A part of an event that should be an object; empty when it is not one."""
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53 else 0
