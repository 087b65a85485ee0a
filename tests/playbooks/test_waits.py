"""What a play does while it waits and az does not answer. Without a stage: az is a few lines."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
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
        told = Path(task_vars["told"])
        failures, answers = json.loads(told.read_text())
        told.write_text(json.dumps([failures - 1, answers]))
        if failures > 0 or asked["run"] not in answers:
            return {"failed": True, "msg": task_vars["said"], "rc": 1, "status": task_vars["status"]}
        return {"changed": False, "value": answers[asked["run"]], "rc": 0}
"""
PLAY = """
- hosts: CASE
  connection: local
  gather_facts: false
  timeout: "{{ task_timeout | default(600) }}"
  vars: VARIABLES
  tasks:
    - ansible.builtin.set_fact: {deadline: "{{ now().timestamp() + LATE }}"}
    - block:
        - ansible.builtin.include_tasks: "{{ item }}"
          loop: TASKS
      rescue: # a failure would be the end of the cases that follow
        - ansible.builtin.debug: {msg: UNSUCCESSFUL}
"""
UNSUCCESSFUL = "The tasks failed."
NAMES = {"app_name": "relay", "resource_group": "voice", "revision": "relay--one", "poll_seconds": 0.1}
HEALTHY = {"health": "Healthy", "provisioning": "Provisioned", "running": "Running", "error": None}


def play(tmp_path: Path, tasks: str | list[str], failures: int, answers: dict[str, Any], **more: Any) -> Run:
    """One case in a run of its own, in which its variables come before what tasks set."""
    case = Case(
        tasks, failures, answers, **{name: more.pop(name) for name in ("status", "said", "late") if name in more}
    )
    return plays(tmp_path, {"localhost": case}, **more)["localhost"]


class Case:
    """Tasks whose deadline is in ``late`` seconds, with an az whose ``failures`` are of that status, and said so."""

    def __init__(
        self,
        tasks: str | list[str],
        failures: int,
        answers: dict[str, Any],
        *,
        status: int = 429,
        said: str = "Too many requests",
        late: float = 1,
        **variables: object,
    ) -> None:
        self.tasks = [tasks] if isinstance(tasks, str) else tasks
        self.failures, self.answers, self.late = failures, answers, late
        self.variables = {"status": status, "said": said, **variables}

    def written(self, name: str, told: Path) -> str:
        """The case as a play on a host of that name."""
        told.write_text(json.dumps([self.failures, self.answers]))
        itself = {"ansible_python_interpreter": "{{ ansible_playbook_python }}", "told": str(told)}
        tasks = [str(PLAYBOOKS / "tasks" / each) for each in self.tasks]
        text = PLAY.replace("CASE", name).replace("VARIABLES", json.dumps(itself | self.variables))
        return (
            text.replace("TASKS", json.dumps(tasks))
            .replace("LATE", str(self.late))
            .replace("UNSUCCESSFUL", UNSUCCESSFUL)
        )


def plays(tmp_path: Path, cases: Mapping[str, Case], **variables: object) -> dict[str, Run]:
    """What each case ended with. They are run one after the other by one ansible, which takes two seconds to start."""
    (tmp_path / "play.yml").write_text(
        "".join(case.written(name, told(tmp_path, name)) for name, case in cases.items())
    )
    actions = tmp_path / "action_plugins"
    actions.mkdir()
    (actions / "az.py").write_text(AZ)
    for each in ("run.py", "ended.py", "status.py"):
        (actions / each).symlink_to(PLAYBOOKS / "action_plugins" / each)
    (tmp_path / "group_vars").symlink_to(PLAYBOOKS / "group_vars")
    hosts = "".join(f"{name}," for name in cases)
    words = [BIN / "ansible-playbook", "-i", hosts, tmp_path / "play.yml", "-e", json.dumps(NAMES | variables)]
    done = subprocess.run(
        words,
        env=environment(tmp_path / "ansible", ANSIBLE_FILTER_PLUGINS=str(PLAYBOOKS / "filter_plugins")),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_S,
    )
    output = done.stdout.partition("\nPLAY RECAP ")[0]
    said = dict(re.findall(r"^PLAY \[(\S+)\] \*+\n(.*?)(?=^PLAY |\Z)", output, re.MULTILINE | re.DOTALL))
    assert said.keys() == cases.keys(), done.stdout
    return {name: Run(done.returncode or int(UNSUCCESSFUL in text), text) for name, text in said.items()}


def told(tmp_path: Path, name: str) -> Path:
    """What az of that case is told; it counts its answers there."""
    return tmp_path / f"{name}.told.json"


