"""What a play does while it waits and az does not answer. Without a stage: az is a few lines."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.playbooks.conftest import BIN, DEADLINE_S, PLAYBOOKS, ROOT, Run, environment, filters

pytestmark = pytest.mark.timeout(DEADLINE_S)
# Fails as often as it is told, and at what it is told no answer to; else answers as it is told.
AZ = """
import json
from pathlib import Path
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        mappings = {name: {"type": "dict"} for name in ("args", "reads", "done", "secrets")}
        _, asked = self.validate_argument_spec({"run": {}, "patience": {}, **mappings})
        told = Path("TOLD")
        failures, answers = json.loads(told.read_text())
        told.write_text(json.dumps([failures - 1, answers]))
        if failures > 0 or asked["run"] not in answers:
            return {"failed": True, "msg": "SAID", "rc": 1, "status": STATUS}
        return {"changed": False, "value": answers[asked["run"]], "rc": 0}
"""
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  timeout: "{{ task_timeout | default(600) }}"
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  tasks:
    - ansible.builtin.set_fact: {deadline: "{{ now().timestamp() + LATE }}"}
    - ansible.builtin.include_tasks: "{{ item }}"
      loop: TASKS
"""
NAMES = {"app_name": "relay", "resource_group": "voice", "revision": "relay--one", "poll_seconds": 0.1}
HEALTHY = {"health": "Healthy", "provisioning": "Provisioned", "running": "Running", "error": None}


def play(
    tmp_path: Path,
    tasks: str | list[str],
    failures: int,
    answers: dict[str, Any],
    *,
    status: int = 429,
    said: str = "Too many requests",
    late: float = 1,
    **variables: object,
) -> Run:
    """Tasks whose deadline is in ``late`` seconds, with an az whose ``failures`` are of that status, and said so."""
    several = [tasks] if isinstance(tasks, str) else tasks
    told = tmp_path / "told.json"
    told.write_text(json.dumps([failures, answers]))
    actions = tmp_path / "action_plugins"
    actions.mkdir()
    az = AZ.replace("TOLD", str(told)).replace("STATUS", str(status)).replace("SAID", said)
    (actions / "az.py").write_text(az)
    for each in ("run.py", "ended.py"):
        (actions / each).symlink_to(PLAYBOOKS / "action_plugins" / each)
    (tmp_path / "play.yml").write_text(
        PLAY.replace("TASKS", json.dumps([str(PLAYBOOKS / "tasks" / each) for each in several])).replace(
            "LATE", str(late)
        )
    )
    (tmp_path / "group_vars").symlink_to(PLAYBOOKS / "group_vars")
    words = [BIN / "ansible-playbook", "-i", "localhost,", tmp_path / "play.yml", "-e", json.dumps(NAMES | variables)]
    done = subprocess.run(
        words,
        env=environment(tmp_path / "ansible", ANSIBLE_FILTER_PLUGINS=str(PLAYBOOKS / "filter_plugins")),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_S,
    )
    return Run(done.returncode, done.stdout)


def test_a_read_that_fails_is_tried_again(tmp_path: Path) -> None:
    done = play(tmp_path, "gone.yml", 2, {"containerapp replica list": []}, stop_timeout=60)
    assert done.code == 0, done.output


def test_a_read_that_fails_while_a_busy_app_is_waited_for_is_tried_again(tmp_path: Path) -> None:
    done = play(tmp_path, "free.yml", 2, {"containerapp show": "Succeeded"}, busy_timeout=60)
    assert done.code == 0, done.output
    assert "no attribute" not in done.output
    assert json.loads((tmp_path / "told.json").read_text())[0] < 0, "it was answered in the end"


def test_a_read_that_fails_until_the_time_is_over_says_why(tmp_path: Path) -> None:
    done = play(tmp_path, "gone.yml", 10**6, {}, stop_timeout=1)
    assert done.code != 0
    assert "Too many requests" in done.output


@pytest.mark.parametrize(
    ("least", "ready"), [(0, True), pytest.param(None, True, marks=pytest.mark.nightly), (2, False)]
)
def test_only_a_revision_that_may_have_no_replica_is_ready_without_one(
    tmp_path: Path, least: int | None, ready: bool
) -> None:
    answers = {"containerapp revision show": HEALTHY | {"least": least}, "containerapp replica list": []}
    done = play(tmp_path, "ready.yml", 0, answers, ready_timeout=1)
    assert (done.code == 0) is ready, done.output
    assert ("relay--one has no replica after 1 s" in done.output) is not ready


UP_OR_ASLEEP: list[tuple[dict[str, Any], bool]] = [
    ({"running": "RunningAtMaxScale", "least": 2}, True),
    ({"running": "ScaledToZero", "least": 0}, True),
    ({"running": "ScaledToZero", "least": None, "health": "None"}, True),
    ({"running": "ScaledToZero", "least": 1}, False),
    ({"running": "Degraded", "least": 1}, False),
]


@pytest.mark.parametrize(("seen", "ready"), UP_OR_ASLEEP)
def test_what_azure_says_of_a_revision_that_is_up_or_may_sleep_is_understood(seen: dict[str, Any], ready: bool) -> None:
    assert filters("rollout").healthy(HEALTHY | seen) is ready


