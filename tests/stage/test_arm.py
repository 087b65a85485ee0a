"""The real az, against the stage: what it asks for happens to real replicas, and what it is told is true."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from stage.arm.resources import SUBSCRIPTION
from tests.stage.rig import (
    APP,
    DEADLINE_S,
    Az,
    Rig,
    template,
    weights,
)

pytestmark = [pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]


async def test_a_rollout_typed_in_az_moves_traffic_and_ends_the_old_revision(rig: Rig, tmp_path: Path) -> None:
    """The first command of each kind that writes is a process of its own, as in a shell."""
    file = template(tmp_path / "main.json")

    async def az(command: str) -> Any:
        process = await rig.process(command)
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return json.loads(out) if out.strip() else None

    await rig.az("group create -n rehearsal -l eastus2")
    deployed = await az(f"deployment group create -g rehearsal -n first --template-file {file} --parameters suffix=r1")
    assert deployed["properties"]["provisioningState"] == "Succeeded"
    assert deployed["properties"]["outputs"]["greeting"]["value"] == "literal, ]text"
    await az(APP.format("ingress traffic set") + "--revision-weight rtproxy--r1=100 latest=0")
    updated = await az(APP.format("update") + "--revision-suffix r2 --set-env-vars RTPROXY_MAX_SESSIONS=9")
    assert updated["properties"]["latestReadyRevisionName"] == "rtproxy--r2"
    assert updated["properties"]["configuration"]["ingress"]["fqdn"] == "rtproxy.stage.localhost"
    half = await rig.az(APP.format("ingress traffic set") + "--revision-weight rtproxy--r1=50 rtproxy--r2=50")
    assert weights(half) == {"latest": 0, "rtproxy--r1": 50, "rtproxy--r2": 50}
    await rig.az(APP.format("ingress traffic set") + "--revision-weight rtproxy--r1=0 rtproxy--r2=100")
    old = await rig.az(APP.format("revision show") + "--revision rtproxy--r1")
    assert (old["properties"]["active"], old["properties"]["trafficWeight"]) == (True, 0)
    await az(APP.format("revision deactivate") + "--revision rtproxy--r1")
    active = await rig.az(APP.format("revision list"))
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
    assert "the stage has no" in await az.refused("redis list")


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
