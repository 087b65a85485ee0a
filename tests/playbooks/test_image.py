"""The image of a release: its base, the build in the registry, and what is said where either fails."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.playbooks.conftest import BIN, DEADLINE_S, PLAYBOOKS, ROOT, Run, Stage, filters
from tests.playbooks.test_deploy import inject

pytestmark = pytest.mark.timeout(DEADLINE_S)
HUB = "docker.io/library/python"
DIGEST = f"sha256:{'ab' * 32}"
BUILD = """
- hosts: all
  gather_facts: false
  timeout: "{{ task_timeout }}"
  tasks:
    - az: {run: acr show, args: {name: "{{ registry }}", query: loginServer}}
      register: login_server
    - ansible.builtin.include_tasks: IMAGE
"""
Build = Callable[..., Run]


@pytest.fixture
def build(stage: Stage, tmp_path: Path) -> Iterator[Build]:
    """Has the image of a release as the plays have it, of a source that is one file."""
    (tmp_path / "play.yml").write_text(BUILD.replace("IMAGE", str(PLAYBOOKS / "tasks" / "image.yml")))
    source = tmp_path / "source"
    source.mkdir()
    plugins = {f"ANSIBLE_{kind.upper()}_PLUGINS": str(PLAYBOOKS / f"{kind}_plugins") for kind in ("filter", "action")}

    def run(text: str = f"FROM {HUB}:3 AS pinned\nARG BASE=pinned\nFROM ${{BASE}}\n", **variables: object) -> Run:
        lines = text.splitlines()
        arguments = [line for line in lines if line.startswith("ARG")]
        (source / "Containerfile").write_text("\n".join(arguments + [each for each in lines if each not in arguments]))
        words = [BIN / "ansible-playbook", "-i", PLAYBOOKS / "inventories" / "stage.yml", tmp_path / "play.yml"]
        words += [
            "-e",
            f"@{PLAYBOOKS / 'group_vars' / 'all.yml'}",
            "-e",
            json.dumps({"source": str(source), "run_dir": str(tmp_path / "run")} | variables),
        ]
        done = subprocess.run(
            words,
            env=stage.environ | plugins | {"ANSIBLE_LIBRARY": str(PLAYBOOKS / "library")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE_S,
        )
        return Run(done.returncode, done.stdout)

    yield run
    inject(stage, "none")


def tags(stage: Stage, repository: str) -> list[str]:
    found: list[str] = stage.anywhere("acr", "repository", "show-tags", "-n", "rehearsal", "--repository", repository)
    return found


def last_log(stage: Stage) -> str:
    (run,) = stage.anywhere("acr", "task", "list-runs", "-r", "rehearsal", "--top", "1", "--query", "[].runId")
    command = [BIN / "az", "acr", "task", "logs", "-r", "rehearsal", "--run-id", run]
    return subprocess.run(command, env=stage.environ, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def image() -> ModuleType:
    return filters("image")


@pytest.mark.parametrize(
    ("base", "source", "target", "reference"),
    [
        ("python", f"{HUB}:latest", "library/python:latest", "library/python:latest"),
        (f"{HUB}:3.13-slim", f"{HUB}:3.13-slim", "library/python:3.13-slim", "library/python:3.13-slim"),
        ("me/python:3", "docker.io/me/python:3", "me/python:3", "me/python:3"),
        (f"index.{HUB}:3", f"{HUB}:3", "library/python:3", "library/python:3"),
        (
            f"{HUB}:3.13-slim@{DIGEST}",
            f"{HUB}@{DIGEST}",
            "library/python:3.13-slim-abababababab",
            f"library/python@{DIGEST}",
        ),
    ],
)
def test_an_image_of_docker_hub_gets_a_name_in_the_own_registry(
    image: ModuleType, base: str, source: str, target: str, reference: str
) -> None:
    found = image.hub_image(base)
    assert (found["source"], found["target"], found["reference"]) == (source, target, reference)
    assert f"{found['repository']}:{found['tag']}" == target
    assert found["fixed"] is ("@" in base)


@pytest.mark.parametrize("base", ["mcr.microsoft.com/x/python:3", "localhost/python", f"mirror:5000/python@{DIGEST}"])
def test_an_image_of_another_registry_stays_there(image: ModuleType, base: str) -> None:
    assert image.hub_image(base) == {}


def test_the_base_of_the_containerfile_is_found(image: ModuleType) -> None:
    assert image.hub_image(image.pinned((ROOT / "Containerfile").read_text()))["repository"] == "library/python"


def test_the_base_is_imported_and_the_image_built_from_it(stage: Stage, build: Build) -> None:
    done = build(release="based")
    assert done.code == 0, done.output
    assert "3" in tags(stage, "library/python")
    assert "based" in tags(stage, "rtproxy")
    server = stage.anywhere("acr", "show", "-n", "rehearsal", "--query", "loginServer")
    assert f"---> {server}/library/python:3" in last_log(stage)
    # A registry builds every stage of a Containerfile, also the one that has the base and is not used.
    assert "docker.io" not in last_log(stage)


@pytest.mark.nightly
def test_docker_hub_is_not_asked_again_for_a_digest_that_is_there(stage: Stage, build: Build) -> None:
    base = f"{HUB}:3@{DIGEST}"
    assert build(release="once", base=base).code == 0
    inject(stage, "refuse", what="docker-hub")
    again = build(release="again", base=base)
    assert (again.code, again.changed) == (0, 1), again.output
    assert f"library/python@{DIGEST}" in last_log(stage)


def test_a_limit_of_docker_hub_stops_only_who_has_no_base_yet(stage: Stage, build: Build) -> None:
    inject(stage, "refuse", what="docker-hub")
    refused = build(release="limited", base="docker.io/other/base:1")
    assert refused.code != 0
    said = " ".join(refused.output.split())
    assert "The registry could not import docker.io/other/base:1" in said
    assert (
        "run again later, or import it with a login, az acr import --name rehearsal --source docker.io/other/base:1 "
        "--image other/base:1 --username NAME --password TOKEN, and run again, or take another registry with "
        "-e base=REGISTRY/NAME:TAG. Nothing was built."
    ) in said
    assert "limited" not in tags(stage, "rtproxy")

    login = ("--source", "docker.io/other/base:1", "--image", "other/base:1", "--username", "me", "--password", "mine")
    stage.anywhere("acr", "import", "--name", "rehearsal", *login)
    done = build(release="limited", base="docker.io/other/base:1")
    assert done.code == 0, done.output
    assert "docker.io/other/base:1 could not be imported" in done.output
    assert "limited" in tags(stage, "rtproxy")


@pytest.mark.nightly
def test_a_base_of_another_registry_is_taken_as_it_is(stage: Stage, build: Build) -> None:
    inject(stage, "refuse", what="docker-hub")
    done = build(release="elsewhere", build_args={"BASE": "mirror.example/python:3"})
    assert (done.code, done.changed) == (0, 1), done.output
    assert "---> mirror.example/python:3" in last_log(stage)
    assert "docker.io" not in last_log(stage)


def test_a_build_that_fails_shows_its_log_and_its_last_line(stage: Stage, build: Build) -> None:
    failed = build(f"FROM {HUB}:3 AS pinned\nCOPY nowhere .\n", release="broken")
    assert failed.code != 0
    assert "Step 1/2 : FROM" in failed.output
    assert "the build of rtproxy:broken, is Failed: COPY failed: file not found in build context" in failed.output
    assert "All of its log: az acr task logs --registry rehearsal --run-id ca" in failed.output
    assert "broken" not in tags(stage, "rtproxy")


@pytest.mark.nightly
def test_a_limit_of_docker_hub_within_a_build_is_named_with_its_cure(stage: Stage, build: Build) -> None:
    inject(stage, "refuse", what="docker-hub")
    failed = build("FROM mirror.example/python:3 AS pinned\nFROM python:3\n", release="within")
    assert failed.code != 0
    assert "toomanyrequests: You have reached your unauthenticated pull rate limit." in failed.output
    assert "run again later, or take a base of another one with -e base=REGISTRY/NAME:TAG." in failed.output


def test_a_registry_that_builds_nothing_is_named_with_its_cure(stage: Stage, build: Build) -> None:
    inject(stage, "refuse", what="tasks")
    refused = build(release="trial")
    assert refused.code != 0
    assert "(TasksOperationsNotAllowed)" in refused.output
    assert "build it here with -e build=local -e engine=docker (or podman)" in refused.output
