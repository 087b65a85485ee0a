"""The alert, which may use no saved function, says of a cut what the function says."""

from pathlib import Path

QUERIES = Path(__file__).parents[2] / "bicep" / "queries"


def test_the_alert_fires_on_what_the_table_of_calls_names_a_cut() -> None:
    alert, calls = ((QUERIES / f"{name}.kql").read_text().strip() for name in ("cuts", "RtproxyCalls"))
    assert alert.splitlines()[-1].removeprefix("| where ") == calls.splitlines()[-1].removeprefix("| extend Cut = ")
