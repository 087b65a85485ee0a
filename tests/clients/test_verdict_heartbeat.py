"""A relay that no longer pings is found, though the calls of a hold ping by themselves and are never cut."""

from pathlib import Path
from typing import Any

import pytest

from clients.judging.check import Check
from tests.clients.lines import BLUE, GREEN, Lines, judged

SHIFT_AT = 60.0


def held_on_blue(unpinged: float = 25.0) -> Lines:
    """A call on blue before the shift, with its longest time without a ping."""
    lines = Lines()
    lines.weights(-1, blue=100)
    lines.hold(kinds=["silent"])
    lines.opened(0, 1, BLUE)
    lines.closed(40, 1, **told(40, unpinged))
    return lines


def heartbeat(tmp_path: Path, *green: tuple[float, float], blue: float = 25.0) -> Check:
    """A call on blue before the shift; calls on green, each of an age and its longest time without a ping."""
    lines = held_on_blue(blue)
    lines.weights(SHIFT_AT, green=100)
    for call, (age, unpinged) in enumerate(green, 2):
        lines.opened(SHIFT_AT + 1, call, GREEN)
        lines.closed(SHIFT_AT + 1 + age, call, **told(age, unpinged))
    return judged(lines, tmp_path)["quality.heartbeat"]


def told(age: float, unpinged: float) -> dict[str, Any]:
    return {"longest_unpinged_s": unpinged, "pings_heard": int(age > unpinged)}


@pytest.mark.parametrize(
    ("green", "blue", "status"),
    [
        ([(40, 26)], 25, "pass"),
        ([(36, 36)], 25, "fail"),
        ([(20, 20)], 25, "inconclusive"),
        ([(20, 20), (40, 25)], 25, "pass"),
        ([(40, 25), (36, 36)], 25, "fail"),
        ([(90, 90)], 100, "fail"),
        ([(50, 50)], 100, "inconclusive"),
    ],
    ids=["as before", "never", "too short to tell", "one heard it", "one did not", "no ping before", "nor since"],
)
def test_green_pings_as_often_as_blue(
    tmp_path: Path, green: list[tuple[float, float]], blue: float, status: str
) -> None:
    assert heartbeat(tmp_path, *green, blue=blue).status == status


def test_what_did_not_ping_is_named_with_its_time(tmp_path: Path) -> None:
    found = heartbeat(tmp_path, (36, 36))

    assert f"36 s on {GREEN}" in found.sentence
    assert "25 s before" in found.sentence


def test_a_green_that_is_tried_before_the_shift_is_no_measure_of_before(tmp_path: Path) -> None:
    lines = held_on_blue()
    lines.hold(20, url=f"ws://{GREEN}.stage.localhost", hold="tried")
    lines.opened(20, 1, GREEN, hold="tried")
    lines.closed(58, 1, hold="tried", **told(38, 37))
    lines.weights(SHIFT_AT, green=100)

    assert judged(lines, tmp_path)["quality.heartbeat"].status == "fail"


def test_a_revision_that_pinged_before_the_shift_needs_no_long_call_since(tmp_path: Path) -> None:
    lines = held_on_blue()
    lines.weights(SHIFT_AT, blue=50, green=50)
    lines.opened(SHIFT_AT + 1, 2, BLUE)
    lines.closed(SHIFT_AT + 8, 2, **told(7, 7))
    lines.opened(SHIFT_AT + 1, 3, GREEN)
    lines.closed(SHIFT_AT + 41, 3, **told(40, 25))

    assert judged(lines, tmp_path)["quality.heartbeat"].status == "pass"


def test_a_record_that_does_not_say_proves_nothing(tmp_path: Path) -> None:
    lines = Lines()
    lines.hold()
    lines.opened(0, 1, BLUE)
    lines.closed(90, 1)

    assert judged(lines, tmp_path)["quality.heartbeat"].status == "inconclusive"
