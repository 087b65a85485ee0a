"""The real az, against the stage: what it asks for happens to real replicas, and what it is told is true."""

import asyncio
import io
import json
import os
import shlex
import sys
import tarfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
import pytest_asyncio

from stage.arm import Arm, Registry
from stage.arm.ids import SUBSCRIPTION
from stage.platform import Environment, Timing, Unverified
from stage.timeline import Timeline

# One stage for all: a start costs more than most commands. What a test leaves of the app, the next one begins without.
pytestmark = [pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

DEADLINE_S = 30.0
SECRET = "the-value-of-a-secret"
APP = "containerapp {} -n rtproxy -g rehearsal "

# One az process for many commands: the first one costs 0.3 s, the others next to nothing. It notes whom it dials.
_MANY = """
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
        """A real az of its own."""
        az = Path(sys.executable).parent / "az"
        return await asyncio.create_subprocess_exec(
            az, *shlex.split(command), env={**os.environ, **self.arm.environ}, stdout=PIPE, stderr=PIPE
        )


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
    brisk = {"timing": Timing(back_off_s=0.1), "unverified": Unverified(crashes_that_fail=2)}
    with (tmp_path / "timeline.jsonl").open("wb") as stream:
        timeline = Timeline(stream)
        async with (
            Environment(tmp_path, timeline, pull=registry.has, **brisk) as environment,
            Arm(environment, tmp_path, registry=registry) as arm,
        ):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _MANY, env={**os.environ, **arm.environ}, stdin=PIPE, stdout=PIPE, limit=1 << 22
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


async def test_a_rollout_typed_in_az_moves_traffic_and_ends_the_old_revision(rig: Rig, tmp_path: Path) -> None:
    """Every command is a process of its own, as in a shell."""
    file = template(tmp_path / "main.json")

    async def az(command: str) -> Any:
        process = await rig.process(command)
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return json.loads(out) if out.strip() else None

    await az("group create -n rehearsal -l eastus2")
    deployed = await az(f"deployment group create -g rehearsal -n first --template-file {file} --parameters suffix=r1")
    assert deployed["properties"]["provisioningState"] == "Succeeded"
    assert deployed["properties"]["outputs"]["greeting"]["value"] == "literal, ]text"
    await az(APP.format("ingress traffic set") + "--revision-weight rtproxy--r1=100 latest=0")
    updated = await az(APP.format("update") + "--revision-suffix r2 --set-env-vars RTPROXY_MAX_SESSIONS=9")
    assert updated["properties"]["latestReadyRevisionName"] == "rtproxy--r2"
    assert updated["properties"]["configuration"]["ingress"]["fqdn"] == "rtproxy.stage.localhost"
    half = await az(APP.format("ingress traffic set") + "--revision-weight rtproxy--r1=50 rtproxy--r2=50")
    assert weights(half) == {"latest": 0, "rtproxy--r1": 50, "rtproxy--r2": 50}
    await az(APP.format("ingress traffic set") + "--revision-weight rtproxy--r1=0 rtproxy--r2=100")
    old = await az(APP.format("revision show") + "--revision rtproxy--r1")
    assert (old["properties"]["active"], old["properties"]["trafficWeight"]) == (True, 0)
    await az(APP.format("revision deactivate") + "--revision rtproxy--r1")
    active = await az(APP.format("revision list"))
    assert [revision["name"] for revision in active] == ["rtproxy--r2"]


async def test_revision_documents_tell_what_runs(rig: Rig, az: Az) -> None:
    document = (await az(APP.format("revision show") + "--revision rtproxy--blue"))["properties"]
    assert (document["healthState"], document["provisioningState"]) == ("Healthy", "Provisioned")
    assert (document["runningState"], document["replicas"], document["trafficWeight"]) == ("Running", 1, 100)
    assert document["fqdn"] == "rtproxy--blue.stage.localhost"
    assert document["template"]["scale"] == {"minReplicas": 1, "maxReplicas": 2}
    (replica,) = await az(APP.format("replica list"))
    assert replica["name"] == rig.environment.apps["rtproxy"].latest.replicas[0].name
    assert replica["properties"]["containers"][0]["ready"]
    again = await az(APP.format("replica show") + f"--replica {replica['name']}")
    assert again["name"] == replica["name"]


async def test_az_contacts_nothing_but_loopback(rig: Rig, az: Az, tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Dockerfile").write_text("FROM scratch\n")
    for command in (
        "account show",
        "group list",
        "resource list",
        APP.format("update") + "--min-replicas 1",
        APP.format("logs show"),
        "acr login -n rehearsal --expose-token",
        f"acr build -r rehearsal -t relay:1 {tmp_path}/context",
        "storage account list",
    ):
        assert set((await az.run(command)).contacted) <= {"127.0.0.1"}, command


async def test_what_the_stage_does_not_have_is_refused_by_name(rig: Rig, az: Az) -> None:
    url = f"{rig.arm.url}/subscriptions/{SUBSCRIPTION}/resourceGroups/rehearsal/providers/Microsoft.Cache/redis/foo"
    assert f"the stage has no GET {url.removeprefix(rig.arm.url)}" in await az.refused(f"rest --url {url}")
    assert "the stage has no" in await az.refused("storage account list")


async def test_arm_refuses_whoever_brings_no_token(rig: Rig, az: Az) -> None:
    url = f"{rig.arm.url}/subscriptions/{SUBSCRIPTION}/resourceGroups"
    async with aiohttp.ClientSession() as client, client.get(url, ssl=False) as answer:
        assert answer.status == 401
        assert (await answer.json())["error"]["code"] == "AuthenticationFailed"


async def test_a_broken_body_is_a_400_and_says_so(rig: Rig, az: Az) -> None:
    url = f"{rig.arm.url}/subscriptions/{SUBSCRIPTION}/resourceGroups/rehearsal/providers/Microsoft.App/containerApps/x"
    assert "The request content is not JSON" in await az.refused(f"rest --method put --url {url} --body", "{oops")


async def test_paths_are_read_without_regard_to_case_or_a_last_slash(rig: Rig, az: Az) -> None:
    path = f"/subscriptions/{SUBSCRIPTION}/RESOURCEGROUPS/Rehearsal/providers/microsoft.app/containerapps/rtproxy/"
    assert (await az(f"rest --url {rig.arm.url}{path}"))["name"] == "rtproxy"


class TestUpdating:
    async def test_a_crashing_revision_fails_the_update_with_its_last_words(self, rig: Rig, az: Az) -> None:
        broken = "--revision-suffix green --set-env-vars RTPROXY_DRAIN_SECONDS=soon"
        error = await az.refused(APP.format("update") + broken)
        assert "Failed to provision revision 'rtproxy--green'" in error
        assert "RTPROXY_DRAIN_SECONDS" in error
        shown = await az(APP.format("revision show") + "--revision rtproxy--green")
        assert shown["properties"]["provisioningState"] == "Failed"
        assert "RTPROXY_DRAIN_SECONDS" in shown["properties"]["provisioningError"]

    async def test_weights_can_be_set_while_the_latest_revision_is_a_failed_one(self, rig: Rig, az: Az) -> None:
        await az.refused(APP.format("update") + "--revision-suffix green --set-env-vars RTPROXY_DRAIN_SECONDS=soon")
        back = await az(APP.format("ingress traffic set") + "--revision-weight rtproxy--blue=100 latest=0")
        assert weights(back) == {"latest": 0, "rtproxy--blue": 100}

    async def test_an_update_without_a_suffix_gets_a_new_one(self, rig: Rig, az: Az) -> None:
        await az(APP.format("update") + "--set-env-vars RTPROXY_MAX_SESSIONS=7")
        names = [each["name"] for each in await az(APP.format("revision list"))]
        assert len(set(names)) == 2
        assert names[0] == "rtproxy--blue"

    async def test_a_suffix_that_was_used_is_refused(self, rig: Rig, az: Az) -> None:
        await az(APP.format("update") + "--revision-suffix green --min-replicas 2")
        error = await az.refused(APP.format("update") + "--revision-suffix blue --min-replicas 1")
        assert "a revision with suffix 'blue' already exists" in error

    async def test_a_copy_runs_the_template_of_the_revision_named(self, rig: Rig, az: Az) -> None:
        await az(APP.format("update") + "--revision-suffix green --set-env-vars RTPROXY_MAX_SESSIONS=7")
        copied = await az(APP.format("revision copy") + "--from-revision rtproxy--blue")
        (container,) = copied["properties"]["template"]["containers"]
        assert "RTPROXY_MAX_SESSIONS" not in [variable["name"] for variable in container["env"]]
        assert copied["properties"]["latestRevisionName"] not in ("rtproxy--blue", "rtproxy--green")

    async def test_a_patch_merges_objects_replaces_lists_and_removes_what_is_null(self, rig: Rig, az: Az) -> None:
        path = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rehearsal/providers/Microsoft.App/containerApps/rtproxy"
        scale = {"maxReplicas": 3, "minReplicas": None, "rules": [{"name": "a", "http": {"metadata": {}}, "tcp": None}]}
        body = json.dumps({"tags": {"by": "hand"}, "properties": {"template": {"scale": scale}}})
        await az(f"rest --method patch --url {rig.arm.url}{path} --body", body)
        shown = await az(APP.format("show"))
        assert shown["tags"] == {"by": "hand"}
        assert shown["properties"]["template"]["scale"] == {
            "maxReplicas": 3,
            "rules": [{"name": "a", "http": {"metadata": {}}}],
        }
        assert shown["properties"]["template"]["terminationGracePeriodSeconds"] == 2

    async def test_set_mode_to_single_and_back_keeps_the_app(self, rig: Rig, az: Az) -> None:
        assert await az(APP.format("revision set-mode") + "--mode single") == "Single"
        assert "configured for single revision" in await az.refused(
            APP.format("ingress traffic set") + "--revision-weight rtproxy--blue=100"
        )
        assert await az(APP.format("revision set-mode") + "--mode multiple") == "Multiple"
        # az sends back the whole document that it read.
        assert "latestRevisionName" not in rig.environment.apps["rtproxy"].properties
        assert [each["name"] for each in await az(APP.format("revision list"))] == ["rtproxy--blue"]

    async def test_a_missing_app_is_not_found(self, rig: Rig, az: Az) -> None:
        assert "does not exist" in await az.refused("containerapp update -n nobody -g rehearsal --min-replicas 1")
        assert "was not found" in await az.refused("containerapp show -n nobody -g rehearsal")
        await az("containerapp delete -n nobody -g rehearsal --yes")

    async def test_a_deleted_app_runs_no_more(self, rig: Rig, az: Az) -> None:
        await az("containerapp delete -n rtproxy -g rehearsal --yes")
        assert await az("containerapp list -g rehearsal") == []
        assert rig.environment.apps == {}


class TestTraffic:
    async def test_weights_not_named_are_scaled_to_a_hundred_and_come_back_as_numbers(self, rig: Rig, az: Az) -> None:
        await az(APP.format("ingress traffic set") + "--revision-weight rtproxy--blue=100 latest=0")
        await az(APP.format("update") + "--revision-suffix green --min-replicas 1 --max-replicas 3")
        shown = await az(APP.format("ingress traffic set") + "--revision-weight rtproxy--green=30")
        assert weights(shown) == {"latest": 0, "rtproxy--blue": 70, "rtproxy--green": 30}
        assert rig.environment.apps["rtproxy"].revisions["rtproxy--green"].weight == 30

    async def test_a_label_is_added_moved_and_removed(self, rig: Rig, az: Az) -> None:
        await az(APP.format("update") + "--revision-suffix green --min-replicas 1 --max-replicas 3")
        for revision in ("rtproxy--blue", "rtproxy--green"):
            await az(APP.format("revision label add") + f"--label next --revision {revision} --yes")
            traffic = await az(APP.format("ingress traffic show"))
            assert [each["revisionName"] for each in traffic if each.get("label")] == [revision]
        await az(APP.format("revision label remove") + "--label next")
        assert not [each for each in await az(APP.format("ingress traffic show")) if "label" in each]

    async def test_sticky_sessions_are_kept_and_shown(self, rig: Rig, az: Az) -> None:
        await az(APP.format("ingress sticky-sessions set") + "--affinity sticky")
        assert (await az(APP.format("ingress show")))["stickySessions"] == {"affinity": "sticky"}

    async def test_an_unknown_revision_gets_no_weight(self, rig: Rig, az: Az) -> None:
        error = await az.refused(APP.format("ingress traffic set") + "--revision-weight rtproxy--red=100")
        assert "rtproxy--red" in error


class TestRevisionVerbs:
    async def test_a_deactivated_revision_is_listed_by_all_and_can_be_activated(self, rig: Rig, az: Az) -> None:
        await az(APP.format("update") + "--revision-suffix green --min-replicas 1 --max-replicas 3")
        await az(APP.format("revision deactivate") + "--revision rtproxy--blue")
        everything = await az(APP.format("revision list") + "--all")
        assert {each["name"]: each["properties"]["active"] for each in everything} == {
            "rtproxy--blue": False,
            "rtproxy--green": True,
        }
        await az(APP.format("revision activate") + "--revision rtproxy--blue")
        assert len(await az(APP.format("revision list"))) == 2

    async def test_a_restart_replaces_the_replica(self, rig: Rig, az: Az) -> None:
        old = rig.environment.apps["rtproxy"].latest.replicas[0].name
        await az(APP.format("revision restart") + "--revision rtproxy--blue")
        async with asyncio.timeout(DEADLINE_S):
            await rig.timeline.until("replica.exited", replica=old, code=0)
        assert rig.timeline.find("replica.sigterm", replica=old, reason="restart")

    async def test_an_unknown_one_is_not_found(self, rig: Rig, az: Az) -> None:
        error = await az.refused(APP.format("revision deactivate") + "--revision rtproxy--red")
        assert "Revision 'rtproxy--red' of container app 'rtproxy' was not found" in error


class TestSecrets:
    async def test_values_are_shown_by_list_secrets_only(self, rig: Rig, az: Az) -> None:
        await az(APP.format("secret set") + "--secrets other=another-value")
        shown = [
            await az(command)
            for command in (APP.format("show"), "containerapp list", APP.format("secret list"), "resource list")
        ]
        assert SECRET not in json.dumps(shown)
        assert "another-value" not in json.dumps(shown)
        listed = await az(APP.format("secret list") + "--show-values")
        assert {each["name"]: each["value"] for each in listed} == {
            "client-keys": f"alice:{SECRET}",
            "other": "another-value",
        }

    async def test_they_survive_an_update_and_a_set_mode(self, rig: Rig, az: Az) -> None:
        await az(APP.format("update") + "--revision-suffix green --set-env-vars RTPROXY_MAX_SESSIONS=7")
        await az(APP.format("revision set-mode") + "--mode single")
        listed = await az(APP.format("secret list") + "--show-values")
        assert [each["value"] for each in listed] == [f"alice:{SECRET}"]

    async def test_a_name_alone_keeps_its_value(self, rig: Rig, az: Az) -> None:
        path = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rehearsal/providers/Microsoft.App/containerApps/rtproxy"
        secrets = [{"name": "client-keys"}, {"name": "other", "value": "another-value"}]
        body = json.dumps({"properties": {"configuration": {"secrets": secrets}}})
        await az(f"rest --method patch --url {rig.arm.url}{path} --body", body)
        listed = await az(APP.format("secret list") + "--show-values")
        assert [each["value"] for each in listed] == [f"alice:{SECRET}", "another-value"]

    async def test_one_in_use_cannot_be_removed(self, rig: Rig, az: Az) -> None:
        error = await az.refused(APP.format("secret remove") + "--secret-names client-keys")
        assert "client-keys" in error
        assert SECRET not in error


class TestFaults:
    async def test_the_next_write_fails_and_changes_nothing(self, rig: Rig, az: Az) -> None:
        rig.arm.faults.fail_next("no room in this region")
        error = await az.refused(APP.format("update") + "--revision-suffix green --min-replicas 2")
        assert "no room in this region" in error
        assert list(rig.environment.apps["rtproxy"].revisions) == ["rtproxy--blue"]
        await az(APP.format("update") + "--revision-suffix green --min-replicas 2")

    async def test_operations_hang_until_they_are_let_go_and_then_expire(self, rig: Rig, az: Az) -> None:
        async with aiohttp.ClientSession() as client:

            async def inject(fault: str) -> int:
                url = f"{rig.arm.url}/_stage/faults"
                async with client.post(url, json={"fault": fault}, ssl=False) as answer:
                    return answer.status

            assert await inject("hang") == 200
            await az(APP.format("update") + "--revision-suffix green --min-replicas 2 --no-wait")
            waiting = await rig.process(APP.format("update") + "--revision-suffix green --min-replicas 2")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(waiting.wait(), 2)
            assert await inject("none") == 200
            _, err = await waiting.communicate()
            assert (waiting.returncode, b"Operation expired" in err) == (1, True)
            assert await inject("earthquake") == 400
        assert list(rig.environment.apps["rtproxy"].revisions) == ["rtproxy--blue"]


class TestLogs:
    async def test_console_logs_are_the_lines_of_the_replica(self, rig: Rig, az: Az) -> None:
        lines = (await az.run(APP.format("logs show") + "--tail 300")).printed.splitlines()
        first = json.loads(json.loads(lines[0])["Log"])
        assert (first["event"], first["revision"]) == ("proxy.started", "rtproxy--blue")
        assert json.loads(lines[0])["TimeStamp"] == first["ts"]
        (last,) = (await az.run(APP.format("logs show") + "--tail 1 --format text")).printed.splitlines()
        assert json.loads(last.partition(" ")[2])["revision"] == "rtproxy--blue"

    async def test_followed_logs_go_on_until_the_replica_has_gone(self, rig: Rig, az: Az) -> None:
        following = await rig.process(APP.format("logs show") + "--follow")
        assert following.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            assert "proxy.started" in (await following.stdout.readline()).decode()
            await az(APP.format("revision deactivate") + "--revision rtproxy--blue")
            rest, _ = await following.communicate()
        assert "proxy.stopped" in rest.decode().splitlines()[-1]

    async def test_system_logs_are_what_the_platform_did(self, rig: Rig, az: Az) -> None:
        printed = (await az.run(APP.format("logs show") + "--type system --tail 300")).printed
        events = [json.loads(line) for line in printed.splitlines()]
        assert {"RevisionCreated", "ReplicaStarted", "RevisionReady", "TrafficSet"} <= {
            each["Reason"] for each in events
        }
        assert {each["ContainerAppName"] for each in events} == {"rtproxy"}
        last = (await az.run(APP.format("logs show") + "--type system --tail 2")).printed
        assert last.splitlines() == printed.splitlines()[-2:]

    async def test_the_logs_of_the_environment_are_those_of_all_apps(self, rig: Rig, az: Az) -> None:
        printed = (await az.run("containerapp env logs show -n rehearsal -g rehearsal --tail 300")).printed
        assert "RevisionReady" in [json.loads(line)["Reason"] for line in printed.splitlines()]

    async def test_a_stream_wants_the_token_of_the_app(self, rig: Rig, az: Az) -> None:
        url = (await az(APP.format("show")))["properties"]["eventStreamEndpoint"]
        async with aiohttp.ClientSession() as client, client.get(url) as answer:
            assert answer.status == 401


class TestImages:
    @pytest.fixture
    def context(self, tmp_path: Path) -> Callable[[str], str]:
        """Writes a Containerfile beside one source; the arguments for a build of it."""

        def write(text: str) -> str:
            folder = tmp_path / "context"
            folder.mkdir(exist_ok=True)
            (folder / "setup.cfg").write_text("[metadata]\n")
            (folder / "Containerfile").write_text(text)
            return f"-r rehearsal -f {folder}/Containerfile {folder}"

        return write

    async def test_a_built_image_is_in_the_registry_and_runs(
        self, rig: Rig, az: Az, context: Callable[[str], str]
    ) -> None:
        arguments = context("# relay\nFROM python:3.13-slim\nCOPY setup.cfg \\\n  ./\nRUN pip install .\n")
        log = (await az.run(f"acr build -t rtproxy:2 {arguments}")).printed
        assert "Step 2/3 : COPY setup.cfg ./" in log.replace("    ", " ").replace("  ", " ")
        assert await az("acr repository show-tags -n rehearsal --repository rtproxy") == ["2"]
        assert "rtproxy" in await az("acr repository list -n rehearsal")
        server = (await az("acr show -n rehearsal"))["loginServer"]
        await az(APP.format("update") + f"--revision-suffix green --image {server}/rtproxy:2")
        error = await az.refused(APP.format("update") + f"--revision-suffix red --image {server}/rtproxy:3")
        assert "MANIFEST_UNKNOWN" in error

    async def test_a_source_outside_of_the_context_fails_the_build(
        self, rig: Rig, az: Az, context: Callable[[str], str]
    ) -> None:
        arguments = context("FROM scratch\nCOPY missing .\n")
        answer = await az.run(f"acr build -t other:2 {arguments}")
        assert (answer.code, "COPY failed: file not found in build context" in answer.printed) == (1, True)
        assert "not known" in await az.refused("acr repository show-tags -n rehearsal --repository other")

    async def test_a_build_without_logs_ends_as_its_run_did(
        self, rig: Rig, az: Az, context: Callable[[str], str]
    ) -> None:
        run = await az(f"acr build --no-logs -t quiet:1 {context('FROM scratch')}")
        assert run["status"] == "Succeeded"
        run = await az(f"acr build --no-logs -t quiet:2 {context('RUN true')}")
        assert run["status"] == "Failed"

    async def test_a_containerfile_that_is_not_in_the_context_fails_the_run(self, rig: Rig) -> None:
        """az itself would not send such a context, so it is sent by hand."""
        async with aiohttp.ClientSession(headers=await bearer(rig)) as client:
            registry = "/providers/Microsoft.ContainerRegistry/registries/rehearsal"
            url = f"{rig.arm.url}/subscriptions/{SUBSCRIPTION}/resourceGroups/rehearsal{registry}"
            async with client.post(f"{url}/listBuildSourceUploadUrl", ssl=False) as answer:
                place = await answer.json()
            archive = io.BytesIO()
            tarfile.open(fileobj=archive, mode="w:gz").close()
            async with client.put(place["uploadUrl"], data=archive.getvalue(), ssl=False) as answer:
                assert answer.status == 201
            build = {
                "type": "DockerBuildRequest",
                "sourceLocation": place["relativePath"],
                "dockerFilePath": "Containerfile",
            }
            async with client.post(f"{url}/scheduleRun", json=build, ssl=False) as answer:
                run = (await answer.json())["properties"]["runId"]
        assert b"open Containerfile: no such file" in rig.registry.runs[run].log
        assert not rig.registry.runs[run].succeeded

    async def test_a_login_gives_a_token_for_the_registry(self, rig: Rig, az: Az) -> None:
        login = await az("acr login -n rehearsal --expose-token")
        assert login["loginServer"] == rig.registry.login_server
        assert login["accessToken"]


class TestDeployments:
    async def test_what_if_tells_what_would_change_and_changes_nothing(self, rig: Rig, az: Az, tmp_path: Path) -> None:
        file = template(tmp_path / "main.json")
        command = f"deployment group what-if -g rehearsal --no-pretty-print --template-file {file} --parameters suffix="
        (change,) = (await az(command + "green"))["changes"]
        assert change["changeType"] == "Modify"
        assert [each["path"] for each in change["delta"]] == ["properties.template.revisionSuffix"]
        assert SECRET not in json.dumps(change)
        (same,) = (await az(command + "blue"))["changes"]
        assert same["changeType"] == "NoChange"
        assert list(rig.environment.apps["rtproxy"].revisions) == ["rtproxy--blue"]

    async def test_a_deployment_that_fails_tells_why(self, rig: Rig, az: Az, tmp_path: Path) -> None:
        file = template(tmp_path / "main.json")
        rig.arm.faults.fail_next("no room in this region")
        error = await az.refused(
            f"deployment group create -g rehearsal -n d --template-file {file} --parameters suffix=green"
        )
        assert "no room in this region" in error
        shown = await az("deployment group show -g rehearsal -n d")
        assert shown["properties"]["provisioningState"] == "Failed"
        assert "d" in [each["name"] for each in await az("deployment group list -g rehearsal")]

    async def test_another_type_of_resource_is_refused_by_name(self, rig: Rig, az: Az, tmp_path: Path) -> None:
        file = template(tmp_path / "main.json", type="Microsoft.Storage/storageAccounts")
        error = await az.refused(
            f"deployment group validate -g rehearsal --template-file {file} --parameters suffix=green"
        )
        assert "Microsoft.Storage/storageAccounts" in error

    async def test_an_expression_the_stage_cannot_evaluate_is_refused_by_name(
        self, rig: Rig, az: Az, tmp_path: Path
    ) -> None:
        file = template(tmp_path / "main.json", tags={"id": "[uniqueString('x')]"})
        error = await az.refused(
            f"deployment group create -g rehearsal --template-file {file} --parameters suffix=green"
        )
        assert "[uniqueString('x')]" in error
        assert list(rig.environment.apps["rtproxy"].revisions) == ["rtproxy--blue"]


class TestGroups:
    async def test_a_group_is_made_found_and_deleted(self, rig: Rig, az: Az) -> None:
        await az("group create -n other -l eastus2 --tags by=hand")
        assert (await az("group show -n other"))["tags"] == {"by": "hand"}
        assert await az("group exists -n OTHER")
        assert [each["name"] for each in await az("group list")] == ["rehearsal", "other"]
        await az("group delete -n other --yes")
        assert not await az("group exists -n other")

    async def test_deleting_the_group_ends_its_apps(self, rig: Rig, az: Az) -> None:
        await az("group delete -n rehearsal --yes")
        assert rig.environment.apps == {}
        assert await az("resource list") == []
        await az("group create -n rehearsal -l eastus2")

    async def test_resources_are_listed_by_group_and_type(self, rig: Rig, az: Az) -> None:
        names = [each["name"] for each in await az("resource list -g rehearsal")]
        assert names == ["rehearsal", "rehearsal", "rtproxy"]
        (registry,) = await az("resource list --resource-type Microsoft.ContainerRegistry/registries")
        assert registry["name"] == "rehearsal"

    async def test_the_environment_is_internal_and_tells_its_domain(self, rig: Rig, az: Az) -> None:
        (environment,) = await az("containerapp env list -g rehearsal")
        assert environment == await az("containerapp env show -n rehearsal -g rehearsal")
        assert environment["properties"]["defaultDomain"] == "stage.localhost"
        assert environment["properties"]["vnetConfiguration"]["internal"]
