"""The form of a check: decided from a record, never from a wish. Words that every sentence needs."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Status = Literal["pass", "fail", "inconclusive"]
STATUSES: tuple[Status, ...] = ("pass", "fail", "inconclusive")


@dataclass(frozen=True, slots=True)
class Check:
    """`sentence` says it to a person, with the cause where the record knows one."""

    name: str
    theme: str
    status: Status
    measured: str
    expected: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Named:
    """A check's constant half; calling it gives the whole."""

    name: str
    theme: str
    expected: str

    def __call__(self, status: Status | bool, measured: str, sentence: str, expected: str | None = None) -> Check:
        decided: Status = status if isinstance(status, str) else "pass" if status else "fail"
        return Check(self.name, self.theme, decided, measured, expected or self.expected, sentence)

    def unknown(self, sentence: str) -> Check:
        return self("inconclusive", "-", sentence)


def several(count: int, thing: str, things: str | None = None) -> str:
    """`1 call`, `2 calls`."""
    return f"{count} {thing if count == 1 else things or thing + 's'}"


def listed(words: Sequence[str], most: int = 4) -> str:
    shown = list(words[:most])
    if len(words) > most:
        shown.append(f"{len(words) - most} more")
    return ", ".join(shown)


def grouped(causes: Iterable[str]) -> str:
    """Each cause once, the most frequent first: `3 calls <cause>; 1 call <cause>`."""
    return "; ".join(f"{several(count, 'call')} {cause}" for cause, count in Counter(causes).most_common())
