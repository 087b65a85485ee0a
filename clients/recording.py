"""What a person said, from a WAV file, in place of the made-up voice: as PCM that the model takes."""

from __future__ import annotations  # array[int] has no run-time form before Python 3.12

import sys
import wave
from array import array
from itertools import accumulate

from clients.speech import RATE_HZ

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


def read(path: str) -> array[int]:
    """PCM16 mono at the model's rate, without the silence around it. Raises ValueError with the cause and the cure."""
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
        raise ValueError(f"{path} is silent, and nobody would answer it: record it louder")
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
    found = array("h")
    for index in range(len(samples) * RATE_HZ // rate):
        at, part = divmod(index * rate, RATE_HZ)
        left, right = smooth[min(at, len(smooth) - 1)], smooth[min(at + 1, len(smooth) - 1)]
        found.append(round(left + (right - left) * part / RATE_HZ))
    return found
