"""The limits, and the numbers they are held against."""

import pytest

from clients.summary import Check, spread
from tests.clients.conftest import HoldFactory, Model


async def test_a_limit_that_is_not_kept_ends_with_1_and_is_named_below_the_table(
    model: Model, hold: HoldFactory
) -> None:
    limits = ("--max-connect-p95-ms", "60000", "--max-rtt-p95-ms", "0.001", "--max-first-audio-p95-ms", "60000")

    result = await (await hold(model.url, "--duration", "1.4", *limits)).result()

    assert result.code == 1
    for expected in (
        "p50",
        "p95",
        "p99",
        "connect",
        "ping to pong",
        "first audio",
        "by us",
        "2 of 2 sessions held for",
    ):
        assert expected in result.stdout
    checks = {check["name"]: check["held"] for check in result.only("hold.completed")["summary"]["checks"]}
    assert checks == {
        "max_cut": True,
        "max_connect_p95_ms": True,
        "max_rtt_p95_ms": False,
        "max_first_audio_p95_ms": True,
    }
    assert "FAILED --max-rtt-p95-ms 0.001: measured" in result.stdout


async def test_a_record_that_takes_no_more_fails_the_hold(model: Model, hold: HoldFactory) -> None:
    result = await (await hold(model.url, "--duration", "0.2", record="/dev/full")).result()

    assert result.code == 1
    assert "the record is incomplete" in result.stderr
    assert "2 of 2 sessions held" in result.stdout


@pytest.mark.parametrize(
    ("measured", "held", "said"),
    [
        (100.0, True, "--max-rtt-p95-ms 100: measured 100"),
        (100.5, False, "--max-rtt-p95-ms 100: measured 100.5, 0.5 over"),
        (None, False, "--max-rtt-p95-ms 100: nothing was measured"),
    ],
)
def test_a_check_says_by_how_much_it_failed(measured: float | None, held: bool, said: str) -> None:
    check = Check("max_rtt_p95_ms", 100, measured)

    assert (check.held, str(check)) == (held, said)


@pytest.mark.parametrize(
    ("values", "p50", "p95", "p99"),
    [
        ([], None, None, None),
        ([7.0], 7.0, 7.0, 7.0),
        ([1.0, 2.0], 1.5, 1.9, 2.0),
        ([float(value) for value in range(101)], 50.0, 95.0, 99.0),
    ],
)
def test_percentiles_lie_between_the_values(
    values: list[float], p50: float | None, p95: float | None, p99: float | None
) -> None:
    numbers = spread(values)

    assert (numbers["p50"], numbers["p95"], numbers["p99"]) == (p50, p95, p99)
    assert numbers["count"] == len(values)
