"""Audio: the model's voice, the turns and the transcript of what the user says, and the idle timeout.

A spoken answer is a fixed list of slices of 100-250 ms, as the service sends them. It is synthesised once and shared by
every call. Each time a slice is spoken its first millisecond gets random low bits, which nobody hears: no two deltas of
a model are the same bytes, so that audio which is lost, repeated or of another call changes the hash of what was heard.

Time is audio time, the sum of what a client appended, never the clock: a client that pauses its stream pauses the
silence too. Loudness is read from every 11th sample; 11 shares no factor with the sample rate, so no test tone hides
between the samples that are read.
"""

import asyncio
import base64
import binascii
import hashlib
import math
import random
from array import array
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import cycle
from typing import Any, NamedTuple

from stage.gpt.shapes import Event, Item, text_tokens

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
_SAMPLES_PER_MS = SAMPLE_RATE // 1000
_WINDOW_SAMPLES = 20 * _SAMPLES_PER_MS
_STRIDE = 11
# Mean amplitude that a threshold of 1.0 asks for; the default 0.5 lies between line noise and a quiet voice.
_FULL_THRESHOLD = 1000
_ONSET_SAMPLES = 40 * _SAMPLES_PER_MS  # a click is not speech
_CACHED_CHARS = 32 * 1024
_HEARD = "Hello, can you help me with my booking?"


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
        """The voice without words, for as long as it is read."""
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


class Window(NamedTuple):
    samples: int
    loudness: float


class Sound(NamedTuple):
    """What one append carried: its PCM, and the loudness of it, 20 ms at a time."""

    pcm: bytes
    windows: tuple[Window, ...]


class Edge(NamedTuple):
    """Speech began or ended. `at_ms` is what the event reports: prefix padding and silence included."""

    speaking: bool
    at_ms: int


def measure(audio: str) -> Sound:
    """What base64 PCM16 sounds like. Raises ValueError when it is no base64."""
    return _measure_often(audio) if len(audio) <= _CACHED_CHARS else _measure(audio)


def _measure(audio: str) -> Sound:
    pcm = binascii.a2b_base64(audio, strict_mode=True)
    samples = memoryview(pcm)[: len(pcm) & ~1].cast("h")
    pieces = (samples[start : start + _WINDOW_SAMPLES] for start in range(0, len(samples), _WINDOW_SAMPLES))
    return Sound(pcm, tuple(Window(len(piece), _loudness(piece)) for piece in pieces))


# Test callers loop over the same few buffers: a hit costs 3 us, decoding and measuring 100 ms of audio 70 us.
_measure_often = lru_cache(maxsize=256)(_measure)


def _loudness(samples: "memoryview[int]") -> float:
    picked = samples[::_STRIDE]
    return sum(map(abs, picked)) / len(picked)


class Ears:
    def __init__(self, semantic_silence_ms: Mapping[str, int]) -> None:
        self._semantic_silence_ms = semantic_silence_ms
        self.speaking = False
        self.bytes = 0
        self._digest = hashlib.sha256()
        self._heard = self._loud = self._quiet = 0  # in samples

    @property
    def sha256(self) -> str:
        """Of the PCM of every append, one after the other, whatever became of it."""
        return self._digest.hexdigest()

    @property
    def heard_ms(self) -> int:
        return self._heard // _SAMPLES_PER_MS

    def hear(self, sound: Sound, detection: Mapping[str, Any] | None) -> Iterator[Edge]:
        """Take in audio and yield each edge as it is reached, so that the caller acts on one before the next."""
        self.bytes += len(sound.pcm)
        self._digest.update(sound.pcm)
        if detection is None:
            self._heard += sum(window.samples for window in sound.windows)
            return
        level = detection.get("threshold", 0.5) * _FULL_THRESHOLD
        silence = self._silence_ms(detection) * _SAMPLES_PER_MS
        for samples, loudness in sound.windows:
            self._heard += samples
            self._loud = self._loud + samples if loudness > level else 0
            self._quiet = self._quiet + samples if loudness <= level else 0
            if not self.speaking and self._loud >= _ONSET_SAMPLES:
                self.speaking = True
                onset_ms = (self._heard - self._loud) // _SAMPLES_PER_MS
                yield Edge(True, max(0, onset_ms - detection.get("prefix_padding_ms", 300)))
            elif self.speaking and self._quiet >= silence:
                self.speaking = False
                yield Edge(False, self.heard_ms)

    def forget(self) -> None:
        """Drop the utterance under way: the buffer was cleared or committed by hand."""
        self.speaking = False
        self._loud = self._quiet = 0

    def _silence_ms(self, detection: Mapping[str, Any]) -> int:
        if detection["type"] == "semantic_vad":
            return self._semantic_silence_ms[detection["eagerness"]]
        return int(detection["silence_duration_ms"])


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


class IdleTimer:
    """Runs from the end of an answer's playback. A client that sends nothing has no audio time."""

    def __init__(self, heard_ms: Callable[[], int], fire: Callable[[int], None]) -> None:
        """`fire` gets the audio time at which the answer had been played."""
        self._heard_ms, self._fire = heard_ms, fire
        self._timer: asyncio.TimerHandle | None = None

    def start(self, playback_s: float, timeout_s: float) -> None:
        """Begin anew."""
        self.stop()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(playback_s, self._played, timeout_s)

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _played(self, timeout_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(timeout_s, self._fire, self._heard_ms())
