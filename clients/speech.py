"""What a caller says, as ready-made WebSocket messages: made once, sent by every call.

The made-up voice is a buzz at the pitch of a speaker, shaped by the three resonances of a vowel and cut into syllables,
because a model's voice activity detection ignores a plain tone or noise. In its place a person's recording may be used.
"""

from __future__ import annotations  # array[int] has no run-time form before Python 3.12

import base64
import math
import sys
import wave
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate, cycle, islice
from typing import NamedTuple

import orjson

RATE_HZ = 24_000
CHUNK_S = 0.1
CHUNK_SAMPLES = int(RATE_HZ * CHUNK_S)
# Longer than the 500 ms of silence after which the model's server VAD, asked for in events.py, ends a turn.
SILENCE_S = 0.8
SYLLABLE_S = 0.22
PAUSE_S = 0.05
LEVEL = 16_000  # of 32767: a close microphone
VOWELS_HZ = ((730, 1090, 2440), (270, 2290, 3010), (570, 840, 2410), (530, 1840, 2480))
FORMANT_WIDTH_HZ = 90
SAMPLE_BYTES = 2
RATES_HZ = (8_000, 96_000)
SECONDS = (0.1, 30.0)
WINDOW_S = 0.02
LOUD = 0.03
"""Of the loudest part: what is below is a pause."""
AUDIBLE = 300
"""Of 32767: a recording in which nothing is louder is silence, and no model would answer it."""
LONGEST_PAUSE_S = 0.5
"""Silence after which the model takes a turn for ended: the rest would be spoken into its answer."""


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


def read(path: str) -> array[int]:
    """A WAV file as PCM16 mono at the model's rate, without silence around it. Raises ValueError with the cure."""
    try:
        with wave.open(path, "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            frames = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path} is no WAV file of PCM ({error}){_cure()}") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
    if (channels, width) != (1, SAMPLE_BYTES):
        raise ValueError(f"{path} has {channels} channels of {8 * width} bits, and it takes 1 of 16{_cure()}")
    if not RATES_HZ[0] <= rate <= RATES_HZ[1]:
        raise ValueError(f"{path} has {rate} samples a second, and it takes {RATES_HZ[0]} to {RATES_HZ[1]}{_cure()}")
    samples = array("h", frames[: len(frames) // SAMPLE_BYTES * SAMPLE_BYTES])
    if sys.byteorder == "big":
        samples.byteswap()
    return _checked(path, _resampled(samples, rate))


def _cure() -> str:
    return f"; for example: sox IN -b 16 -c 1 -r {RATE_HZ} OUT.wav"


def _checked(path: str, samples: array[int]) -> array[int]:
    size = int(WINDOW_S * RATE_HZ)
    peaks = [max(map(abs, samples[at : at + size])) for at in range(0, len(samples), size)]
    loudest = max(peaks, default=0)
    if loudest < AUDIBLE:
        raise ValueError(f"{path} is silent, and no model would answer it: record it louder")
    loud = [index for index, peak in enumerate(peaks) if peak >= LOUD * loudest]
    pause_s = max((after - before - 1) * WINDOW_S for before, after in zip(loud, [*loud[1:], loud[-1]], strict=True))
    if pause_s >= LONGEST_PAUSE_S:
        raise ValueError(
            f"{path} has a pause of {pause_s:.1f} s, after which a model answers: it takes one sentence without"
        )
    spoken = samples[loud[0] * size : (loud[-1] + 1) * size]
    seconds = len(spoken) / RATE_HZ
    if not SECONDS[0] <= seconds <= SECONDS[1]:
        raise ValueError(f"{path} has {seconds:.2f} s of speech, and it takes {SECONDS[0]:g} to {SECONDS[1]:g} s")
    return spoken


def _resampled(samples: array[int], rate: int) -> array[int]:
    """Between the two samples around, each the mean of as many as become one: speech needs no better."""
    if rate == RATE_HZ or not samples:
        return samples
    width = max(1, round(rate / RATE_HZ))
    sums = [0, *accumulate(samples)]
    smooth = [(sums[at + width] - sums[at]) / width for at in range(len(samples) - width + 1)] or [float(samples[0])]
    resampled = array("h")
    for index in range(len(samples) * RATE_HZ // rate):
        at, part = divmod(index * rate, RATE_HZ)
        left, right = smooth[min(at, len(smooth) - 1)], smooth[min(at + 1, len(smooth) - 1)]
        resampled.append(round(left + (right - left) * part / RATE_HZ))
    return resampled
