"""The page on verdicts names what there is: each check, and the limits that decide it."""

import re
from pathlib import Path

import pytest

from clients.clocks import WRITING_S
from clients.evidence import RETURN_S
from clients.judging import CHECKS, proof, quality

DOCS = Path(__file__).parents[2] / "docs"
BOTH = pytest.mark.parametrize("page", [DOCS / "verdict.md", DOCS / "verdict.ja.md"], ids=lambda page: page.name)


@BOTH
def test_each_check_has_its_row_in_the_order_of_the_verdict(page: Path) -> None:
    rows = re.findall(r"^\| `([a-z]+\.[\w.-]+)`", page.read_text(), re.M)

    assert rows == [name.partition(",")[0] for name, _, _ in CHECKS]


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (quality.RTT_OVER_MS, "at most {:g} ms more than before; as many"),
        (quality.FIRST_AUDIO_OVER_MS, "wait for an answer: at most {:g} ms more"),
        (quality.CONNECT_OVER_MS / 1000, "dials: at most {:g} s more"),
        (quality.DURATION_OVER_MS / 1000, "answers: at most {:g} s longer"),
        (quality.GAP_OVER_MS / 1000, "gap in an answer: at most {:g} s more"),
        (100 * quality.OVER, "as often as before, but for {:g} %"),
        (quality.FEWEST, "needs its own {:g} values"),
        (quality.PATIENCE_S, "after {:g} s, or after the longest answer"),
        (proof.AFTER_S, "and for {:g} s after it"),
        (proof.PAUSE_S, "no call for more than {:g} s"),
        (RETURN_S, "back within {:g} s"),
        (WRITING_S, "off by {:g} s or more"),
    ],
)
def test_the_limits_are_those_of_the_checks(limit: float, said: str) -> None:
    page = " ".join((DOCS / "verdict.md").read_text().split())

    assert said.format(limit) in page
