"""Calls and rollouts that go on beside a test, and what they leave behind."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.playbooks.conftest import DEADLINE_S, ROOT, Stage, command

IMAGE = "docker.io/library/rtproxy:1"
"""Of a registry that is not the stage's own: it counts as present, and nothing is built."""


@contextmanager
def calls(stage: Stage, record: Path, *flags: str) -> Iterator[None]:
    """Four calls through the gateway while the block runs."""
    gateway = stage.environ["STAGE_GATEWAY_URL"]
    # A part of the ingress may still go by the weights that the test before left, and refuse a call.
    shares = [word for name, weight in stage.weights().items() for word in ("--share", f"{name}={weight}")]
    subprocess.run([sys.executable, "-m", "clients.settle", gateway, *shares], cwd=ROOT, check=True, timeout=DEADLINE_S)
    words = [sys.executable, "-m", "clients.hold", gateway, "--connections", "4"]
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


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def until_said(output: IO[str], words: str) -> str:
    """What a play says, up to a line that begins with ``words``."""
    said = ""
    for line in output:
        said += line
        if line.startswith(words):
            return said
    raise AssertionError(f"it never said {words}: {said}")


def observed(record: Path, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    return [line for line in lines if line["observation"] == name]
