"""A stage with an app on it and the real az beside it: one a file, as a start costs more than a test."""

import asyncio
import json
import os
import shlex
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
import pytest_asyncio

from stage.arm import Arm, Registry
from stage.platform import Environment, Timing, Unverified
from stage.timeline import Timeline

DEADLINE_S = 120.0
SECRET = "the-value-of-a-secret"
APP = "containerapp {} -n rtproxy -g rehearsal "

# One az process for many commands: the first one costs 0.3 s, the others next to nothing. It notes whom it dials.
MANY = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
contacted = set()
def hook(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        contacted.add(arguments[1][0])
    elif event == "socket.getaddrinfo":
        contacted.add(arguments[0])
sys.addaudithook(hook)
from azure.cli.core import get_default_cli
cli, wire = get_default_cli(), sys.stdout
for line in sys.stdin:
    printed, noise = io.StringIO(), io.StringIO()
    with redirect_stdout(printed), redirect_stderr(noise):
        code = cli.invoke(json.loads(line), out_file=io.StringIO())
    answer = dict(
        code=code, value=cli.result.result, error=str(cli.result.error or ""), printed=printed.getvalue(),
        contacted=sorted(contacted)
    )
    wire.write(json.dumps(answer, default=str) + "\\n")
    wire.flush()
"""


class Answer(NamedTuple):
    code: int
    value: Any
    error: str
    printed: str
    contacted: list[str]


class Az:
    """`await az("containerapp show ...")` is what it printed, parsed; `az.refused(...)` is its error."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def run(self, command: str, *more: str) -> Answer:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([*shlex.split(command), *more]).encode() + b"\n")
        async with asyncio.timeout(DEADLINE_S):
            return Answer(**json.loads(await self._process.stdout.readline()))

    async def __call__(self, command: str, *more: str) -> Any:
        answer = await self.run(command, *more)
        assert answer.code == 0, answer.error
        return answer.value

    async def refused(self, command: str, *more: str) -> str:
        answer = await self.run(command, *more)
        assert answer.code != 0, answer.value
        return answer.error


class Rig(NamedTuple):
    arm: Arm
    environment: Environment
    az: Az
    registry: Registry
    timeline: Timeline

    async def fresh_app(self) -> None:
        """An app `rtproxy` with one revision `blue`, ready, in Multiple mode."""
        async with asyncio.timeout(DEADLINE_S):
            if (app := self.environment.apps.get("rtproxy")) is not None:
                (revision, *others) = app.revisions.values()
                if app.properties == properties() and revision.health_state == "Healthy" and not others:
                    return
                await self.environment.delete("rtproxy")
            app = await self.environment.put("rtproxy", properties())
            await app.settled()

    async def process(self, command: str) -> Process:
        """A real az of its own, which keeps no line back: Python does, for a pipe."""
        az = Path(sys.executable).parent / "az"
        environ = {**os.environ, **self.arm.environ, "PYTHONUNBUFFERED": "1"}
        return await asyncio.create_subprocess_exec(az, *shlex.split(command), env=environ, stdout=PIPE, stderr=PIPE)


def properties() -> dict[str, Any]:
    return {
        "configuration": {
            "activeRevisionsMode": "Multiple",
            "ingress": {"external": True, "targetPort": 8080, "traffic": [{"latestRevision": True, "weight": 100}]},
            "secrets": [{"name": "client-keys", "value": f"alice:{SECRET}"}],
        },
        "template": {
            "revisionSuffix": "blue",
            "terminationGracePeriodSeconds": 2,
            "containers": [
                {
                    "name": "rtproxy",
                    "image": "elsewhere.example/rtproxy:1",
                    "env": [
                        {"name": "AZURE_OPENAI_ENDPOINT", "value": "http://127.0.0.1:9"},
                        {"name": "AZURE_OPENAI_DEPLOYMENT", "value": "gpt-realtime"},
                        {"name": "AZURE_OPENAI_API_KEY", "value": "model-key"},
                        {"name": "RTPROXY_CLIENT_KEYS", "secretRef": "client-keys"},
                        {"name": "RTPROXY_DRAIN_SECONDS", "value": "1"},
                    ],
                    "probes": [{"type": "Readiness", "httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1}],
                }
            ],
            "scale": {"minReplicas": 1, "maxReplicas": 2},
        },
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    tmp_path = tmp_path_factory.mktemp("stage")
    registry = Registry()
    brisk = {"timing": Timing(back_off_s=0.1), "unverified": Unverified(crashes_that_fail=2, weights_late_s=0)}
    with (tmp_path / "timeline.jsonl").open("wb") as stream:
        timeline = Timeline(stream)
        async with (
            Environment(tmp_path, timeline, pull=registry.has, **brisk) as environment,
            Arm(environment, tmp_path, registry=registry) as arm,
        ):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", MANY, env={**os.environ, **arm.environ}, stdin=PIPE, stdout=PIPE, limit=1 << 22
            )
            yield Rig(arm, environment, Az(process), registry, timeline)
            assert process.stdin is not None
            process.stdin.close()
            async with asyncio.timeout(DEADLINE_S):
                await process.wait()


@pytest_asyncio.fixture(loop_scope="module")
async def az(rig: Rig) -> Az:
    """An az beside an app that is up."""
    rig.arm.faults.clear()
    await rig.fresh_app()
    return rig.az


async def bearer(rig: Rig) -> dict[str, str]:
    """The header of a caller that has a token."""
    endpoint, header = rig.arm.environ["IDENTITY_ENDPOINT"], {"X-IDENTITY-HEADER": rig.arm.environ["IDENTITY_HEADER"]}
    query = {"api-version": "2019-08-01", "resource": "https://management.rehearsal.localhost/"}
    async with aiohttp.ClientSession() as client, client.get(endpoint, params=query, headers=header) as answer:
        return {"Authorization": f"Bearer {(await answer.json())['access_token']}"}


def weights(traffic: list[dict[str, Any]]) -> dict[str, int]:
    return {entry.get("revisionName", "latest"): entry["weight"] for entry in traffic}


TEMPLATE = {
    "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
    "contentVersion": "1.0.0.0",
    "parameters": {"suffix": {"type": "string"}, "keys": {"type": "secureString", "defaultValue": f"bob:{SECRET}"}},
    "resources": [{"type": "Microsoft.App/containerApps", "apiVersion": "2025-07-01", "name": "rtproxy"}],
    "outputs": {"greeting": {"type": "string", "value": "literal, ]text"}},
}


def template(path: Path, **resource: Any) -> Path:
    """A template file whose one resource is the app, a comment in it as az allows."""
    app = {"location": "eastus2", "properties": properties()} | TEMPLATE["resources"][0] | resource
    app["properties"]["configuration"]["secrets"] = [{"name": "client-keys", "value": "[parameters('keys')]"}]
    app["properties"]["template"]["revisionSuffix"] = "[parameters('suffix')]"
    path.write_text("// template: a comment\n" + json.dumps(TEMPLATE | {"resources": [app]}))
    return path