UP_OR_ASLEEP: list[tuple[dict[str, Any], bool]] = [
    ({"running": "RunningAtMaxScale", "least": 2}, True),
    ({"running": "ScaledToZero", "least": 0}, True),
    ({"running": "ScaledToZero", "least": None, "health": "None"}, True),
    ({"running": "ScaledToZero", "least": 1}, False),
    ({"running": "Degraded", "least": 1}, False),
]
UNREPLICATED = [(0, True), (None, True), (2, False)]
FAILED = [{"provisioning": "Failed"}, {"running": "Failed"}, {"running": "ActivationFailed"}]


def ready(seen: dict[str, Any], replicas: int, **more: Any) -> Case:
    """A revision that is waited for, of which Azure says so much."""
    listed = [{"name": f"relay--one-{at}", "ready": True} for at in range(replicas)]
    answers = {"containerapp revision show": HEALTHY | seen, "containerapp replica list": listed}
    return Case("ready.yml", 0, answers, **{"ready_timeout": 1, **more})


CASES = {
    "tried-again": Case("gone.yml", 2, {"containerapp replica list": []}, stop_timeout=60),
    "busy": Case("free.yml", 2, {"containerapp show": "Succeeded"}, busy_timeout=60),
    "over": Case("gone.yml", 10**6, {}, stop_timeout=1),
    "not-found": Case("gone.yml", 10**6, {}, status=404, stop_timeout=1),
    **{f"unreplicated-{least}": ready({"least": least}, 0) for least, _ in UNREPLICATED},
    **{f"seen-{at}": ready(seen, seen["least"] or 0) for at, (seen, _) in enumerate(UP_OR_ASLEEP)},
    **{
        f"failed-{at}": ready(
            {"health": "Unhealthy", "least": 1, "error": "ContainerCrashing: it ended"} | state,
            0,
            late=10 * DEADLINE_S,
            ready_timeout=10 * DEADLINE_S,
        )
        for at, state in enumerate(FAILED)
    },
}


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cases")


@pytest.fixture(scope="module")
def waited(where: Path) -> dict[str, Run]:
    """What each of `CASES` ended with."""
    return plays(where, CASES)


def test_a_read_that_fails_is_tried_again(waited: dict[str, Run]) -> None:
    done = waited["tried-again"]
    assert done.code == 0, done.output


def test_a_read_that_fails_while_a_busy_app_is_waited_for_is_tried_again(waited: dict[str, Run], where: Path) -> None:
    done = waited["busy"]
    assert done.code == 0, done.output
    assert "no attribute" not in done.output
    assert json.loads(told(where, "busy").read_text())[0] < 0, "it was answered in the end"


def test_a_read_that_fails_until_the_time_is_over_says_why(waited: dict[str, Run]) -> None:
    done = waited["over"]
    assert done.code != 0
    assert "Too many requests" in done.output


@pytest.mark.parametrize(("least", "ready"), UNREPLICATED)
def test_only_a_revision_that_may_have_no_replica_is_ready_without_one(
    waited: dict[str, Run], least: int | None, ready: bool
) -> None:
    done = waited[f"unreplicated-{least}"]
    assert (done.code == 0) is ready, done.output
    assert ("relay--one has no replica after 1 s" in done.output) is not ready


@pytest.mark.parametrize(("seen", "ready"), UP_OR_ASLEEP)
def test_what_azure_says_of_a_revision_that_is_up_or_may_sleep_is_understood(seen: dict[str, Any], ready: bool) -> None:
    assert filters("rollout").healthy(HEALTHY | seen) is ready


@pytest.mark.parametrize(("at", "ready"), [(at, ready) for at, (_, ready) in enumerate(UP_OR_ASLEEP)])
def test_a_play_goes_on_where_a_revision_is_up_or_may_sleep(waited: dict[str, Run], at: int, ready: bool) -> None:
    done = waited[f"seen-{at}"]
    assert (done.code == 0) is ready, done.output
    assert ("did not become healthy in 1 s" in done.output) is not ready


@pytest.mark.parametrize("at", range(len(FAILED)), ids=[str(each) for each in FAILED])
def test_a_revision_that_failed_to_start_is_not_waited_for(waited: dict[str, Run], at: int) -> None:
    done = waited[f"failed-{at}"]
    assert done.code != 0
    # To wait for it would take ten times as long as ansible may.
    assert "relay--one did not become healthy at all" in done.output
    assert "ContainerCrashing: it ended" in done.output


def test_replicas_that_are_not_found_are_gone(waited: dict[str, Run]) -> None:
    done = waited["not-found"]
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
