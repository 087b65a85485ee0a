"""What is wrong with green is found while no caller is on it: strangers that get in, and a drain that is too long."""

import pytest

from tests.playbooks.conftest import TALKING, Play, Stage
from tests.playbooks.rolling import IMAGE

pytestmark = [pytest.mark.timeout(1500), pytest.mark.nightly]


def test_a_green_that_lets_anybody_in_gets_no_call_unless_anybody_may(stage: Stage, play: Play) -> None:
    before = stage.weights()
    (blue,) = before
    doors = {"RTPROXY_ALLOW_ANONYMOUS": "true", "RTPROXY_CLIENT_KEYS": None}
    variables = {"release": "open", "image": IMAGE, "green_env": doors, "traffic_steps": "100"}
    done = play("bluegreen.yml", **variables)
    assert done.code != 0
    assert f"Rolled back, {blue} carries every call: knock: rtproxy--open did not turn strangers away" in done.output
    assert "with no key: let in; with a wrong key in Authorization: let in" in done.output
    assert "if anybody may call, say -e anonymous=true" in done.output
    assert stage.weights() == before

    meant = play("bluegreen.yml", **variables, anonymous="true")
    assert meant.code == 0, meant.output
    assert "0 of 4 strangers turned away with 401, 4 let in, as anybody may call" in meant.output
    back = play("rollback.yml", release="open")
    assert back.code == 0, back.output
    assert stage.weights() == before


def test_a_green_that_cannot_drain_in_its_grace_period_gets_no_call(stage: Stage, play: Play) -> None:
    before = stage.weights()
    (blue,) = before
    slow = {"RTPROXY_DRAIN_SECONDS": "90"}
    done = play(
        "bluegreen.yml",
        release="slow",
        image=IMAGE,
        green_env=slow,
        **TALKING,
        kinds="vad,silent,silent",
        smoke_connections=6,
    )
    assert done.code != 0
    assert f"Rolled back, {blue} carries every call: smoke-drain: " in done.output
    assert stage.weights() == before
    assert stage.active() == {blue}


def test_a_trial_of_green_that_meets_blue_proves_nothing_and_ends_the_rollout(stage: Stage, play: Play) -> None:
    before = stage.weights()
    (blue,) = before
    # A gateway that takes green's name for the app's own, as this port of the stage's does for every name.
    callers = stage.environ["STAGE_GATEWAY_URL"].partition("//")[2]
    done = play("bluegreen.yml", release="unmet", image=IMAGE, connect_to=callers)
    assert done.code != 0
    met = f"smoke: At rtproxy--unmet 100: 2 calls on {blue}, at weight 0."
    assert f"Rolled back, {blue} carries every call: {met}" in done.output, done.output
    assert stage.weights() == before
    assert stage.active() == {blue}
