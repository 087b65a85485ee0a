"""The workflow that deploys: what may be typed, and a login that holds for as long as a play takes."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PLAY = ROOT / ".github" / "play.py"
WORKFLOW: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "deploy.yml").read_text())
DEADLINE_S = 60
# Writes down how it was called, and what is in the files of its arguments.
RECORDER = """#!{python}
import json, os, sys, time
read = lambda word: open(word[1:]).read() if word.startswith("@") else word
with open({log!r}, "a") as log:
    print(json.dumps([{name!r}, *map(read, sys.argv[1:])]), file=log)
{then}
"""


@pytest.fixture(scope="module")
def play() -> ModuleType:
    spec = importlib.util.spec_from_file_location("play", PLAY)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


class Tokens(BaseHTTPRequestHandler):
    """GitHub's endpoint, which gives another token each time."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        assert self.headers["Authorization"] == "bearer the-job"
        assert self.path == "/token?x=1&audience=api://AzureADTokenExchange"
        self.asked.append(f"token-{len(self.asked)}")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"value": self.asked[-1]}).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class Job:
    """A shell of the workflow, with an az and an ansible-playbook that write down how they were called."""

    def __init__(self, folder: Path, tokens: str) -> None:
        self.log = folder / "log"
        self.folder = folder
        self.environ = os.environ | {
            "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
            "ACTIONS_ID_TOKEN_REQUEST_URL": tokens,
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "the-job",
            "AZURE_CLIENT_ID": "client",
            "AZURE_TENANT_ID": "tenant",
            "AZURE_SUBSCRIPTION_ID": "subscription",
        }
        self.write("az")

    def write(self, name: str, then: str = "") -> None:
        file = self.folder / name
        file.write_text(RECORDER.format(python=sys.executable, log=str(self.log), name=name, then=then))
        file.chmod(0o755)

    def start(self, *words: str, **typed: str) -> "subprocess.Popen[str]":
        words = (sys.executable, str(PLAY), *words)
        out = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(words, env=self.environ | typed, **out)

    def called(self) -> list[list[str]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    Tokens.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Tokens) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Job(tmp_path, f"http://127.0.0.1:{server.server_address[1]}/token?x=1")
        server.shutdown()


def test_what_is_typed_becomes_variables_of_the_play(play: ModuleType) -> None:
    typed = {"RELEASE": "one-2", "STEPS": "10, 50,100", "DRAIN_TIMEOUT": "3600", "VARIABLES": '{"ready_timeout": 600}'}
    given = {"release": "one-2", "traffic_steps": [10, 50, 100], "drain_timeout": 3600, "ready_timeout": 600}
    assert play.variables(typed) == given
    assert play.variables(dict.fromkeys(typed, "")) == {}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("RELEASE", "{{ lookup('pipe', 'id') }}", "release: lower-case letters"),
        ("STEPS", "10; 50", "steps: shares of new calls"),
        ("DRAIN_TIMEOUT", "1h", "drain_timeout: a number of seconds"),
        ("VARIABLES", "[1]", "variables: a JSON object"),
        ("VARIABLES", "ready_timeout=600", "variables: not JSON"),
        ("VARIABLES", '{"a": ["{{ lookup(1) }}"]}', "variables: values as they are"),
        ("VARIABLES", '{"a{% if x %}": 1}', "variables: values as they are"),
        ("VARIABLES", '{"a": "\\u007b\\u007b x }}"}', "variables: values as they are"),
    ],
)
def test_what_ansible_would_evaluate_or_not_understand_is_refused(
    play: ModuleType, name: str, text: str, said: str
) -> None:
    with pytest.raises(play.Mistyped, match=re.escape(said)):
        play.variables({name: text})


def test_nothing_begins_where_an_input_is_mistyped(job: Job) -> None:
    running = job.start("bluegreen", STEPS="all")
    said, _ = running.communicate(timeout=DEADLINE_S)
    assert (running.returncode, job.called()) == (2, [])
    assert said.startswith("::error::steps:")


def test_a_play_is_logged_in_before_it_begins_and_its_exit_code_is_the_jobs(job: Job) -> None:
    job.write("ansible-playbook", "sys.exit(3)")
    running = job.start("bluegreen", "--check", STEPS="50,100")
    running.communicate(timeout=DEADLINE_S)
    assert running.returncode == 3
    login, subscription, played = job.called()
    assert login[:2] == ["az", "login"]
    assert login[login.index("--federated-token") + 1] == "token-0", (
        "by a file: processes are listed with their arguments"
    )
    assert subscription[:5] == ["az", "account", "set", "--subscription", "subscription"]
    words = ["--diff", "--extra-vars", '{"traffic_steps": [50, 100]}', "--check"]
    assert played == ["ansible-playbook", "playbooks/bluegreen.yml", *words]


def test_a_login_is_renewed_while_the_play_runs(job: Job) -> None:
    renewed = f"while open({str(job.log)!r}).read().count('federated') < 3: time.sleep(0.05)"
    job.write("ansible-playbook", renewed)
    running = job.start("bluegreen", RENEWAL_SECONDS="0.2")
    running.communicate(timeout=DEADLINE_S)
    assert running.returncode == 0
    tokens = [each[each.index("--federated-token") + 1] for each in job.called() if "login" in each]
    assert tokens[:3] == ["token-0", "token-1", "token-2"]


def test_a_job_that_github_ends_ends_the_play_and_waits_for_it(job: Job) -> None:
    ends = "import signal\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(5))"
    ends += "\nprint('plays', flush=True)\nsignal.pause()"
    job.write("ansible-playbook", ends)
    running = job.start("bluegreen")
    assert running.stdout is not None
    assert running.stdout.readline() == "plays\n"
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=DEADLINE_S)
    assert running.returncode == 5


def test_a_job_has_time_for_the_drain_of_an_hour_and_keeps_its_records_however_it_ends() -> None:
    jobs = WORKFLOW["jobs"]
    assert jobs["play"]["timeout-minutes"] >= 60 + 60
    assert jobs["play"]["needs"] == "plan"
    for name, path in (("plan", "plan.txt"), ("play", "rollouts")):
        (upload,) = (
            step for step in jobs[name]["steps"] if step.get("uses", "").startswith("actions/upload-artifact@")
        )
        assert (upload["if"], upload["with"]["path"]) == ("${{ always() }}", path)


def test_both_jobs_give_a_play_the_same_environment() -> None:
    given = [
        next(step["env"] for step in WORKFLOW["jobs"][name]["steps"] if "play.py" in step.get("run", ""))
        for name in ("plan", "play")
    ]
    assert given[0] == given[1]
    typed = WORKFLOW[True]["workflow_dispatch"]["inputs"]
    assert {each.upper() for each in typed} - set(WORKFLOW["env"]) == {"ENVIRONMENT", "CHECK"}
