"""What a rollout writes: nothing of it is the gateway, whose update would end every open call."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.playbooks.conftest import PLAYBOOKS

TASKS = PLAYBOOKS / "tasks"


def tasks(of: Path) -> Iterator[dict[str, Any]]:
    """Every task that a play or a file of tasks can come to; of a name that is worked out, each that it can be."""
    for each in yaml.safe_load(of.read_text()):
        yield from _within(each)


def _within(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield task
    for block in ("tasks", "block", "rescue", "always"):
        for inner in task.get(block, ()):
            yield from _within(inner)
    for how in ("ansible.builtin.include_tasks", "ansible.builtin.import_tasks"):
        if how in task:
            names = re.findall(r"'(\w+)'", task[how]) if "{{" in task[how] else [Path(task[how]).stem]
            for name in names:
                yield from tasks(TASKS / f"{name}.yml")


def asked_of_az(playbook: str) -> set[str]:
    found = {task["az"]["run"] for task in tasks(PLAYBOOKS / playbook) if "az" in task}
    assert found
    return found


@pytest.mark.parametrize("playbook", ["bluegreen.yml", "rollback.yml"])
def test_no_rollout_updates_the_gateway(playbook: str) -> None:
    assert {run.partition(" ")[0] for run in asked_of_az(playbook)} <= {"cloud", "acr", "containerapp"}


def test_what_does_update_it_is_found_by_the_same_look() -> None:
    assert "deployment group create" in asked_of_az("deploy.yml")
