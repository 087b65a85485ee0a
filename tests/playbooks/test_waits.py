"""What a play does while it waits and az does not answer. Without a stage: az is a few lines."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.playbooks.conftest import BIN, DEADLINE_S, PLAYBOOKS, Run, environment

# Fails as often as it is told, then answers as it is told.
AZ = """
import json
from pathlib import Path
from typing import Any
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({"run": {}, "args": {"type": "dict"}})
told = Path("TOLD")
failures, answers = json.loads(told.read_text())
told.write_text(json.dumps([failures - 1, answers]))
if failures > 0:
    module.fail_json("Too many requests", rc=1)
module.exit_json(value=answers[module.params["run"]], rc=0)
"""
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  timeout: "{{ task_timeout | default(600) }}"
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  tasks:
    - ansible.builtin.set_fact: {deadline: "{{ now().timestamp() + 1 }}"}
    - ansible.builtin.include_tasks: TASKS
"""
NAMES = {"app_name": "relay", "resource_group": "voice", "revision": "relay--one", "poll_seconds": 0.1}
HEALTHY = {"health": "Healthy", "provisioning": "Provisioned", "running": "Running", "error": None}


def play(tmp_path: Path, tasks: str, failures: int, answers: dict[str, Any], **variables: object) -> Run:
    told = tmp_path / "told.json"
    told.write_text(json.dumps([failures, answers]))
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "az.py").write_text(AZ.replace("TOLD", str(told)))
    (tmp_path / "play.yml").write_text(PLAY.replace("TASKS", str(PLAYBOOKS / "tasks" / tasks)))
    words = [BIN / "ansible-playbook", "-i", "localhost,", tmp_path / "play.yml", "-e", json.dumps(NAMES | variables)]
    done = subprocess.run(
        words,
        env=environment(tmp_path / "ansible"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_S,
    )
    return Run(done.returncode, done.stdout)


def test_a_read_that_fails_is_tried_again(tmp_path: Path) -> None:
    done = play(tmp_path, "gone.yml", 2, {"containerapp replica list": []}, stop_timeout=60)
    assert done.code == 0, done.output


def test_a_read_that_fails_until_the_time_is_over_says_why(tmp_path: Path) -> None:
    done = play(tmp_path, "gone.yml", 10**6, {}, stop_timeout=1)
    assert done.code != 0
    assert "Too many requests" in done.output


@pytest.mark.parametrize(("least", "ready"), [(0, True), (None, True), (2, False)])
def test_only_a_revision_that_may_have_no_replica_is_ready_without_one(
    tmp_path: Path, least: int | None, ready: bool
) -> None:
    answers = {"containerapp revision show": HEALTHY | {"least": least}, "containerapp replica list": []}
    done = play(tmp_path, "ready.yml", 0, answers, ready_timeout=1)
    assert (done.code == 0) is ready, done.output
    assert ("relay--one has no replica after 1 s" in done.output) is not ready


def test_calls_may_be_held_longer_than_another_task_may_take(tmp_path: Path) -> None:
    held = ["sh", "-c", "sleep 3; echo held to the end >&2; exit 9", "sh"]
    judge = {"record": "step-50", "evidence": str(tmp_path / "e"), "finding": str(tmp_path / "f"), "url": "ws://a"}
    judge |= {"connections": 1, "seconds": "60", "dial": "", "shares": {}, "baseline": "", "caller": held}
    judge |= {"python": "python", "source": str(tmp_path)}
    done = play(tmp_path, "judge.yml", 0, {}, **judge, task_timeout=1)
    assert "step-50: held to the end" in done.output
