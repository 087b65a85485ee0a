"""Rollouts, as an operator runs them: real ansible-playbook, real az, on the stage."""

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.playbooks.conftest import DEADLINE_S, TALKING, Play, Stage, command, inject
from tests.playbooks.rolling import IMAGE, calls, observed, rollout, until, until_said

pytestmark = pytest.mark.timeout(1500)
SWITCHED = ("revision.activated", "revision.deactivated")


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


# The first step needs more calls than are judged, to see each revision get some: ten, or 44 where green has a tenth.
@pytest.mark.parametrize(
    ("share", "enough"),
    [(40, 10), pytest.param(10, 44, marks=pytest.mark.nightly)],
)
def test_green_takes_over_unnoticed_and_a_second_run_changes_nothing(
    stage: Stage, play: Play, tmp_path: Path, share: int, enough: int
) -> None:
    record, run = tmp_path / "hold.jsonl", tmp_path / "run"
    (blue,) = stage.weights()
    release = f"built-{share}"
    green = f"rtproxy--{release}"
    checks = {"green_checks": ["hearing.cross_talk", "quality.kinds"], "compared_checks": ["quality.turns"]}
    # No tools: the drain window of this stage is shorter than a tool may take.
    judged = {"kinds": "vad,text,push-to-talk,silent", "smoke_connections": 4}
    with calls(stage, record, "--call-seconds", "5", "--reconnect"):
        done = play("bluegreen.yml", release=release, **TALKING, **checks, **judged, traffic_steps=[share, 100])
    assert done.code == 0, done.output
    assert stage.weights() == {green: 100}
    assert stage.active() == {green}
    assert [cut for cut in observed(record, "closed") if cut["early"] and cut["code"] != 1012] == []
    assert not observed(record, "refused")
    assert f"az containerapp logs show --name rtproxy --resource-group rehearsal --revision {blue}" in done.output
    asked = [(act["act"], act["revision"]) for act in stage.acts() if act["act"] in ("revision.created", *SWITCHED)]
    assert asked[-4:] == [("revision.created", green), *((act, green) for act in SWITCHED[::-1]), (SWITCHED[1], blue)]
    assert f"{green}: 4 of 4 strangers turned away with 401" in done.output
    assert f"{green} is deactivated under 4 calls of this play" in done.output
    assert f"{green} moved 4 calls between two turns and is off." in done.output
    held = {path.stem for path in run.glob("*.jsonl")}
    rounds = {name for name in held if name.startswith(f"reach-{share}-")}
    tried = {"before", "knock", "smoke", "smoke-drain", "settle", "deployed", "drain", "long"}
    tried |= {f"step-{share}", "step-100"}
    assert (held - rounds, bool(rounds)) == (tried, True)
    assert [each["shares"] for each in observed(run / "settle.jsonl", "settled")][-1] == {blue: 0, green: 100}
    assert all(each["in_force"] for each in observed(run / "settle.jsonl", "settled"))
    graces = {each["revision"]: each["grace_s"] for each in observed(run / "deployed.jsonl", "deployed")}
    assert (graces[blue], graces[green]) == (11, 11)
    # Of few calls a small share may be none; of so many that is what chance does once in a hundred times.
    reached = [each["revision"] for each in observed(run / f"{max(rounds)}.jsonl", "opened")]
    assert (len(reached), set(reached)) == (enough, {blue, green})
    for name in ("before", "smoke", f"step-{share}", "step-100", "long"):
        (hold,) = observed(run / f"{name}.jsonl", "hold.started")
        assert hold["arguments"]["turn_deadline_s"] < hold["arguments"]["duration_s"]

    for path in run.iterdir():
        path.unlink()
    again = play("bluegreen.yml", release=release)
    assert again.code == 0, again.output
    assert again.changed == 0
    assert list(run.iterdir()) == []


@pytest.mark.nightly
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


@pytest.mark.nightly
def test_a_green_that_never_becomes_ready_gets_no_call_and_goes(stage: Stage, play: Play, tmp_path: Path) -> None:
    before = stage.weights()
    # Without its key the relay looks for an identity, which this app has not: alive, never ready.
    broken = {"AZURE_OPENAI_API_KEY": ""}
    variables = {"release": "broken", "image": IMAGE, "green_env": broken, "ready_timeout": 20}
    with rollout(stage, run_dir=str(tmp_path / "run"), **variables) as ansible:
        # Azure goes on with what az was ended for, and takes no other write meanwhile.
        assert ansible.stdout is not None
        said = until_said(ansible.stdout, "TASK [Wait until the app takes a write]")
        inject(stage, "give up")
        said += ansible.communicate(timeout=DEADLINE_S)[0]
    assert ansible.returncode != 0
    (blue,) = before
    assert f"Rolled back, {blue} carries every call: rtproxy--broken did not become healthy in 20 s" in said, said
    assert stage.weights() == before
    assert "rtproxy--broken" not in stage.active()
    carried = [act["weights"] for act in stage.acts() if act["act"] == "traffic.set"]
    assert not any(weights.get("rtproxy--broken") for weights in carried)

    other = play("bluegreen.yml", release="broken", image=IMAGE)
    assert other.code != 0
    assert "other values of AZURE_OPENAI_API_KEY: a revision never changes, choose another release" in other.output


@pytest.mark.nightly
def test_a_green_that_fails_to_start_is_not_waited_for_and_says_why(stage: Stage, play: Play) -> None:
    before = stage.weights()
    crashing = {"RTPROXY_MAX_SESSIONS": "none"}
    done = play("bluegreen.yml", release="crashing", image=IMAGE, green_env=crashing, ready_timeout=DEADLINE_S)
    assert done.code != 0
    (blue,) = before
    # The write itself fails with the reason; where its connection broke, green's state has it.
    way = "(Failed to provision|.* did not become healthy at all)"
    assert re.search(f"Rolled back, {blue} carries every call: {way}.*ContainerCrashing", done.output)
    assert stage.weights() == before
    assert "rtproxy--crashing" not in stage.active()


@pytest.mark.nightly
def test_a_way_back_that_azure_does_not_take_ends_with_the_weights_and_the_commands_that_set_them(
    stage: Stage, tmp_path: Path
) -> None:
    (blue,) = stage.weights()
    # Those of a step find nobody, and from then on nothing can be written.
    refused = """
    case "$*" in *step-50.jsonl*) ;; *) exec "$@" ;; esac
    echo > "$0"
    while [ -s "$0" ]; do sleep 0.1; done
    exit 9
    """
    begun = tmp_path / "begun"
    variables = {"release": "stranded", "image": IMAGE, "run_dir": str(tmp_path / "run"), "busy_timeout": 2}
    try:
        with rollout(stage, **variables, caller=["sh", "-c", refused, str(begun)], task_timeout=20) as ansible:
            until(begun.exists)
            inject(stage, "stumble", writes=1, most=10**6, kinds=["locked"])
            begun.write_text("")
            said, _ = ansible.communicate(timeout=DEADLINE_S)
    finally:
        inject(stage, "none")
    assert ansible.returncode != 0
    assert "The service was busy for" in said, said
    assert f"Weights in force: {blue}=50, rtproxy--stranded=50." in said, said
    assert stage.weights() == {blue: 50, "rtproxy--stranded": 50}
    left = re.findall(r"az (containerapp [^;(]*)", said.partition("once Azure takes it: ")[2].partition('"')[0])
    assert len(left) == 2
    for each in left:
        stage.anywhere(*shlex.split(each))
    assert stage.weights() == {blue: 100}
    assert stage.active() == {blue}
