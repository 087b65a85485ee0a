"""Stages as processes, one with an app and empty ones, and ansible as an operator runs it.

No test relies on what another left.
"""

import importlib.util
import json
import os
import re
import shlex
import signal
import ssl
import subprocess
import sys
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from tests.stage.rig import MANY

ROOT = Path(__file__).parents[2]
PLAYBOOKS = ROOT / "playbooks"
BIN = Path(sys.executable).parent
DEADLINE_S = 400.0
"""For one run of a play on a busy machine."""
# Small holds: what they measure is tested elsewhere. As texts, which is what -e NAME=VALUE gives a play.
BRISK: dict[str, object] = {"judge_connections": "8", "judge_seconds": "3", "smoke_connections": "2"}
BRISK |= {"smoke_seconds": "3", "long_connections": "1", "long_seconds": "2"}
# Nobody talks, so there is nothing to compare; and a drain of green takes as long as one of blue.
BRISK |= {"kinds": "vad", "compared_checks": [], "green_checks": [], "smoke_drain": "false"}
BRISK |= {"held_with": ["--talk-every", "0"]}
TALKING: dict[str, object] = {"held_with": [], "smoke_seconds": 8, "judge_seconds": 8, "long_seconds": 8}
TALKING |= {"smoke_drain": "true"}
# To ask az costs a fifth of a second of the processor.
BRISK |= {"poll_seconds": "1"}
BRISK |= {"ready_timeout": "60", "drain_timeout": "600", "stop_timeout": "120", "traffic_steps": "[50, 100]"}
# A short grace period, so that nobody waits long for calls that a test leaves on blue. The drain has to be long enough
# for a turn of 2 s that begins while its call waits to be asked back: of 4 s only 1.4 s are left then.
STAND = """
import asyncio, pathlib, sys
from stage.__main__ import stand
from stage.seed import Seed
asyncio.run(stand(pathlib.Path(sys.argv[1]), None if "--empty" in sys.argv else Seed(grace_s=11, drain_s=8)))
"""
# Of a shell that deploys; what an operator may have exported for Azure is not to be read here.
DEPLOYING = {"RESOURCE_GROUP": "voice", "LOCATION": "eastus2", "PREFIX": "relay", "RTPROXY_APP": "relay"}
DEPLOYING |= {"RTPROXY_RESOURCE_GROUP": "voice", "RTPROXY_REGISTRY": "", "RTPROXY_GATEWAY_URL": ""}
DEPLOYING |= {"AZURE_OPENAI_API_KEY": "", "AZURE_OPENAI_DEPLOYMENT": "", "TLS_SECRET_ID": ""}
SEEDED = {"RTPROXY_APP": "", "RTPROXY_RESOURCE_GROUP": "", "RTPROXY_REGISTRY": ""}


