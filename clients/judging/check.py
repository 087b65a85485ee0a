"""The form of a check: decided from a record, never from a wish. Words for its sentence, and the times it compares."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from clients.evidence import Evidence

Status = Literal["pass", "fail", "inconclusive"]
STATUSES: tuple[Status, ...] = ("pass", "fail", "inconclusive")
FEWEST = 5
"""Values, turns or calls; with fewer nothing is decided."""
UNKNOWN = "an unknown revision"
"""Where the 101 does not say which: it is judged like any other."""
Span = tuple[float, float]
ALWAYS: Span = (float("-inf"), float("inf"))


@dataclass(frozen=True, slots=True)
class Check:
    """`sentence` is for people, with the cause where the record has it."""

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


def capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def shift_of(evidence: Evidence, baseline: Evidence | None) -> Span | None:
    """From the first change of weights on. With a baseline the whole record may be compared with that."""
    if len(evidence.windows) > 1:
        return evidence.windows[1].start, float("inf")
    return ALWAYS if baseline is not None else None


def carriers(shift: Span, evidence: Evidence) -> list[str]:
    """Revisions that had a call during the shift."""
    mine = evidence.to_app or evidence.sessions
    seen = [each for each in mine if (each.end.at if each.end else evidence.ended) >= shift[0]]
    return list(dict.fromkeys(each.revision or UNKNOWN for each in seen))
