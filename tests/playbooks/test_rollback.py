"""The ways back from a rollout, as an operator runs them: real ansible-playbook, real az, on the stage."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.playbooks.conftest import DEADLINE_S, Play, Stage
from tests.playbooks.rolling import IMAGE, calls, observed, rollout, until

pytestmark = pytest.mark.timeout(1500)


@pytest.mark.nightly
def test_rollback_starts_a_blue_again_that_was_stopped_under_calls(stage: Stage, play: Play, tmp_path: Path) -> None:
    (blue,) = stage.weights()
    record = tmp_path / "hold.jsonl"
    # These calls stay on blue until it is stopped: the drain gives up waiting, and says how many are left.
    with calls(stage, record, "--reconnect", "--max-cut", "100"):
        over = play("bluegreen.yml", release="regretted", image=IMAGE, drain_timeout=2)
    assert over.code == 0, over.output
    assert "4 calls" in over.output
    assert {cut["code"] for cut in observed(record, "closed") if cut["early"]} == {1012}
    assert stage.active() == {"rtproxy--regretted"}

    done = play("rollback.yml", release="regretted")
    assert done.code == 0, done.output
    assert stage.weights() == {blue: 100}
    assert stage.active() == {blue}
    again = play("rollback.yml", release="regretted")
    assert (again.code, again.changed) == (0, 0), again.output


@pytest.mark.nightly
def test_rollback_asks_when_a_release_that_failed_since_was_active_last(stage: Stage, play: Play) -> None:
    (blue,) = stage.weights()
    over = play("bluegreen.yml", release="good", image=IMAGE, traffic_steps="100")
    assert over.code == 0, over.output
    failed = play("bluegreen.yml", release="failed", image=IMAGE, caller=["false"])
    assert "Rolled back, rtproxy--good carries every call" in failed.output

    unsure = play("rollback.yml", release="good")
    assert unsure.code != 0
    assert f"Before rtproxy--good there was {blue}, or rtproxy--failed, which is newer" in unsure.output
    assert "with -e back_to=NAME: rtproxy--good carries the calls, nothing was changed." in unsure.output
    nobody = play("rollback.yml", release="good", back_to="nobody")
    assert "rtproxy--good cannot be rolled back to rtproxy--nobody; name another release" in nobody.output
    assert stage.weights() == {"rtproxy--good": 100}

    check = play("rollback.yml", "--check", "--diff", release="good", back_to=blue.removeprefix("rtproxy--"))
    assert check.code == 0, check.output
    assert (
        f"az containerapp revision activate --name rtproxy --resource-group rehearsal --revision {blue}" in check.output
    )
    assert stage.active() == {"rtproxy--good"}
    done = play("rollback.yml", release="good", back_to=blue.removeprefix("rtproxy--"))
    assert done.code == 0, done.output
    assert stage.weights() == {blue: 100}
    assert stage.active() == {blue}


def test_rollback_does_not_guess(stage: Stage, play: Play) -> None:
    before = stage.weights()
    done = play("rollback.yml", release="nobody")
    assert done.code != 0
    assert "There is no revision rtproxy--nobody to roll back; name the release with -e release=NAME" in done.output
    assert stage.weights() == before


@pytest.mark.nightly
def test_a_rollout_leaves_blue_alone_that_was_given_its_calls_back_during_the_drain(
    stage: Stage, play: Play, tmp_path: Path
) -> None:
    (blue,) = stage.weights()
    variables = {"release": "withdrawn", "image": IMAGE, "run_dir": str(tmp_path / "run"), "traffic_steps": "[100]"}
    drain = tmp_path / "run" / "drain.jsonl"
    with ExitStack() as held:
        held.enter_context(calls(stage, tmp_path / "hold.jsonl"))
        with rollout(stage, **variables) as ansible:
            until(lambda: drain.exists() and '"probed"' in drain.read_text())
            back = play("rollback.yml", release="withdrawn")
            assert back.code == 0, back.output
            held.close()
            said, _ = ansible.communicate(timeout=DEADLINE_S)
    assert ansible.returncode != 0
    assert f"{blue} carries calls now, not rtproxy--withdrawn alone" in said
    assert stage.weights() == {blue: 100}
    assert stage.active() == {blue}


@pytest.mark.nightly
def test_no_call_goes_back_to_a_blue_that_somebody_stopped_until_it_runs_again(stage: Stage, play: Play) -> None:
    (blue,) = stage.weights()
    # Another rollout, which ends while this one tries its green.
    named = "--name rtproxy --resource-group rehearsal"
    other = f"""
    case "$*" in *smoke.jsonl*) ;; *) exec "$@" ;; esac
    az containerapp update {named} --revision-suffix other --image {IMAGE}
    az containerapp ingress traffic set {named} --revision-weight {blue}=0 rtproxy--other=100
    az containerapp revision deactivate {named} --revision {blue}
    exit 9
    """
    done = play("bluegreen.yml", release="late", image=IMAGE, caller=["sh", "-c", other, "sh"])
    try:
        assert done.code != 0
        assert f"Rolled back, {blue} carries every call: smoke:" in done.output
        assert stage.weights() == {blue: 100}
        assert stage.active() == {blue, "rtproxy--other"}
    finally:
        stage.az("containerapp", "revision", "deactivate", "--revision", "rtproxy--other")
