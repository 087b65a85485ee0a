"""Rollouts and the ways back, as an operator runs them: real ansible-playbook, real az, on the stage."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.playbooks.conftest import DEADLINE_S, ROOT, TALKING, Play, Stage, command

pytestmark = pytest.mark.timeout(1500)
SWITCHED = ("revision.activated", "revision.deactivated")
IMAGE = "docker.io/library/rtproxy:1"
"""Of a registry that is not the stage's own: it counts as present, and nothing is built."""


@contextmanager
def calls(stage: Stage, record: Path, *flags: str) -> Iterator[None]:
    """Four calls through the gateway while the block runs."""
    words = [sys.executable, "-m", "clients.hold", stage.environ["STAGE_GATEWAY_URL"], "--connections", "4"]
    with subprocess.Popen(
        [*words, "--duration", "600", "--talk-every", "3", "--record", str(record), *flags],
        cwd=ROOT,
        env=stage.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as hold:
        try:
            until(lambda: record.exists() and record.read_text().count('"opened"') >= 4)
            yield
        finally:
            hold.send_signal(signal.SIGINT)
            hold.wait(DEADLINE_S)


@contextmanager
def rollout(stage: Stage, **variables: object) -> Iterator[subprocess.Popen[str]]:
    """One that goes on beside the test."""
    words = command("bluegreen.yml", **variables)
    with subprocess.Popen(
        words, env=stage.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as ansible:
        yield ansible


def kill_once(stage: Stage, happened: Callable[[], bool], **variables: object) -> None:
    """A rollout, as when the machine it runs on goes away: nothing gets to tidy up."""
    words = command("bluegreen.yml", **variables)
    with subprocess.Popen(
        words, env=stage.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as ansible:
        until(happened)
        os.killpg(ansible.pid, signal.SIGKILL)


def switches(stage: Stage) -> list[dict[str, Any]]:
    """Which revisions were started and stopped."""
    return [{"act": act["act"], "revision": act["revision"]} for act in stage.acts() if act["act"] in SWITCHED]


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def observed(record: Path, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    return [line for line in lines if line["observation"] == name]


def test_green_takes_over_unnoticed_and_a_second_run_changes_nothing(stage: Stage, play: Play, tmp_path: Path) -> None:
    record, run = tmp_path / "hold.jsonl", tmp_path / "run"
    (blue,) = stage.weights()
    checks = {"green_checks": ["hearing.cross_talk", "quality.kinds"], "compared_checks": ["quality.turns"]}
    judged = {"kinds": "vad,tools,push-to-talk,silent", "smoke_connections": 4}
    with calls(stage, record, "--call-seconds", "5", "--reconnect"):
        done = play("bluegreen.yml", release="built", **TALKING, **checks, **judged)
    assert done.code == 0, done.output
    assert stage.weights() == {"rtproxy--built": 100}
    assert stage.active() == {"rtproxy--built"}
    assert [cut for cut in observed(record, "closed") if cut["early"] and cut["code"] != 1012] == []
    assert not observed(record, "refused")
    assert f"az containerapp logs show --name rtproxy --resource-group rehearsal --revision {blue}" in done.output
    asked = [(act["act"], act["revision"]) for act in stage.acts() if act["act"] in ("revision.created", *SWITCHED)]
    green = "rtproxy--built"
    assert asked[-4:] == [("revision.created", green), *((act, green) for act in SWITCHED[::-1]), (SWITCHED[1], blue)]
    assert "rtproxy--built: 4 of 4 strangers turned away with 401" in done.output
    assert "rtproxy--built is deactivated under 4 calls of this play" in done.output
    assert "rtproxy--built moved 4 calls between two turns and is off." in done.output
    held = {path.stem for path in run.glob("*.jsonl")}
    assert held == {"before", "knock", "smoke", "smoke-drain", "step-50", "step-100", "drain", "long"}
    for name in ("before", "smoke", "step-50", "step-100", "long"):
        (hold,) = observed(run / f"{name}.jsonl", "hold.started")
        assert hold["arguments"]["turn_deadline_s"] < hold["arguments"]["duration_s"]

    for path in run.iterdir():
        path.unlink()
    again = play("bluegreen.yml", release="built")
    assert again.code == 0, again.output
    assert again.changed == 0
    assert list(run.iterdir()) == []


def test_check_mode_tells_every_step_and_changes_nothing(stage: Stage, play: Play, tmp_path: Path) -> None:
    before, (blue,) = stage.acts(), stage.weights()
    done = play("bluegreen.yml", "--check", "--diff", release="planned", smoke_drain=True)
    assert done.code == 0, done.output
    for step in (
        "az acr build . --registry rehearsal --image rtproxy:planned --file Containerfile",
        "az containerapp update --name rtproxy --resource-group rehearsal --revision-suffix planned",
        "rtproxy--planned is deactivated under 2 calls of this play, which it has to move between two turns, and then",
        f"{blue}=50 rtproxy--planned=50",
        f"{blue}=0 rtproxy--planned=100",
        f"az containerapp revision deactivate --name rtproxy --resource-group rehearsal --revision {blue}",
    ):
        assert step in done.output
    assert stage.acts() == before
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("steps", ["[]", "50,100", "[100, 50]", "[0, 100]", "[50]"])
def test_steps_that_do_not_rise_to_100_are_refused(stage: Stage, play: Play, steps: str) -> None:
    before = stage.acts()
    refused = play("bluegreen.yml", release="steps", traffic_steps=steps)
    assert refused.code != 0
    assert f"traffic_steps must rise to 100, not be {steps}" in refused.output
    assert stage.acts() == before


def test_an_interrupted_rollout_goes_on_where_it_was(stage: Stage, play: Play, tmp_path: Path) -> None:
    (blue,) = stage.weights()
    variables = {"release": "resumed", "image": IMAGE, "run_dir": str(tmp_path / "run"), **TALKING}
    kill_once(stage, lambda: {"act": SWITCHED[1], "revision": "rtproxy--resumed"} in switches(stage), **variables)
    assert stage.weights() == {blue: 100}
    assert stage.active() == {blue}

    step = tmp_path / "run" / "step-50.jsonl"
    kill_once(stage, lambda: step.exists() and '"opened"' in step.read_text(), **variables)
    assert stage.weights() == {blue: 50, "rtproxy--resumed": 50}
    assert stage.active() == {blue, "rtproxy--resumed"}
    tried = switches(stage)
    created = [act["revision"] for act in stage.acts() if act["act"] == "revision.created"]

    done = play("bluegreen.yml", **variables)
    assert done.code == 0, done.output
    assert switches(stage)[len(tried) :] == [{"act": SWITCHED[1], "revision": blue}], "callers are on green"
    assert stage.weights() == {"rtproxy--resumed": 100}
    assert stage.active() == {"rtproxy--resumed"}
    assert [act["revision"] for act in stage.acts() if act["act"] == "revision.created"] == created


def test_a_green_that_never_becomes_ready_gets_no_call_and_goes(stage: Stage, play: Play) -> None:
    before = stage.weights()
    # Without its key the relay looks for an identity, which this app has not: alive, never ready.
    broken = {"AZURE_OPENAI_API_KEY": ""}
    done = play("bluegreen.yml", release="broken", image=IMAGE, green_env=broken, ready_timeout=5)
    assert done.code != 0
    (blue,) = before
    assert f"Rolled back, {blue} carries every call: rtproxy--broken did not become healthy" in done.output
    assert stage.weights() == before
    assert "rtproxy--broken" not in stage.active()
    carried = [act["weights"] for act in stage.acts() if act["act"] == "traffic.set"]
    assert not any(weights.get("rtproxy--broken") for weights in carried)

    other = play("bluegreen.yml", release="broken", image=IMAGE)
    assert other.code != 0
    assert "other values of AZURE_OPENAI_API_KEY: a revision never changes, choose another release" in other.output


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


def test_rollback_starts_a_deactivated_blue_again(stage: Stage, play: Play, tmp_path: Path) -> None:
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


def test_a_release_that_cannot_name_a_revision_is_refused(stage: Stage, play: Play) -> None:
    before = stage.weights()
    done = play("bluegreen.yml", release="Not_One")
    assert done.code != 0
    assert "Not_One cannot name a revision: lower-case letters" in done.output
    assert "at most 63 characters as rtproxy--Not_One; choose another with -e release=NAME." in done.output
    assert stage.weights() == before


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
