"""What the model's voice sounds like: one answer, synthesised once and shared by every call.

A spoken answer is a fixed list of slices of 100-250 ms, as the service sends them. Each time a slice is spoken its
first millisecond gets random low bits, which nobody hears: no two deltas of a model are the same bytes, so that audio
which is lost, repeated or somebody else's changes the hash of what was heard.
"""

import base64
import math
import random
from array import array
from collections.abc import Iterator
from itertools import cycle
from typing import NamedTuple

SAMPLE_RATE = 24_000
BYTES_PER_MS = SAMPLE_RATE * 2 // 1000

# Of the 24 samples of a slice's first millisecond; a multiple of 3, so that base64 can be cut behind it.
_STAMP_BYTES = 48

_SLICE_MS = (100, 150, 200, 250)
_SYLLABLE_MS = 250  # no slice is longer, or it would run out of sound
_WORD_MS = 300
_TEXT = (
    "Certainly, let me look into that for you. The train leaves at a quarter past nine from platform four, "
    "and there is still plenty of room on board. Shall I book two seats by the window?"
)


class Slice(NamedTuple):
    """One audio delta and the words that begin in it."""

    words: str
    pcm: bytes
    tail: str  # base64 of what follows the stamp
    ms: int

    def stamped(self) -> tuple[bytes, str]:
        """The PCM of this slice as it is spoken this once, and the same in base64."""
        head = bytearray(self.pcm[:_STAMP_BYTES])
        head[::2] = random.randbytes(_STAMP_BYTES // 2)  # the low byte of each sample
        return bytes(head) + self.pcm[_STAMP_BYTES:], base64.b64encode(head).decode() + self.tail


class Voice:
    """Immutable after construction; any number of calls read it at once."""

    def __init__(self, answer_seconds: float) -> None:
        self.answer = tuple(_cut(_syllable(), round(answer_seconds * 1000)))

    @property
    def text(self) -> str:
        return "".join(piece.words for piece in self.answer)

    def hum(self) -> Iterator[Slice]:
        """The voice without words, for as long as anybody listens."""
        for piece in cycle(self.answer):
            yield piece._replace(words="")


def _syllable() -> bytes:
    """A 120 Hz buzz with three formants that swells and fades: whole periods, so that syllables join cleanly."""
    partials = ((120, 0.5), (600, 0.25), (1080, 0.15), (2400, 0.1))
    turn = math.tau / SAMPLE_RATE
    samples = (
        round(9000 * math.sin(t * turn * 2) ** 2 * sum(a * math.sin(t * turn * f) for f, a in partials))
        for t in range(_SYLLABLE_MS * SAMPLE_RATE // 1000)
    )
    return array("h", samples).tobytes()


def _cut(syllable: bytes, total_ms: int) -> Iterator[Slice]:
    words = cycle(_TEXT.split())
    at_ms = spoken_until_ms = 0
    for slice_ms in cycle(_SLICE_MS):
        ms = min(slice_ms, total_ms - at_ms)
        if ms <= 0:
            return
        text = ""
        while spoken_until_ms < at_ms + ms:
            text += next(words) if not spoken_until_ms else f" {next(words)}"
            spoken_until_ms += _WORD_MS
        start = at_ms % _SYLLABLE_MS * BYTES_PER_MS
        pcm = (syllable * 2)[start : start + ms * BYTES_PER_MS]
        yield Slice(text, pcm, base64.b64encode(pcm[_STAMP_BYTES:]).decode(), ms)
        at_ms += ms
