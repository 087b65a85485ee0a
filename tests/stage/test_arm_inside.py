"""Secrets, logs and faults of the ARM endpoint, as the real az sees them."""

import asyncio
import json

import aiohttp
import pytest

from stage.arm.resources import SUBSCRIPTION
from tests.stage.rig import (
    APP,
    DEADLINE_S,
    SECRET,
    Az,
    Rig,
)

pytestmark = [pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]


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

    async def test_an_app_takes_no_write_while_another_hangs_until_it_expires(self, rig: Rig, az: Az) -> None:
        async with aiohttp.ClientSession() as client:

            async def inject(fault: str) -> int:
                url = f"{rig.arm.url}/_stage/faults"
                async with client.post(url, json={"fault": fault}, ssl=False) as answer:
                    return answer.status

            assert await inject("hang") == 200
            waiting = await rig.process(APP.format("update") + "--revision-suffix green --min-replicas 2 --debug")
            assert waiting.stderr is not None
            async with asyncio.timeout(DEADLINE_S):
                while b"Response status: 202" not in (line := await waiting.stderr.readline()):
                    assert line
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(waiting.wait(), 1)
            assert await az(APP.format("show") + "--query properties.provisioningState") == "InProgress"
            for write in (
                APP.format("update") + "--revision-suffix green --min-replicas 2",
                APP.format("ingress traffic set") + "--revision-weight latest=100",
                APP.format("revision deactivate") + "--revision rtproxy--blue",
                APP.format("revision activate") + "--revision rtproxy--blue",
            ):
                assert "(ContainerAppOperationInProgress) Cannot modify a container app" in await az.refused(write)
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
