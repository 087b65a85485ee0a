"""The form of a check: what it is called, what was measured, and each problem as a sentence."""

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """``measured`` in words; ``problems`` are empty when it held."""

    name: str
    measured: str
    problems: tuple[str, ...] = ()

    @property
    def held(self) -> bool:
        return not self.problems


def counted(counts: Counter[str] | Counter[int]) -> str:
    """The most frequent first: ``12 client, 3 upstream``."""
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "none"
