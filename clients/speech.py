"""What a caller says, as ready-made WebSocket messages: made once, sent by every call.

The voice is a buzz at the pitch of a speaker, shaped by the three resonances of a vowel and cut into syllables,
because a model's voice activity detection ignores a plain tone or noise.
"""

from __future__ import annotations  # array[int] has no run-time form before Python 3.12

import base64
import math
from array import array
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from typing import NamedTuple

import orjson

RATE_HZ = 24_000
CHUNK_S = 0.1
CHUNK_SAMPLES = int(RATE_HZ * CHUNK_S)
# Longer than the 500 ms of silence after which the model's server VAD, asked for in terms.py, ends a turn.
SILENCE_S = 0.8

SYLLABLE_S = 0.22
PAUSE_S = 0.05
LEVEL = 16_000  # of 32767: a close microphone
VOWELS_HZ = ((730, 1090, 2440), (270, 2290, 3010), (570, 840, 2410), (530, 1840, 2480))
FORMANT_WIDTH_HZ = 90


class Piece(NamedTuple):
    """100 ms of speech or silence: the message, and the PCM that is in it."""

    message: bytes
    pcm: bytes


def utterance(seconds: float) -> list[Piece]:
    """The made-up voice for so long."""
    return pieces(_voice(round(seconds * RATE_HZ)))


def pieces(samples: array[int]) -> list[Piece]:
    """`input_audio_buffer.append` events of 100 ms each; the last is filled up with silence."""
    return [_append(samples[at : at + CHUNK_SAMPLES]) for at in range(0, len(samples), CHUNK_SAMPLES)]


def _append(samples: array[int]) -> Piece:
    pcm = samples.tobytes().ljust(CHUNK_SAMPLES * samples.itemsize, b"\0")
    return Piece(orjson.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm).decode()}), pcm)


def _voice(count: int) -> array[int]:
    """PCM16 mono: the same few syllables over and over."""
    samples = [sample for formants in VOWELS_HZ for sample in _syllable(formants)]
    peak = max(map(abs, samples))
    return array("h", islice(cycle(round(sample / peak * LEVEL) for sample in samples), count))


def _syllable(formants: Sequence[float]) -> Iterator[float]:
    """Fades in and out while its pitch falls from 120 Hz, then pauses."""
    spoken, whole = int(SYLLABLE_S * RATE_HZ), int((SYLLABLE_S + PAUSE_S) * RATE_HZ)
    resonators = [_Resonator(frequency) for frequency in formants]
    phase = 0.0
    for at in range(whole):
        phase += (120 - 15 * at / whole) / RATE_HZ
        pulse, phase = (1.0, phase - 1) if phase >= 1 else (0.0, phase)
        fade = math.sin(math.pi * at / spoken) if at < spoken else 0.0
        yield fade * sum(resonator.ring(pulse) for resonator in resonators)


class _Resonator:
    """Two poles: a pulse makes it ring at its frequency and die away."""

    def __init__(self, frequency: float) -> None:
        radius = math.exp(-math.pi * FORMANT_WIDTH_HZ / RATE_HZ)
        self._back1 = 2 * radius * math.cos(2 * math.pi * frequency / RATE_HZ)
        self._back2 = -radius * radius
        self._last = self._before = 0.0

    def ring(self, pulse: float) -> float:
        now = pulse + self._back1 * self._last + self._back2 * self._before
        self._last, self._before = now, self._last
        return now


SILENCE = [_append(array("h"))] * round(SILENCE_S / CHUNK_S)
