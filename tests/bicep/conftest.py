"""Copies of `bicep/` to break."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

BICEP = Path(__file__).parents[2] / "bicep"
Broken = Callable[[str, str, str], Path]


@pytest.fixture
def bicep() -> Path:
    return BICEP


@pytest.fixture
def broken(tmp_path: Path) -> Broken:
    """Puts one text into the place of another, in one file of a copy, and says where the copy is."""
    copy = shutil.copytree(BICEP, tmp_path / "bicep")

    def change(file: str, old: str, new: str) -> Path:
        text = (copy / file).read_text()
        assert old in text, f"{file} has no {old!r} to break"
        (copy / file).write_text(text.replace(old, new, 1))
        return copy

    return change
