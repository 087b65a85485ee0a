"""One response as the caller hears it: its audio counted, hashed and weighed, its words put together, its pauses."""

import hashlib
import math
from binascii import a2b_base64

from clients.events import Event, list_of, part_of, text_of
from clients.observations import AnswerHeard

BYTES_PER_S = 48_000  # PCM16 mono at 24 kHz, which every kind of call asks for
BYTES_PER_TOKEN = BYTES_PER_S // 20  # the service counts 50 ms of its own speech as one token
# Whether the service counts pauses and paddings in the same way is not documented, so the tolerance is wide.
TOLERATED_SHARE = 0.2
TOLERATED_BYTES = BYTES_PER_S // 2
SHORTEST_JUDGED_BYTES = BYTES_PER_S // 2
SILENT_BELOW = 0.001  # 33 of 32768: under the noise of any voice
_FULL_SCALE = 32768
# Loudness is an estimate from every 31st sample, some 770 a second: all of them would cost more than the rest together.
_STRIDE = 31


class Response:
    """`hear` is given its audio deltas, `hear_words` those of what can be read, `heard_delta` both, by item."""

    def __init__(self, id: str, now: float) -> None:
        self.id = id
        self.created_at = now
        self.first_audio_at: float | None = None
        self.worst_gap_s: float | None = None
        self.status: str | None = None  # from response.done
        self.audio_item: str | None = None
        self.audio_bytes = 0
        self.squares = 0.0
        self.samples = 0
        self.open_items: set[str | None] = set()
        self.closed_parts: set[tuple[str, str]] = set()
        self._deltas = 0
        self._audio_tokens: int | None = None
        self._sha256 = hashlib.sha256()
        self._last_deltas: dict[str | None, float] = {}
        self._words: dict[str | None, list[str]] = {}

    def heard_delta(self, item: str | None, now: float) -> None:
        last = self._last_deltas.get(item)
        if last is not None and now - last > (self.worst_gap_s or 0.0):
            self.worst_gap_s = now - last
        self._last_deltas[item] = now

    def hear(self, item: str | None, delta: str, now: float) -> None:
        """Raises ValueError for what is no base64."""
        pcm = a2b_base64(delta, strict_mode=True)
        if self.first_audio_at is None:
            self.first_audio_at, self.audio_item = now, item
        self._deltas += 1
        self.audio_bytes += len(pcm)
        self._sha256.update(pcm)
        picked = memoryview(pcm)[: len(pcm) & ~1].cast("h")[::_STRIDE]
        self.squares += math.hypot(*picked) ** 2
        self.samples += len(picked)

    def hear_words(self, item: str | None, delta: str) -> None:
        self._words.setdefault(item, []).append(delta)

    def end(self, response: Event) -> None:
        """Takes the `response` of response.done."""
        self.status = text_of(response, "status")
        tokens = part_of(part_of(response, "usage"), "output_token_details").get("audio_tokens")
        self._audio_tokens = tokens if isinstance(tokens, int) else None

    def wrong_length(self) -> str | None:
        """The difference in words, where the audio of a completed response is far from the tokens that it counts."""
        if self.status != "completed" or self._audio_tokens is None:
            return None
        meant = self._audio_tokens * BYTES_PER_TOKEN
        off = abs(meant - self.audio_bytes)
        if off <= max(TOLERATED_BYTES, TOLERATED_SHARE * meant) and (self.audio_bytes or not meant):
            return None
        return f"{self.audio_bytes} bytes of audio where {self._audio_tokens} tokens are {meant}"

    def other_words(self, response: Event) -> str | None:
        """Where the deltas of an item do not make up what the `response` of response.done has of it; in characters.

        Only of a completed response: an interruption takes words back.
        """
        for item in list_of(response, "output") if self.status == "completed" else ():
            parts = list_of(item, "content")
            sent = "".join(text_of(part, "transcript") or text_of(part, "text") or "" for part in parts)
            heard = "".join(self._words.get(text_of(item, "id"), ()))
            if heard != sent:
                other = "as many others" if len(heard) == len(sent) else str(len(sent))
                return f"{len(heard)} characters came in deltas, and its end has {other}"
        return None

    def is_silent(self) -> bool:
        return self.status == "completed" and self.audio_bytes >= SHORTEST_JUDGED_BYTES and self.loudness < SILENT_BELOW

    @property
    def loudness(self) -> float:
        return loudness(self.squares, self.samples)

    def as_heard(self) -> AnswerHeard:
        return {
            "id": self.id,
            "deltas": self._deltas,
            "audio_bytes": self.audio_bytes,
            "audio_sha256": self._sha256.hexdigest(),
            "audio_tokens": self._audio_tokens,
        }


def loudness(squares: float, samples: int) -> float:
    """The root mean square as a share of full scale."""
    return math.sqrt(squares / samples) / _FULL_SCALE if samples else 0.0
