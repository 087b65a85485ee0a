"""A caller says what a person recorded: the file is checked, brought to the model's rate, and heard as it is."""

import math
import wave
from array import array
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from clients import speech
from clients.speech import RATE_HZ, pieces
from tests.clients.conftest import HoldFactory, ModelFactory


def wav(path: Path, samples: Sequence[float], rate: int = RATE_HZ, channels: int = 1, width: int = 2) -> Path:
    """``samples`` are of 1; one byte wide they are unsigned."""
    scaled = (round(each * 32767) for each in samples)
    data = bytes(128 + (each >> 8) for each in scaled) if width == 1 else array("h", scaled).tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)
    return path


def tone(seconds: float, rate: int = RATE_HZ, hz: float = 220, level: float = 0.5) -> list[float]:
    return [level * math.sin(2 * math.pi * hz * at / rate) for at in range(round(seconds * rate))]


def quiet(seconds: float, rate: int = RATE_HZ) -> list[float]:
    return [0.0] * round(seconds * rate)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000])
def test_a_recording_of_any_usual_rate_keeps_its_length_its_pitch_and_its_level(tmp_path: Path, rate: int) -> None:
    samples = speech.read(str(wav(tmp_path / "said.wav", tone(1.0, rate), rate)))

    crossings = sum(before < 0 <= after for before, after in pairwise(samples))
    assert len(samples) / RATE_HZ == pytest.approx(1.0, abs=0.03)
    assert crossings == pytest.approx(220, abs=3)
    assert max(samples) == pytest.approx(0.5 * 32767, rel=0.05)


def test_the_silence_around_a_recording_is_left_out_and_what_is_heard_is_the_rest(tmp_path: Path) -> None:
    said = tone(0.5)
    samples = speech.read(str(wav(tmp_path / "said.wav", [*quiet(1), *said, *quiet(2)])))

    assert len(samples) / RATE_HZ == pytest.approx(0.5, abs=0.05)
    assert b"".join(piece.pcm for piece in pieces(samples)).rstrip(b"\0") == samples.tobytes().rstrip(b"\0")


BAD: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: wav(path, tone(1), channels=2), "has 2 channels of 16 bits, and it takes 1 of 16; for example: sox"),
    (lambda path: wav(path, tone(1), width=1), "has 1 channels of 8 bits"),
    (lambda path: wav(path, tone(1, 4000), 4000), "has 4000 samples a second, and it takes 8000 to 96000"),
    (lambda path: wav(path, quiet(1)), "is silent, and no model would answer it"),
    (lambda path: wav(path, []), "is silent"),
    (lambda path: wav(path, tone(0.04)), "has 0.04 s of speech, and it takes 0.1 to 30 s"),
    (lambda path: wav(path, tone(31)), "has 31.00 s of speech"),
    (lambda path: wav(path, [*tone(1), *quiet(0.8), *tone(1)]), "has a pause of 0.8 s"),
    (lambda path: path.write_bytes(b"ID3 an MP3"), "is no WAV file of PCM"),
    (lambda path: path.write_bytes(b"RIFF"), "is no WAV file of PCM"),
    (lambda path: None, "cannot be read: No such file or directory"),
]


@pytest.mark.parametrize(("make", "problem"), BAD)
def test_what_is_no_such_recording_is_refused_with_the_cause(
    tmp_path: Path, make: Callable[[Path], object], problem: str
) -> None:
    path = tmp_path / "said.wav"
    make(path)

    with pytest.raises(ValueError, match=r"said\.wav") as refused:
        speech.read(str(path))

    assert problem in str(refused.value)


async def test_a_hold_says_what_was_recorded_and_is_answered(
    model_for: ModelFactory, hold: HoldFactory, tmp_path: Path
) -> None:
    file = wav(tmp_path / "said.wav", tone(0.6, 16_000), 16_000)
    model = await model_for(silence_ms=300)

    holding = await hold(model.url, "--connections", "1", "--utterance-file", str(file))
    turn, *_ = await holding.observed("turn")
    (started,) = await holding.observed("hold.started")

    about = started["arguments"]
    assert (about["recorded"], about["utterance_s"]) == (True, pytest.approx(0.6, abs=0.05))
    assert turn["status"] == "completed"


async def test_a_bad_recording_is_a_bad_argument(hold: HoldFactory, tmp_path: Path) -> None:
    holding = await hold("ws://127.0.0.1:9", "--utterance-file", str(tmp_path / "none.wav"))

    result = await holding.result()

    assert result.code == 2
    assert "--utterance-file: " in result.stderr
    assert "none.wav cannot be read" in result.stderr
