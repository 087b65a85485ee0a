"""What a run beside a commit says: figures, which of the two rules held, and what a reader must know beside them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from bench.beside.report import Comparison, Shape, dump, lines, png
from bench.beside.windows import Window
from bench.result import Machine

LAGGED = Window(20.0, 10.0, "ours", 1, 0.0, "before: the load lagged 12.4 ms")


def shape(name: str, ratios: Sequence[float], *void: Window, waited: float = 0.0) -> Shape:
    """A window a ratio, of a relay that cost 10 µs a frame before."""
    order = ("ours", "before")
    counted = [Window(10 * each, 10.0, order[i % 2], 1 + i // 5, waited) for i, each in enumerate(ratios)]
    return Shape(name, f"as {name} is", (*counted, *void))


def comparison(*shapes: Shape) -> Comparison:
    return Comparison(
        command="nox -s bench -- --beside main",
        date="2026-11-30T12:00:00Z",
        machine=Machine("AMD EPYC", 2, "6.18.5", "3.11.7", 24),
        interpreter="CPython 3.11.7, built without optimisation (no profiles)",
        before="1a2b3c4d5e (Say it once)",
        ours="5e4d3c2b1a with changes",
        seconds=1.0,
        load_average=(0.2, 1.6),
        shapes=shapes,
    )


def around(median: float, width: float = 0.01, count: int = 30) -> list[float]:
    return [median + width * (2 * i / (count - 1) - 1) for i in range(count)]


def said(found: Comparison) -> str:
    return "\n".join(lines(found))


def test_a_shape_has_a_line_of_figures_and_says_which_rules_held() -> None:
    text = said(comparison(shape("steady", around(1.005), LAGGED)))
    (figures,) = (line for line in text.splitlines() if line.startswith("steady  "))
    assert figures.split()[:5] == ["steady", "30/31", "10.05", "10.00", "1.0050"]
    assert "(no. 10 and 21 of 30)" in figures
    assert "steady: at most 1.02: the median is at most 1.02\n" in text
    assert "steady: 1 window void: the load lagged\n" in text
    assert "AMD EPYC, 2 cores" in text
    assert "CPython 3.11.7, built without optimisation (no profiles); load average 0.2, at the end 1.6;" in text


@pytest.mark.parametrize(
    ("ratios", "held", "meaning"),
    [
        (around(1.0), True, "at most 1.02: the median is at most 1.02, and the interval contains 1.00"),
        (around(1.03, 0.2), True, "at most 1.02: the interval contains 1.00"),
        (around(1.03), False, "NOT at most 1.02: the median is 1.0300, and the whole interval is above 1.00"),
        (around(1.0, count=29), False, "not decided: 29 windows counted, 30 are needed"),
        ([], False, "not decided: 0 windows counted, 30 are needed"),
    ],
)
def test_a_run_held_when_each_of_its_shapes_did(ratios: list[float], held: bool, meaning: str) -> None:
    found = comparison(shape("steady", around(0.98)), shape("steady-tls", ratios))
    assert found.held == held
    assert f"steady-tls: {meaning}\n" in said(found)


def test_a_run_without_a_shape_did_not_hold() -> None:
    assert not comparison().held


def test_a_wide_interval_and_a_busy_core_are_said() -> None:
    wide = said(comparison(shape("steady", around(1.0, 0.3), waited=0.31)))
    assert "steady: the interval is wide: " in wide
    assert "steady: another process had the relays' core for 31 % of the time" in wide
    narrow = said(comparison(shape("steady", around(1.0), waited=0.02)))
    assert "wide" not in narrow
    assert "another process" not in narrow


def test_the_file_has_each_window_and_what_they_come_to(tmp_path: Path) -> None:
    dump(comparison(shape("steady", around(1.0), LAGGED)), tmp_path / "beside.json")
    found = orjson.loads((tmp_path / "beside.json").read_bytes())
    assert (found["held"], found["limit"]) == (True, 1.02)
    (steady,) = found["shapes"]
    assert steady["held"] == ["the median is at most 1.02", "the interval contains 1.00"]
    assert steady["spread"]["count"] == 30
    assert (steady["spread"]["interval"]["rank"], len(steady["windows"])) == (10, 31)
    assert steady["windows"][0]["ratio"] == pytest.approx(0.99)
    assert steady["windows"][-1]["ratio"] is None
    assert steady["windows"][-1]["void"] == LAGGED.void


def test_the_picture_shows_what_counts_and_is_not_drawn_of_nothing(tmp_path: Path) -> None:
    file = tmp_path / "beside.png"
    assert not png(comparison(shape("steady", [], LAGGED)), file)
    assert not file.exists()
    # Far outliers and names with signs that matplotlib would read.
    odd = replace(comparison(shape("steady", [0.1, *around(1.0), 9.0]), shape("steady-tls", [1.0, 1.1])), before="$x^$")
    assert png(odd, file)
    assert file.read_bytes().startswith(b"\x89PNG")