@pytest.mark.nightly
@pytest.mark.parametrize(("seen", "ready"), UP_OR_ASLEEP)
def test_a_play_goes_on_where_a_revision_is_up_or_may_sleep(tmp_path: Path, seen: dict[str, Any], ready: bool) -> None:
    replicas = [{"name": f"relay--one-{at}", "ready": True} for at in range(seen["least"] or 0)]
    answers = {"containerapp revision show": HEALTHY | seen, "containerapp replica list": replicas}
    done = play(tmp_path, "ready.yml", 0, answers, ready_timeout=1)
    assert (done.code == 0) is ready, done.output
    assert ("did not become healthy in 1 s" in done.output) is not ready


@pytest.mark.parametrize(
    "state",
    [
        {"provisioning": "Failed"},
        pytest.param({"running": "Failed"}, marks=pytest.mark.nightly),
        pytest.param({"running": "ActivationFailed"}, marks=pytest.mark.nightly),
    ],
    ids=str,
)
def test_a_revision_that_failed_to_start_is_not_waited_for(tmp_path: Path, state: dict[str, str]) -> None:
    failed = HEALTHY | {"health": "Unhealthy", "least": 1, "error": "ContainerCrashing: it ended"} | state
    began = time.monotonic()
    done = play(
        tmp_path, "ready.yml", 0, {"containerapp revision show": failed}, late=DEADLINE_S, ready_timeout=DEADLINE_S
    )
    assert time.monotonic() - began < DEADLINE_S
    assert "relay--one did not become healthy at all" in done.output
    assert "ContainerCrashing: it ended" in done.output


def test_replicas_that_are_not_found_are_gone(tmp_path: Path) -> None:
    done = play(tmp_path, "gone.yml", 10**6, {}, status=404, stop_timeout=1)
    assert done.code == 0, done.output


JUDGED = {
    "record": "step-50",
    "url": "ws://a",
    "connections": 1,
    "seconds": "4",
    "kinds": "vad",
    "checks": ["survival.cut"],
    "manner": [],
    "python": sys.executable,
    "source": str(ROOT),
    "task_timeout": 120,
    "stop_timeout": 1,
    "revision_scheme": "ws",
}


def judged(tmp_path: Path, script: str, answers: dict[str, Any], **variables: object) -> Run:
    """A hold whose lines ``script`` writes to $RECORD, and the play's judgement of it."""
    record = tmp_path / "step-50.jsonl"
    caller = ["sh", "-c", f"RECORD={record}; {script}", "sh"]
    where = {"evidence": str(record), "finding": str(tmp_path / "found.json"), "run_dir": str(tmp_path)}
    return play(tmp_path, ["hold.yml", "judge.yml"], 0, answers, **JUDGED | where | variables, caller=caller)


def test_calls_may_be_held_longer_than_another_task_may_take(tmp_path: Path) -> None:
    done = judged(tmp_path, "sleep 8; echo held to the end >&2; exit 9", {}, seconds="9", task_timeout=6)
    assert "step-50: held to the end" in done.output


def test_a_hold_that_ends_at_once_without_a_record_says_why(tmp_path: Path) -> None:
    done = judged(tmp_path, "echo nobody answers >&2; exit 3", {}, seconds="600")
    assert "step-50: nobody answers" in done.output


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """The address of a revision: what its one replica says of itself is what the test told; nothing: it is gone."""
    said: list[bytes] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if said else 404)
            self.end_headers()
            self.wfile.write(b"".join(said))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def tell(*, listed: bool, draining: bool | None) -> dict[str, Any]:
        about = {"revision": "app--green", "replica": "app--green-1", "sessions": 1, "quiet": 1, "oldest_s": 1}
        said[:] = [] if draining is None else [json.dumps(about | {"draining": draining}).encode()]
        (tmp_path / "names").write_text("app--green-1" if listed else "")
        return {"connect_to": f"127.0.0.1:{server.server_port}", "replicas_command": f"cat {tmp_path / 'names'}"}

    yield tell
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("listed", "draining", "said"),
    [
        (False, None, ""),
        pytest.param(True, True, "", marks=pytest.mark.nightly),
        (True, False, "1012"),
        pytest.param(True, None, "does not say whether", marks=pytest.mark.nightly),
    ],
)
def test_a_1012_in_a_step_is_a_move_only_by_a_replica_that_is_draining_or_gone(
    tmp_path: Path, replicas: Callable[..., dict[str, Any]], listed: bool, draining: bool | None, said: str
) -> None:
    session = {"call": 1, "revision": "app--green", "replica": "app--green-1", "session": "s", "upstream_session": "u"}
    lines = [
        {"observation": "hold.started", "arguments": {"url": "ws://a"}},
        {"observation": "opened", **session, "connect_ms": 1.0, "gap_ms": None},
        {"observation": "closed", **session, "code": 1012, "reason": "", "closed_by": "remote", "age_s": 1.0}
        | {"early": True, "turn": "idle", "turn_s": 1.0},
        {"observation": "hold.completed", "summary": {}},
    ]
    about = {"ts": datetime.now(UTC).isoformat(timespec="milliseconds"), "hold": "0a1b2c3d"}
    written = tmp_path / "written"
    written.write_text("".join(json.dumps(about | line, separators=(",", ":")) + "\n" for line in lines))
    shown = {"containerapp revision show": "app--green.stage.localhost"}
    done = judged(tmp_path, f"cat {written} > $RECORD", shown, **replicas(listed=listed, draining=draining))
    assert (done.code == 0) is (not said), done.output
    assert said in done.output
