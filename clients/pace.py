"""When calls act: always a little apart, so that many of them never act in step."""

import random
from collections.abc import Iterator

FIRST_BACKOFF_S = 0.25
LONGEST_BACKOFF_S = 5.0


def between(least: float, most: float) -> float:
    return random.uniform(least, most)  # noqa: S311 - spreads load, guards nothing


def backoff() -> Iterator[float]:
    """Seconds before each attempt, growing by the golden ratio."""
    longest = FIRST_BACKOFF_S
    while True:
        yield between(longest / 2, longest)
        longest = min(longest * 1.618, LONGEST_BACKOFF_S)