def filters(name: str) -> ModuleType:
    """A module of filter plugins, which are not on Python's path."""
    spec = importlib.util.spec_from_file_location(name, PLAYBOOKS / "filter_plugins" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Run(NamedTuple):
    code: int
    output: str

    @property
    def changed(self) -> int:
        """From the play's recap."""
        return int(self.output.rpartition("changed=")[2].split()[0])


class Stage:
    """What the tests know of a stage: its environment and what it writes. ``az`` is one process for many commands."""

    def __init__(self, out: Path, environ: dict[str, str], az: subprocess.Popen[str]) -> None:
        self.out = out
        self.environ = environ
        self.app = environ["RTPROXY_APP"] or "rtproxy"
        self.group = environ["RTPROXY_RESOURCE_GROUP"] or "rehearsal"
        self._az = az

    def acts(self) -> list[dict[str, Any]]:
        """What was asked of the platform, in order; not what its replicas do by themselves."""
        acts = [json.loads(line) for line in (self.out / "timeline.jsonl").read_text().splitlines()]
        return [act for act in acts if act["act"] in ASKED]

    def az(self, *words: str) -> Any:
        """The answer of the real az, on the app."""
        return self.anywhere(*words, "--name", self.app, "--resource-group", self.group)

    def anywhere(self, *words: str) -> Any:
        """The answer of the real az."""
        assert self._az.stdin is not None
        assert self._az.stdout is not None
        self._az.stdin.write(json.dumps(words) + "\n")
        self._az.stdin.flush()
        answer = json.loads(self._az.stdout.readline())
        assert answer["code"] == 0, answer["error"]
        return answer["value"]

    def weights(self) -> dict[str, int]:
        """Who carries calls, by name."""
        traffic = self.az("containerapp", "ingress", "traffic", "show")
        latest = self.az("containerapp", "show", "--query", "properties.latestReadyRevisionName")
        return {each.get("revisionName") or latest: each["weight"] for each in traffic if each["weight"]}

    def active(self) -> set[str]:
        return set(self.az("containerapp", "revision", "list", "--query", "[].name"))


def inject(stage: Stage, fault: str, **more: object) -> None:
    """Makes something go wrong with the stage's control plane, or ("none") nothing any more."""
    clouds = (Path(stage.environ["AZURE_CONFIG_DIR"]) / "clouds.config").read_text()
    found = re.search(r"endpoint_resource_manager = (\S+)", clouds)
    assert found is not None
    body = json.dumps({"fault": fault, **more}).encode()
    request = urllib.request.Request(f"{found[1]}/_stage/faults", body, {"Content-Type": "application/json"})
    trusted = ssl.create_default_context(cafile=stage.environ["REQUESTS_CA_BUNDLE"])
    with urllib.request.urlopen(request, context=trusted) as answer:
        assert answer.status == 200


def environment(home: Path, **more: str) -> dict[str, str]:
    """What every run of ansible gets: nothing of it goes into the home directory."""
    path = os.pathsep.join((str(BIN), os.environ.get("PATH", os.defpath)))
    return os.environ | {"PATH": path, "ANSIBLE_HOME": str(home), "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"} | more


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One for all plays of a rollout."""
    with standing(tmp_path_factory.mktemp("stage"), SEEDED) as found:
        yield found


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A subscription with nothing in it, for the deployments of a file."""
    with standing(tmp_path_factory.mktemp("empty"), DEPLOYING, "--empty") as found:
        yield found


@contextmanager
def standing(out: Path, exported: dict[str, str], *flags: str) -> Iterator[Stage]:
    log = out.with_suffix(".log")
    with log.open("wb") as stderr:
        words = [sys.executable, "-c", STAND, str(out), *flags]
        process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True)
    assert process.stdout is not None
    try:
        while (line := process.stdout.readline()) != "Ctrl-C ends all of it.\n":
            assert line, log.read_text()
        exports = (out / "env.sh").read_text().splitlines()
        exporting = dict(shlex.split(line)[1].split("=", 1) for line in exports)
        # Without the usual CAs, which a shell's other tools need: az reads them all for each connection.
        exporting["REQUESTS_CA_BUNDLE"] = str(out / "ca.pem")
        environ = environment(out / "ansible", **exporting | exported)
        with asking(environ) as az:
            yield Stage(out, environ, az)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE_S)
        process.stdout.close()


@contextmanager
def asking(environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The real az, a command a line: to start one costs more than a second, and a test asks a dozen times."""
    command, pipe = [sys.executable, "-c", MANY], subprocess.PIPE
    with subprocess.Popen(command, env=environ, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as az:
        yield az


ASKED = {"app.updated", "revision.created", "revision.activated", "revision.deactivated", "traffic.set"}
Play = Callable[..., Run]
# The same failures each time, and others at night: a test that fails now and then is no news of a change.
BASE_SEED = int(os.environ.get("STUMBLE_SEED") or 0)
RUNS: Counter[str] = Counter()


def command(playbook: str, *flags: str, **variables: object) -> list[str]:
    extra = json.dumps(BRISK | variables)
    inventory = PLAYBOOKS / "inventories" / "stage.yml"
    return [str(BIN / "ansible-playbook"), "-i", str(inventory), str(PLAYBOOKS / playbook), "-e", extra, *flags]


@pytest.fixture
def play(stage: Stage, tmp_path: Path) -> Play:
    """Runs a play on the stage to its end: ``play("bluegreen.yml", "--check", release="one")``."""
    return player(stage, tmp_path)


def player(stage: Stage, tmp_path: Path, *, steady: bool = False) -> Play:
    """Unless ``steady``, the control plane has a bad day: connections break, and writes are refused for a while.

    What fails is that of a seed, which is printed.
    """

    def run(playbook: str, *flags: str, **variables: object) -> Run:
        words = command(playbook, *flags, **{"run_dir": str(tmp_path / "run"), **variables})
        with nullcontext() if steady else stumbling(stage, playbook):
            done = subprocess.run(
                words,
                env=stage.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=DEADLINE_S,
            )
        return Run(done.returncode, done.stdout)

    return run


@contextmanager
def stumbling(stage: Stage, playbook: str) -> Iterator[None]:
    sys.stdout.write(f"{playbook}: what goes wrong on the way is that of STUMBLE_SEED={BASE_SEED}\n")
    test = os.environ.get("PYTEST_CURRENT_TEST", "")
    RUNS[test] += 1
    seed = zlib.crc32(f"{BASE_SEED} {test} {RUNS[test]}".encode())
    inject(stage, "stumble", seed=seed, writes=0.3, reads=0.01)
    try:
        yield
    finally:
        inject(stage, "stumble", writes=0)
