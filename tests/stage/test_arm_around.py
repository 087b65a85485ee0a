"""What is around an app, as the real az sees it: images, deployments, groups."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from stage.arm.resources import SUBSCRIPTION
from tests.stage.rig import APP, SECRET, TEMPLATE, Az, Rig, bearer, template

ROOT = Path(__file__).parents[2]
REGISTRY = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rehearsal/providers/Microsoft.ContainerRegistry/registries/rehearsal"
)
pytestmark = [pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]


async def over(az: Az, run: str) -> str:
    """How a build ended."""
    while True:
        status = await az(f"acr task show-run -r rehearsal --run-id {run} --query status")
        if status not in ("Queued", "Running"):
            return str(status)


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

    async def test_a_base_is_what_the_arguments_of_the_build_say_and_else_what_the_file_says(
        self, rig: Rig, az: Az, context: Callable[[str], str]
    ) -> None:
        arguments = context((ROOT / "Containerfile").read_text().partition("\nCOPY")[0])
        log = (await az.run(f"acr build -t base:1 {arguments}")).printed
        assert "---> docker.io/library/python:" in log
        assert "---> pinned, an earlier stage" in log
        other = f"mirror.example/python@sha256:{'0' * 64}"
        log = (await az.run(f"acr build -t base:2 --build-arg BASE={other} --build-arg OTHER=1 {arguments}")).printed
        assert f"---> {other}" in log
        assert "---> pinned" not in log
        assert "One or more build-args [OTHER] were not consumed" in log
        answer = await az.run(f"acr build -t base:3 {context('FROM ${NOWHERE}')}")
        assert (answer.code, "base name (${NOWHERE}) should not be blank" in answer.printed) == (1, True)

    async def test_a_source_outside_of_the_context_fails_the_build(
        self, rig: Rig, az: Az, context: Callable[[str], str]
    ) -> None:
        arguments = context("FROM scratch\nCOPY missing .\n")
        answer = await az.run(f"acr build -t other:2 {arguments}")
        assert (answer.code, "COPY failed: file not found in build context" in answer.printed) == (1, True)
        assert "not known" in await az.refused("acr repository show-tags -n rehearsal --repository other")

    async def test_a_build_is_queued_and_ends_later_as_its_log_says(
        self, rig: Rig, az: Az, context: Callable[[str], str]
    ) -> None:
        for text, ends, said in (
            ("FROM scratch", "Succeeded", "pushed image"),
            ("RUN true", "Failed", "no build stage"),
        ):
            await az.run(f"acr build --no-wait -t quiet:1 {context(text)}")
            run = [*rig.registry.runs][-1]
            assert rig.registry.runs[run].status in ("Queued", "Running")
            assert await az("acr task list-runs -r rehearsal --top 1 --query [].runId") == [run]
            assert await over(az, run) == ends
            assert said in (await az.run(f"acr task logs -r rehearsal --run-id {run}")).printed

    async def test_an_upload_can_be_built_twice(self, rig: Rig, az: Az, context: Callable[[str], str]) -> None:
        await az.run(f"acr build -t twice:1 {context('FROM scratch')}")
        upload, file = [*rig.registry.contexts][-1], [*rig.registry.contexts.values()][-1]
        with tarfile.open(fileobj=io.BytesIO(file)) as tar:
            (name,) = (each for each in tar.getnames() if each.endswith("_Containerfile"))
        build = {"type": "DockerBuildRequest", "sourceLocation": upload, "dockerFilePath": name}
        async with (
            aiohttp.ClientSession(headers=await bearer(rig)) as client,
            client.post(f"{rig.arm.url}{REGISTRY}/scheduleRun", json=build, ssl=False) as answer,
        ):
            run = (await answer.json())["properties"]["runId"]
        assert await over(az, run) == "Succeeded"

    async def test_a_base_in_the_own_registry_has_to_be_there(
        self, rig: Rig, az: Az, context: Callable[[str], str]
    ) -> None:
        server, digest = rig.registry.login_server, f"sha256:{'5' * 64}"
        for base in (f"library/own:1@{digest}", "library/own:1"):
            source = f"docker.io/library/own@{digest}" if "@" in base else "docker.io/library/own:1"
            text = f"FROM {server}/{base.replace(':1@', '@')}"
            failed = await az.run(f"acr build -t based:1 {context(text)}")
            assert (failed.code, "manifest unknown" in failed.printed) == (1, True)
            await az(f"acr import -n rehearsal --source {source} --image library/own:{'x' if '@' in base else '1'}")
            assert (await az.run(f"acr build -t based:1 {context(text)}")).code == 0

    async def test_an_import_replaces_a_tag_only_by_force_and_takes_no_tag_with_a_digest(
        self, rig: Rig, az: Az
    ) -> None:
        once = "acr import -n rehearsal --source docker.io/library/once:1 --image once:1"
        await az(once)
        assert "already exists" in await az.refused(once)
        await az(f"{once} --force")
        assert "no name with" in await az.refused(
            f"acr import -n rehearsal --source docker.io/once:1@sha256:{'0' * 64}"
        )

    async def test_who_pulls_too_much_from_docker_hub_is_turned_away_unless_it_logs_in(
        self, rig: Rig, az: Az, context: Callable[[str], str]
    ) -> None:
        rig.arm.faults.refuse("docker-hub")
        try:
            failed = await az.run(f"acr build -t limited:1 {context('FROM python:3.13-slim')}")
            assert (failed.code, "toomanyrequests: You have reached" in failed.printed) == (1, True)
            other = await az.run(f"acr build -t limited:1 {context('FROM mirror.example/python:3.13-slim')}")
            assert other.code == 0
            brought = "acr import -n rehearsal --source docker.io/library/python:3.13-slim"
            assert "TOOMANYREQUESTS" in await az.refused(brought)
            await az(f"{brought} --username me --password mine")
        finally:
            rig.arm.faults.clear()

    async def test_a_registry_may_build_nothing(self, rig: Rig, az: Az, context: Callable[[str], str]) -> None:
        rig.arm.faults.refuse("tasks")
        try:
            assert "(TasksOperationsNotAllowed)" in await az.refused(f"acr build -t no:1 {context('FROM scratch')}")
        finally:
            rig.arm.faults.clear()

    async def test_a_containerfile_that_is_not_in_the_context_fails_the_run(self, rig: Rig, az: Az) -> None:
        """az itself would not send such a context, so it is sent by hand."""
        async with aiohttp.ClientSession(headers=await bearer(rig)) as client:
            url = f"{rig.arm.url}{REGISTRY}"
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
        assert await over(az, run) == "Failed"
        assert b"open Containerfile: no such file" in rig.registry.runs[run].log

    async def test_a_login_gives_a_token_for_the_registry(self, rig: Rig, az: Az) -> None:
        login = await az("acr login -n rehearsal --expose-token")
        assert login["loginServer"] == rig.registry.login_server
        assert login["accessToken"]


class TestDeployments:
    async def test_what_if_tells_what_would_change_and_changes_nothing(self, rig: Rig, az: Az, tmp_path: Path) -> None:
        file = template(tmp_path / "main.json")
        command = f"deployment group what-if -g rehearsal --no-pretty-print --template-file {file} --parameters "
        command += f"keys=alice:{SECRET} suffix="
        change, *others = (await az(command + "green"))["changes"]
        assert change["changeType"] == "Modify"
        assert [each["path"] for each in change["delta"]] == ["properties.template.revisionSuffix"]
        assert SECRET not in json.dumps(change)
        assert {each["changeType"] for each in others} == {"Ignore"}
        same, *_ = (await az(command + "blue"))["changes"]
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
        file = template(tmp_path / "main.json", type="Microsoft.Web/sites")
        error = await az.refused(
            f"deployment group validate -g rehearsal --template-file {file} --parameters suffix=green"
        )
        assert "Microsoft.Web/sites" in error

    async def test_an_expression_the_stage_cannot_evaluate_is_refused_by_name(
        self, rig: Rig, az: Az, tmp_path: Path
    ) -> None:
        file = template(tmp_path / "main.json", tags={"id": "[pickZones('x')]"})
        error = await az.refused(
            f"deployment group create -g rehearsal --template-file {file} --parameters suffix=green"
        )
        assert "[pickZones('x')]" in error
        assert "no function 'pickZones'" in error
        assert list(rig.environment.apps["rtproxy"].revisions) == ["rtproxy--blue"]


class TestGroups:
    async def test_a_group_is_made_found_and_deleted(self, rig: Rig, az: Az) -> None:
        await az("group create -n other -l eastus2 --tags by=hand")
        assert (await az("group show -n other"))["tags"] == {"by": "hand"}
        assert await az("group exists -n OTHER")
        assert [each["name"] for each in await az("group list")] == ["rehearsal", "other"]
        await az("group delete -n other --yes")
        assert not await az("group exists -n other")

    async def test_deleting_the_group_ends_its_apps(self, rig: Rig, az: Az, tmp_path: Path) -> None:
        await az("group delete -n rehearsal --yes")
        assert rig.environment.apps == {}
        assert await az("resource list") == []
        # Back, for the tests that follow.
        await az("group create -n rehearsal -l eastus2")
        names = ("Microsoft.App/managedEnvironments", "Microsoft.ContainerRegistry/registries")
        places = [{"type": kind, "name": "rehearsal", "location": "eastus2", "properties": {}} for kind in names]
        places[0]["properties"] = {"vnetConfiguration": {"internal": True}}
        (tmp_path / "standing.json").write_text(json.dumps(TEMPLATE | {"parameters": {}, "resources": places}))
        await az(f"deployment group create -g rehearsal --template-file {tmp_path}/standing.json")

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
