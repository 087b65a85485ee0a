"""What a rollout says that it would do, and what it refuses before it begins. Nothing of the stage changes."""

from pathlib import Path

import pytest

from stage.envoy import free_port
from tests.playbooks.conftest import Play, Stage
from tests.playbooks.rolling import IMAGE

pytestmark = pytest.mark.timeout(1500)
BASE = f"mirror.example/python@sha256:{'0' * 64}"


def test_check_mode_tells_every_step_and_changes_nothing(stage: Stage, play: Play, tmp_path: Path) -> None:
    before, (blue,) = stage.acts(), stage.weights()
    args = {"BASE": BASE, "EXTRAS": "telemetry"}
    done = play("bluegreen.yml", "--check", "--diff", release="planned", smoke_drain=True, build_args=args)
    assert done.code == 0, done.output
    for step in (
        f"az acr build . --build-arg BASE={BASE} --build-arg EXTRAS=telemetry --registry rehearsal "
        f"--image rtproxy:planned --file {tmp_path / 'run' / 'Containerfile'} --no-wait",
        "az containerapp update --name rtproxy --resource-group rehearsal --revision-suffix planned",
        "rtproxy--planned is deactivated under 2 calls of this play, which it has to move between two turns, and then",
        f"{blue}=50 rtproxy--planned=50",
        f"{blue}=0 rtproxy--planned=100",
        f"az containerapp revision deactivate --name rtproxy --resource-group rehearsal --revision {blue}",
    ):
        assert step in done.output, [line for line in done.output.splitlines() if "planned" in line]
    assert stage.acts() == before
    assert not (tmp_path / "run").exists()


def test_a_rollout_that_cannot_reach_revisions_begins_nothing(stage: Stage, play: Play) -> None:
    before = stage.acts()
    refused = play("bluegreen.yml", release="unseen", image=IMAGE, connect_to=f"127.0.0.1:{free_port()}")
    assert refused.code != 0
    assert "does not answer: green could not be tried, nor blue be asked for its calls." in refused.output
    assert stage.acts() == before


@pytest.mark.parametrize(
    "steps",
    ["[100, 50]", *(pytest.param(each, marks=pytest.mark.nightly) for each in ("[]", "50,100", "[0, 100]", "[50]"))],
)
def test_steps_that_do_not_rise_to_100_are_refused(stage: Stage, play: Play, steps: str) -> None:
    before = stage.acts()
    refused = play("bluegreen.yml", release="steps", traffic_steps=steps)
    assert refused.code != 0
    assert f"traffic_steps must rise to 100, not be {steps}" in refused.output
    assert stage.acts() == before


@pytest.mark.nightly
def test_a_release_that_cannot_name_a_revision_is_refused(stage: Stage, play: Play) -> None:
    before = stage.weights()
    done = play("bluegreen.yml", release="Not_One")
    assert done.code != 0
    assert "Not_One cannot name a revision: lower-case letters" in done.output
    assert "at most 54 characters as rtproxy--Not_One; choose another with -e release=NAME." in done.output
    assert stage.weights() == before
