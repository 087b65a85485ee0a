"""Plays that are killed at a write and run again, and rollouts whose every write fails at first: the small form."""

from pathlib import Path

import pytest

from stage.arm.faults import Unsteady, writes
from stage.interrupted import killed, main, stumbling


@pytest.mark.timeout(1800)
@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("play", "at", "write"),
    [
        ("rollback", 2, "PATCH Microsoft.App/containerApps/rtproxy"),
        pytest.param("bluegreen", 4, "PATCH Microsoft.App/containerApps/rtproxy", marks=pytest.mark.nightly),
        pytest.param("bluegreen", 2, "PATCH Microsoft.App/containerApps/rtproxy", marks=pytest.mark.nightly),
        pytest.param("deploy", 1, "PUT voice", marks=pytest.mark.nightly),
    ],
)
async def test_a_play_that_is_killed_at_a_write_and_run_again_ends_well(
    play: str, at: int, write: str, tmp_path: Path
) -> None:
    assert await killed(play, at, tmp_path / "stage") == write


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.asyncio
@pytest.mark.parametrize(("seed", "carrying"), [(2, "green"), (3, "blue again")])
async def test_a_rollout_whose_every_write_fails_at_first_ends_on_green_or_on_blue(
    seed: int, carrying: str, tmp_path: Path
) -> None:
    assert await stumbling(seed, tmp_path / "stage") == carrying


def test_what_fails_depends_on_the_seed_and_on_how_often_it_was_asked() -> None:
    def struck(seed: int, verb: str, times: int) -> list[str | None]:
        unsteady = Unsteady(seed=seed, most=3)
        return [unsteady.strike(verb, "/subscriptions/s/providers/Microsoft.App/containerApps/a") for _ in range(times)]

    assert struck(1, "PATCH", 40) == struck(1, "PATCH", 40) != struck(2, "PATCH", 40)
    told = struck(1, "PATCH", 400)
    assert set(told) == {None, "lost", "answer lost", "throttled", "unavailable", "locked"}
    runs = "".join("." if each is None else "x" for each in told).split(".")
    assert {len(run) for run in runs[:-1]} == {1, 2, 3}, "every write fails, and at most three times"
    assert struck(1, "GET", 40) == [None] * 40


def test_a_post_that_only_reads_is_no_write() -> None:
    assert not writes("POST", "/subscriptions/s/resourceGroups/g/providers/Microsoft.App/containerApps/a/listSecrets")
    assert writes(
        "POST", "/subscriptions/s/resourceGroups/g/providers/Microsoft.App/containerApps/a/revisions/r/activate"
    )


def test_the_command_refuses_what_is_no_play(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["interrupted", "--play", "lunch"])
    with pytest.raises(SystemExit) as refused:
        main()
    assert refused.value.code == 2
    assert "lunch" in capsys.readouterr().err
