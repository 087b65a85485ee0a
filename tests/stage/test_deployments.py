"""Templates on an empty stage, with the real az: what they make, what is refused, and what a what-if says of it."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.stage.rig import DEADLINE_S
from tests.stage.vacant import (
    APP_ID,
    GROUP,
    USER,
    Vacant,
    account,
    gateway,
    module,
    network,
    relay,
    resource,
    role,
    template,
    whole,
)
from tests.stage.vacant import standing as standing
from tests.stage.vacant import vacant as vacant

pytestmark = [pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]

BICEP = Path(__file__).parents[2] / "bicep" / "main.bicep"
KEY = "key-of-a-caller-0123"
WAYS_TO_STATUS = (
    *(
        "/status",
        "/metrics",
        "/readyz",
        "/status/",
        "/STATUS",
        "/status?x=/healthz",
        "/status;x",
        "//status",
        "/./status",
    ),
    *("/%73tatus", "/healthz/../status", "/v1/../status", "/v1/%2e%2e/status", "/v1/..%2fstatus", "/v1//status", "/"),
)
SHARE = {"name": "RTPROXY_MAX_CLIENT_SESSIONS", "value": "9"}
ROLLOUTS = f"rolloutAddresses={json.dumps(['127.0.0.1'])}"
SKU = {"name": "GlobalStandard"}
WORKSPACE = resource("Microsoft.OperationalInsights/workspaces", "logs", {"retentionInDays": 30})


async def hold(vacant: Vacant, key: str, *flags: str) -> tuple[int, str]:
    """The exit code of a short hold through the gateway, and what it said."""
    url = vacant.stage.environment.gateway_url
    words = ("-m", "clients.hold", url, "--connections", "2", "--duration", "1", *flags)
    environ = os.environ | {"RTPROXY_KEY": key}
    process = await asyncio.create_subprocess_exec(sys.executable, *words, env=environ, stdout=PIPE, stderr=STDOUT)
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def called(vacant: Vacant, path: str = "/healthz", **headers: str) -> tuple[int, str]:
    """The status of the answer to a caller, and the revision that gave it."""
    return await _answer(vacant.http, vacant.stage.environment.gateway_url + path, headers)


async def tried(vacant: Vacant, name: str, source: str = "127.0.0.1") -> tuple[int, str]:
    """The same for a rollout that comes from ``source`` and asks how it stands with a revision."""
    headers = {"Host": f"{name}.stage.localhost"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=(source, 0))) as http:
        return await _answer(http, f"http://{vacant.stage.environment.revisions}/status", headers)


async def _answer(http: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> tuple[int, str]:
    async with http.get(URL(url, encoded=True), headers=headers) as answer:
        return answer.status, (await answer.json())["revision"] if answer.status == 200 else ""


def kinds(changes: dict[str, dict[str, Any]]) -> set[str]:
    return {each["changeType"] for each in changes.values()}


def differences(delta: list[dict[str, Any]] | None, at: str = "") -> Iterator[tuple[str, Any]]:
    """The paths that differ, and what would be there; not those of which a what-if cannot tell."""
    for each in delta or []:
        path = f"{at}.{each['path']}" if at else each["path"]
        if each["children"]:
            yield from differences(each["children"], path)
        elif "reference('/" not in str(each["after"]):
            yield path, each["after"]


async def test_our_own_template_stands_up_on_nothing_and_carries_calls(vacant: Vacant, tmp_path: Path) -> None:
    """Two passes as a deployment does them, by the very files that Azure gets."""

    async def az(verb: str, *more: str) -> Any:
        words = f"deployment group {verb} -g voice -n relay --template-file {BICEP} --parameters prefix=relay"
        return await vacant.az(
            words, f"clientKeys=alice:{KEY}", f"relaySettings={json.dumps([SHARE])}", ROLLOUTS, *more
        )

    def outputs(done: Any) -> dict[str, Any]:
        return {name: each["value"] for name, each in done["properties"]["outputs"].items()}

    first = outputs(await az("create"))
    assert first["containerAppName"] == ""
    (tmp_path / "Containerfile").write_text("FROM scratch\n")
    await vacant.az(
        f"acr build -r {first['containerRegistryName']} -t rtproxy:one -f {tmp_path}/Containerfile {tmp_path}"
    )
    known = f"identityClientId={first['identityClientId']}"
    image = (f"containerImage={first['containerRegistryLoginServer']}/rtproxy:one", "revisionSuffix=one", known)
    second = outputs(await az("create", *image))
    assert second["applicationGatewayUrl"] == vacant.stage.environment.gateway_url
    code, said = await hold(vacant, KEY)
    assert code == 0, said
    assert "on relay--one" in said
    assert [await called(vacant, path) for path in WAYS_TO_STATUS] == [(404, "")] * len(WAYS_TO_STATUS)
    assert await called(vacant) == (200, "relay--one")
    assert await tried(vacant, "relay--one") == (200, "relay--one")
    assert await tried(vacant, "relay--one", "127.0.0.2") == (403, "")
    assert await tried(vacant, "relay") == (404, "")
    app = await vacant.az("containerapp show -n relay -g voice")
    assert SHARE in app["properties"]["template"]["containers"][0]["env"]
    told = await az("what-if", *image, "--no-pretty-print")
    assert [each for change in told["changes"] for each in differences(change["delta"])] == []
    # The zone is called as the environment's domain, which a what-if does not know.
    assert [each["target"].rpartition("/")[2] for each in told["diagnostics"]] == ["relay-dns"]
    assert KEY not in json.dumps(told)
    # What a rollout leaves behind, handed in again, is what there is.
    await vacant.az("containerapp update -n relay -g voice --revision-suffix two --set-env-vars RTPROXY_MAX_SESSIONS=9")
    traffic = "traffic=" + json.dumps([{"revisionName": "relay--one", "weight": 100}])
    weights = "--revision-weight relay--one=100 latest=0"
    await vacant.az(f"containerapp ingress traffic set -n relay -g voice {weights}")
    told = await az("what-if", image[0], known, "revisionSuffix=two", traffic, "--no-pretty-print")
    (changed,) = [each for each in told["changes"] if [*differences(each["delta"])]]
    assert changed["resourceId"] == APP_ID
    assert "RTPROXY_MAX_SESSIONS" in json.dumps(changed["delta"])


class TestMaking:
    async def test_what_is_there_is_shown_where_it_was_deployed(self, vacant: Vacant) -> None:
        outputs = await vacant.deploy(whole(), keys=f"alice:{KEY}")
        shown = await vacant.az("acr show -n images -g voice")
        assert shown["loginServer"] == outputs["server"]
        environment = await vacant.az("containerapp env show -n env -g voice")
        assert environment["properties"]["defaultDomain"] == "stage.localhost"
        identity = await vacant.az("identity show -n id -g voice")
        app = await vacant.az("containerapp show -n relay -g voice")
        (assigned,) = app["identity"]["userAssignedIdentities"].values()
        assert assigned["clientId"] == identity["clientId"]
        assert app["properties"]["environmentId"] == environment["id"]
        names = {each["name"] for each in await vacant.az("resource list -g voice")}
        assert names == {"env", "images", "model", "id", "relay", "door"}
        assert "inner" not in [each["name"] for each in await vacant.az("deployment group list -g voice")]

    async def test_a_module_has_a_scope_of_its_own_and_hands_out_its_outputs(self, vacant: Vacant) -> None:
        inner = template(
            parameters={"name": {"type": "string"}},
            logs=WORKSPACE | {"name": "[parameters('name')]"},
            outputs={"id": "[reference('logs').customerId]", "deployment": "[deployment().name]"},
        )
        outer = template(
            outputs={
                "id": "[reference('part').outputs.id.value]",
                "by": "[reference('part').outputs.deployment.value]",
            },
            part=module(inner, name="[toLower('LOGS')]"),
        )
        outputs = await vacant.deploy(outer)
        (workspace,) = await vacant.az(
            "resource list -g voice --resource-type Microsoft.OperationalInsights/workspaces"
        )
        assert workspace["name"] == "logs"
        assert len(outputs["id"]) == 36
        assert outputs["by"] == "inner"
        assert {each["name"] for each in await vacant.az("deployment group list -g voice")} == {"inner", "it"}

    async def test_resources_wait_for_what_they_refer_to_and_conditions_leave_some_out(self, vacant: Vacant) -> None:
        asked = template(
            outputs={
                "name": "[if(false(), reference('never').name, reference('component', '2020-02-02', 'full').name)]"
            },
            component=resource(
                "Microsoft.Insights/components", "seen", {"Application_Type": "[reference('logs').customerId]"}
            ),
            never=WORKSPACE | {"name": "never", "condition": False},
            logs=WORKSPACE | {"dependsOn": ["never"]},
        )
        assert await vacant.deploy(asked) == {"name": "seen"}
        names = [each["name"] for each in await vacant.az("resource list -g voice")]
        assert names == ["logs", "seen"]

    async def test_what_exists_already_can_be_referred_to(self, vacant: Vacant) -> None:
        await vacant.deploy(template(logs=WORKSPACE))
        known = {"type": WORKSPACE["type"], "apiVersion": "2025-02-01", "name": "logs", "existing": True}
        outputs = await vacant.deploy(
            template(known=known, outputs={"days": "[string(reference('known').retentionInDays)]"})
        )
        assert outputs == {"days": "30"}
        error = await vacant.refused(template(known=known | {"name": "no"}, outputs={"x": "[reference('known').id]"}))
        assert "the resource 'known' is not there" in error

    async def test_an_app_is_replaced_only_by_what_its_template_changes(self, vacant: Vacant) -> None:
        await vacant.deploy(whole(), keys=f"alice:{KEY}")
        await vacant.deploy(whole(), keys=f"alice:{KEY}")
        assert list(vacant.stage.environment.apps["relay"].revisions) == ["relay--one"]
        await vacant.deploy(
            whole(app=relay(revisionSuffix="two", terminationGracePeriodSeconds=5)), keys=f"alice:{KEY}"
        )
        assert list(vacant.stage.environment.apps["relay"].revisions) == ["relay--one", "relay--two"]


class TestGateway:
    async def test_it_leads_nowhere_until_one_is_deployed_and_again_when_it_is_gone(self, vacant: Vacant) -> None:
        assert await called(vacant) == (404, "")
        assert await tried(vacant, "relay--one") == (404, "")
        await vacant.deploy(whole(), keys=f"alice:{KEY}")
        assert await called(vacant) == (200, "relay--one")
        assert await tried(vacant, "relay--one") == (200, "relay--one")
        assert await tried(vacant, "relay--none") == (404, "")
        await vacant.clear()
        await vacant.az("group create -n voice -l eastus2")
        await vacant.deploy(whole(gateway=None), keys=f"alice:{KEY}")
        assert await called(vacant) == (404, "")
        assert await tried(vacant, "relay--one") == (404, "")

    async def test_callers_get_only_the_paths_of_its_map_and_at_its_callers_port_no_revision(
        self, vacant: Vacant
    ) -> None:
        await vacant.deploy(whole(), keys=f"alice:{KEY}")
        for path in WAYS_TO_STATUS:
            assert await called(vacant, path) == (404, ""), path
        assert await called(vacant, "/v1/realtime") == (426, "")
        # Whatever revision a caller names, it gets what the weights choose.
        assert await called(vacant, Host="relay--none.stage.localhost") == (200, "relay--one")

    async def test_a_name_that_is_no_revisions_of_the_app_passes_at_no_port(self, vacant: Vacant) -> None:
        await vacant.deploy(whole(), keys=f"alice:{KEY}")
        for name in ("relay", "other--one", "relay-one", "xrelay--one", "relay--one.example"):
            assert await tried(vacant, name) == (404, ""), name

    async def test_rollouts_come_from_listed_addresses_and_another_list_takes_no_new_gateway(
        self, vacant: Vacant
    ) -> None:
        async def deploy(*rollouts: str, **more: None) -> None:
            await vacant.deploy(whole(**network(*rollouts), **more), keys=f"alice:{KEY}")

        await deploy("127.0.0.1", "127.0.1.0/24")
        for address, allowed in (("127.0.0.1", True), ("127.0.1.9", True), ("127.0.0.2", False)):
            assert await tried(vacant, "relay--one", address) == ((200, "relay--one") if allowed else (403, "")), (
                address
            )
        assert await called(vacant) == (200, "relay--one")
        await deploy("127.0.0.2", gateway=None)
        assert await tried(vacant, "relay--one") == (403, "")
        assert await tried(vacant, "relay--one", "127.0.0.2") == (200, "relay--one")
        await deploy(gateway=None)
        assert await tried(vacant, "relay--one", "127.0.0.2") == (403, "")
        assert await called(vacant) == (200, "relay--one")

    async def test_its_request_timeout_is_the_template_s(self, vacant: Vacant) -> None:
        await vacant.deploy(whole(gateway=gateway(timeout_s=1)), keys=f"alice:{KEY}")
        url = f"{vacant.stage.environment.gateway_url}/v1/realtime"
        async with vacant.http.ws_connect(url, headers={"api-key": KEY}) as call, asyncio.timeout(DEADLINE_S):
            while (message := await call.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
        # Without a Close: nobody meant to end it.
        assert (message.type, call.close_code) == (aiohttp.WSMsgType.CLOSED, 1006)

    async def test_no_open_call_notices_that_it_changes(self, vacant: Vacant) -> None:
        await vacant.deploy(whole(), keys=f"alice:{KEY}")
        url = f"{vacant.stage.environment.gateway_url}/v1/realtime"
        async with vacant.http.ws_connect(url, headers={"api-key": KEY}) as call, asyncio.timeout(DEADLINE_S):
            await call.receive_json()
            await vacant.deploy(whole(gateway=gateway(timeout_s=500)), keys=f"alice:{KEY}")
            await call.send_json({"type": "response.create"})
            while (await call.receive_json())["type"] != "response.done":
                pass


class TestIdentity:
    async def test_without_its_role_at_the_model_every_call_is_refused(self, vacant: Vacant) -> None:
        keys = {"keys": f"alice:{KEY}"}
        await vacant.deploy(whole(call=None), **keys)
        code, said = await hold(vacant, KEY)
        assert code != 0
        assert "502" in said
        # A role granted later helps without a restart, as soon as there is a new token.
        await vacant.deploy(whole(), **keys)
        async with asyncio.timeout(DEADLINE_S):
            while (await hold(vacant, KEY))[0] != 0:
                pass

    async def test_without_its_role_at_the_registry_the_image_cannot_be_pulled(self, vacant: Vacant) -> None:
        server = vacant.stage.environ["AZURE_CONFIG_DIR"] and vacant.arm.removeprefix("https://")
        error = await vacant.refused(whole(pull=None, app=relay(f"{server}/rtproxy:one")), keys=f"alice:{KEY}")
        assert "UNAUTHORIZED" in error
        assert vacant.stage.environment.apps == {}

    async def test_an_identity_that_is_not_the_app_s_cannot_pull(self, vacant: Vacant) -> None:
        app = relay()
        del app["identity"]
        assert "is not assigned to the app" in await vacant.refused(whole(app=app), keys=f"alice:{KEY}")

    async def test_the_same_assignment_by_another_name_is_refused(self, vacant: Vacant) -> None:
        twice = role(USER, "Microsoft.CognitiveServices/accounts/model") | {
            "name": "[guid('again')]",
            "dependsOn": ["call"],
        }
        assert "already exists" in await vacant.refused(whole(again=twice), keys=f"alice:{KEY}")


class TestWhatIf:
    async def test_it_tells_what_would_be_and_writes_nothing(self, vacant: Vacant) -> None:
        changes = await vacant.what_if(whole(), keys=f"alice:{KEY}")
        assert kinds(changes) == {"Create"}
        assert {"env", "images", "model", "id", "relay", "door"} < set(changes)
        assert await vacant.az("resource list") == []
        assert vacant.stage.environment.apps == {}
        assert await vacant.az("deployment group list -g voice") == []

    async def test_nothing_changes_when_nothing_changes_but_what_asks_for_another_resource(
        self, vacant: Vacant
    ) -> None:
        await vacant.deploy(whole(), keys=f"alice:{KEY}")
        changes = await vacant.what_if(whole(), keys=f"alice:{KEY}")
        assert {name for name, each in changes.items() if each["changeType"] != "NoChange"} >= {"relay", "door"}
        assert [each for change in changes.values() for each in differences(change["delta"])] == []
        # az sends back what it read, all of it, with what the service had filled in.
        await vacant.az("containerapp ingress traffic set -n relay -g voice --revision-weight latest=100")
        await vacant.az("containerapp ingress sticky-sessions set -n relay -g voice --affinity none")
        await vacant.az("containerapp revision set-mode -n relay -g voice --mode multiple")
        (relay,) = [
            each for name, each in (await vacant.what_if(whole(), keys=f"alice:{KEY}")).items() if name == "relay"
        ]
        assert list(differences(relay["delta"])) == []

    async def test_a_reference_is_left_as_it_is(self, vacant: Vacant) -> None:
        inner = template(outputs={"id": "[reference('logs').customerId]", "name": "logs"}, logs=WORKSPACE)
        said = {"one": "[reference('part').outputs.id.value]", "two": "[toUpper(reference('part').outputs.name.value)]"}
        asked = template(part=module(inner), more=resource(WORKSPACE["type"], "more") | {"tags": said})
        changes = await vacant.what_if(asked)
        workspace = f"{GROUP}/providers/Microsoft.OperationalInsights/workspaces/logs"
        assert changes["more"]["after"]["tags"] == {
            "one": f"[reference('{workspace}', '{WORKSPACE['apiVersion']}').customerId]",
            "two": "LOGS",
        }

    async def test_a_module_that_names_its_resources_by_another_resource_is_left_out(self, vacant: Vacant) -> None:
        named = template(
            parameters={"name": {"type": "string"}}, more=resource(WORKSPACE["type"], "[parameters('name')]")
        )
        part = module(named, name="[format('more-{0}', take(reference('logs').customerId, 3))]")
        asked = template(logs=WORKSPACE, part=part)
        told = await vacant.az(vacant.command("what-if", asked) + " --no-pretty-print")
        assert [each["resourceId"].rpartition("/")[2] for each in told["changes"]] == ["logs"]
        (said,) = told["diagnostics"]
        assert (said["code"], said["level"]) == ("NestedDeploymentShortCircuited", "Warning")
        assert said["target"].endswith("/inner")
        await vacant.deploy(asked)
        assert len(await vacant.az("resource list")) == 2

    async def test_a_list_of_an_app_that_is_one_expression_with_a_reference_is_refused(self, vacant: Vacant) -> None:
        app = relay()
        (container,) = app["properties"]["template"]["containers"]
        container["env"] = "[createArray(createObject('name', 'X', 'value', reference('model').endpoint))]"
        error = await vacant.refused(whole(app=app), keys=f"alice:{KEY}")
        assert "ContainerAppInvalidSchema" in error
        assert "'properties.template.containers[0].env' is a string" in error
        assert await vacant.az("resource list") == []

    async def test_a_secret_that_changes_is_a_change_and_is_not_shown(self, vacant: Vacant) -> None:
        await vacant.deploy(whole(), keys=f"alice:{KEY}")
        changes = await vacant.what_if(whole(), keys="alice:another-key-6789")
        assert changes["relay"]["changeType"] == "Modify"
        (path,) = (path for path, _ in differences(changes["relay"]["delta"]))
        assert path.startswith("properties.configuration.secrets")
        told = json.dumps(changes)
        assert KEY not in told
        assert "another-key" not in told

    async def test_a_change_is_told_by_its_path_down_into_arrays(self, vacant: Vacant) -> None:
        rules = [{"name": "a", "properties": {"priority": 1}}, {"name": "b", "properties": {"priority": 2}}]
        kind = "Microsoft.Network/networkSecurityGroups"
        await vacant.deploy(template(rules=resource(kind, "rules", {"securityRules": rules})))
        rules[1] = {"name": "b", "properties": {"priority": 3}}
        (delta,) = (await vacant.what_if(template(rules=resource(kind, "rules", {"securityRules": rules}))))["rules"][
            "delta"
        ]
        (item,) = delta["children"]
        (leaf,) = item["children"]
        assert (delta["path"], delta["propertyChangeType"], item["path"]) == ("properties.securityRules", "Array", "1")
        assert (leaf["path"], leaf["before"], leaf["after"]) == ("properties.priority", 2, 3)

    async def test_what_the_template_does_not_name_is_ignored(self, vacant: Vacant) -> None:
        await vacant.deploy(template(logs=WORKSPACE))
        changes = await vacant.what_if(template(model=account()))
        assert (changes["logs"]["changeType"], changes["model"]["changeType"]) == ("Ignore", "Create")


class TestLists:
    """Resources that name each other by their ids, as the compiler writes them."""

    async def test_they_are_made_in_their_order_and_read_by_their_ids(self, vacant: Vacant) -> None:
        logs = "resourceId('Microsoft.OperationalInsights/workspaces', 'logs')"
        inner = "resourceId('Microsoft.Resources/deployments', 'inner')"
        symbolic = template(
            outputs={"id": f"[reference({inner}, '2025-04-01').outputs.id.value]"},
            part=module(
                template(parameters={"id": {"type": "string"}}, outputs={"id": "[parameters('id')]"}),
                id=f"[reference({logs}, '2025-02-01').customerId]",
            )
            | {"dependsOn": [f"[{logs}]"]},
            logs=WORKSPACE,
        )
        listed = {**symbolic, "resources": list(symbolic["resources"].values())}
        del listed["languageVersion"]
        assert len((await vacant.deploy(listed))["id"]) == 36
        wrong = {**listed, "resources": [each for each in listed["resources"] if each is not WORKSPACE]}
        assert "is not defined in the template" in await vacant.refused(wrong)


class TestRefusals:
    """Before anything changes."""

    @pytest.mark.parametrize(
        ("about", "given", "why"),
        [
            ({"type": "string", "maxLength": 3}, "long", "'long' for the template parameter 'p' is not valid"),
            ({"type": "string", "minLength": 5}, "long", "greater than or equal to 5"),
            ({"type": "string", "allowedValues": ["a", "b"]}, "c", "the allowed values are 'a, b'"),
            ({"type": "int", "maxValue": 3}, "4", "less than or equal to 3"),
            ({"type": "object"}, "[1]", "not of type object"),
            ({"type": "securestring", "maxLength": 3}, "hidden", "the provided value for the template parameter 'p'"),
        ],
    )
    async def test_a_parameter_that_is_not_allowed(self, vacant: Vacant, about: Any, given: str, why: str) -> None:
        error = await vacant.refused(template(parameters={"p": about}, logs=WORKSPACE), p=given)
        assert why in error
        assert "hidden" not in error
        assert await vacant.az("resource list") == []

    async def test_a_type_that_does_not_exist(self, vacant: Vacant) -> None:
        wrong = resource("Microsoft.App/containerApp", "relay")
        assert "no resources of type 'Microsoft.App/containerApp'" in await vacant.refused(
            template(logs=WORKSPACE, a=wrong)
        )
        assert await vacant.az("resource list") == []

    async def test_a_child_whose_parent_is_not_there(self, vacant: Vacant) -> None:
        child = resource("Microsoft.OperationalInsights/workspaces/savedSearches", "logs/calls")
        assert "Parent resource" in await vacant.refused(template(calls=child))
        await vacant.deploy(template(calls=child | {"dependsOn": ["logs"]}, logs=WORKSPACE))

    async def test_resources_that_wait_for_each_other(self, vacant: Vacant) -> None:
        one, other = WORKSPACE | {"dependsOn": ["b"]}, WORKSPACE | {"name": "more", "dependsOn": ["a"]}
        assert "a circular dependency" in await vacant.refused(template(a=one, b=other))

    async def test_what_a_template_can_say_and_the_stage_cannot_do(self, vacant: Vacant) -> None:
        assert "'copy' of 'logs'" in await vacant.refused(
            template(logs=WORKSPACE | {"copy": {"name": "x", "count": 2}})
        )
        assert "'functions' of a template" in await vacant.refused(template(logs=WORKSPACE) | {"functions": []})

    async def test_an_output_that_is_secret(self, vacant: Vacant) -> None:
        asked = template(logs=WORKSPACE) | {"outputs": {"key": {"type": "securestring", "value": "x"}}}
        assert "nothing secret comes out" in await vacant.refused(asked)

    async def test_a_second_registry_elsewhere(self, vacant: Vacant) -> None:
        registry = resource("Microsoft.ContainerRegistry/registries", "images", sku={"name": "Basic"})
        await vacant.deploy(template(registry=registry))
        error = await vacant.refused(template(registry=registry | {"name": "others"}))
        assert f"the stage has one resource of type {registry['type']}" in error

    async def test_a_provider_that_is_not_registered_until_it_is(self, vacant: Vacant) -> None:
        await vacant.fault(fault="unregister", namespace="Microsoft.OperationalInsights")
        shown = await vacant.az("provider show -n Microsoft.OperationalInsights")
        assert shown["registrationState"] == "NotRegistered"
        assert "not registered to use namespace" in await vacant.refused(template(logs=WORKSPACE))
        await vacant.az("provider register -n Microsoft.OperationalInsights --wait")
        await vacant.deploy(template(logs=WORKSPACE))

    async def test_an_environment_where_the_provider_of_its_cluster_is_not_registered(self, vacant: Vacant) -> None:
        await vacant.fault(fault="unregister", namespace="Microsoft.ContainerService")
        error = await vacant.refused(template(env=resource("Microsoft.App/managedEnvironments", "env", {})))
        assert "please register with Microsoft.App and Microsoft.ContainerService" in error
        await vacant.fault(fault="none")

    async def test_more_of_a_model_than_the_region_has_quota_for(self, vacant: Vacant) -> None:
        model = {"model": {"format": "OpenAI", "name": "gpt-realtime-1.5", "version": "2026-02-23"}}
        kind, name = "Microsoft.CognitiveServices/accounts/deployments", "OpenAI.GlobalStandard.gpt-realtime-1.5"
        few, all_, many = (
            resource(
                kind,
                "model/gpt-realtime",
                model,
                sku={"name": "GlobalStandard", "capacity": units},
                dependsOn=["model"],
            )
            for units in (4, 10, 11)
        )
        used = f"cognitiveservices usage list -l eastus2 --query \"[?name.value=='{name}'].[currentValue, limit]\""
        await vacant.deploy(template(model=account(), deployment=few))
        assert await vacant.az(used) == [[4.0, 10.0]]
        error = await vacant.refused(template(model=account(), deployment=many))
        assert '"InsufficientQuota", "message": "This operation require 11 new capacity in quota' in error
        await vacant.deploy(template(model=account(), deployment=all_))
        # Deleted with its group, and not purged: it keeps what it had.
        await vacant.az("group delete -n voice --yes")
        assert await vacant.az(used) == [[10.0, 10.0]]
        (gone,) = await vacant.az("cognitiveservices account list-deleted")
        await vacant.az(f"cognitiveservices account purge -l {gone['location']} -g voice -n {gone['name']}")
        assert await vacant.az(used) == [[0.0, 10.0]]

    async def test_a_model_that_is_not_offered_there(self, vacant: Vacant) -> None:
        model = {"model": {"format": "OpenAI", "name": "gpt-realtime-2.1", "version": "2026-07-07"}}
        kind, sku = "Microsoft.CognitiveServices/accounts/deployments", {"name": "GlobalStandard", "capacity": 1}
        deployment = resource(kind, "model/gpt-realtime", model, sku=sku, dependsOn=["model"])
        error = await vacant.refused(template(model=account() | {"location": "westus"}, deployment=deployment))
        assert "'Format: OpenAI, Name: gpt-realtime-2.1, Version: 2026-07-07'" in error
        await vacant.deploy(template(model=account(), deployment=deployment))
        assert await vacant.az("cognitiveservices model list -l westus") == []
        offered = await vacant.az("cognitiveservices model list -l swedencentral")
        assert [each["model"]["name"] for each in offered] == ["gpt-realtime", "gpt-realtime-1.5", "gpt-realtime-2.1"]

    async def test_a_group_in_another_region(self, vacant: Vacant) -> None:
        assert "already exists in location 'eastus2'" in await vacant.az.refused("group create -n voice -l westus")


class TestStaying:
    async def test_a_resource_does_not_move(self, vacant: Vacant) -> None:
        await vacant.deploy(template(model=account()))
        await vacant.deploy(template(model=account() | {"location": "East US 2"}))
        error = await vacant.refused(template(model=account() | {"location": "Sweden Central"}))
        assert "The resource 'model' already exists in location 'East US 2' in resource group 'voice'" in error

    async def test_an_environment_stays_as_it_was_made(self, vacant: Vacant) -> None:
        def named(**properties: Any) -> Any:
            return template(environment=resource("Microsoft.App/managedEnvironments", "env", properties))

        await vacant.deploy(named(zoneRedundant=False))
        error = await vacant.refused(named(zoneRedundant=True))
        assert "The property 'zoneRedundant' of managed environment 'env' cannot be changed after its creation" in error
        await vacant.deploy(named(zoneRedundant=False))

    async def test_zones_are_where_a_region_has_some(self, vacant: Vacant) -> None:
        named = resource("Microsoft.App/managedEnvironments", "env", {"zoneRedundant": True}) | {"location": "westus"}
        assert "not supported in westus" in await vacant.refused(template(environment=named))

    async def test_a_subnet_that_an_environment_is_in_keeps_its_addresses(self, vacant: Vacant) -> None:
        def network(prefix: str) -> dict[str, Any]:
            subnet = {"name": "environment", "properties": {"addressPrefix": prefix}}
            return resource("Microsoft.Network/virtualNetworks", "net", {"subnets": [subnet]})

        there = {
            "infrastructureSubnetId": f"{GROUP}/providers/Microsoft.Network/virtualNetworks/net/subnets/environment"
        }
        environment = resource("Microsoft.App/managedEnvironments", "env", {"vnetConfiguration": there})
        await vacant.deploy(template(network=network("10.60.1.0/24"), environment=environment))
        error = await vacant.refused(template(network=network("10.9.1.0/24")))
        assert "IpPrefix 10.60.1.0/24 on Subnet" in error
        assert "has active allocations" in error

    async def test_a_region_is_taken_by_both_of_its_names_and_no_other(self, vacant: Vacant) -> None:
        regions = await vacant.az("account list-locations")
        assert {"name": "japaneast", "displayName": "Japan East"}.items() <= regions[4].items()
        await vacant.az("group create -n voice -l 'East US 2'")
        error = await vacant.az.refused("group create -n other -l atlantis")
        assert "'atlantis' is not available for resource group" in error


class TestRepeating:
    async def test_what_an_update_wrote_of_an_app_is_not_what_the_template_says_of_it(self, vacant: Vacant) -> None:
        await vacant.deploy(whole(), keys=f"alice:{KEY}")
        await vacant.deploy(whole(), keys=f"alice:{KEY}")
        again = "--container-name rtproxy --image elsewhere.example/rtproxy:1"
        await vacant.az(f"containerapp update -n relay -g voice --revision-suffix two {again}")
        error = await vacant.refused(whole(app=relay(revisionSuffix="two")), keys=f"alice:{KEY}")
        assert "Field 'template.revisionSuffix' is invalid" in error
        assert "a revision with suffix 'two' already exists" in error

    async def test_the_model_answers_to_the_deployments_that_there_are(self, vacant: Vacant) -> None:
        model = {"model": {"format": "OpenAI", "name": "gpt-realtime-2.1", "version": "2026-07-07"}}
        kind, sku = "Microsoft.CognitiveServices/accounts/deployments", {"name": "GlobalStandard", "capacity": 1}
        named = resource(kind, "model/voice", model, sku=sku, dependsOn=["model"])
        await vacant.deploy(whole(named=named), keys=f"alice:{KEY}")
        code, said = await hold(vacant, KEY)
        assert code != 0
        assert "HTTP 502" in said


class TestFailing:
    async def test_a_resource_that_fails_ends_the_deployment_and_what_was_made_stays(self, vacant: Vacant) -> None:
        await vacant.fault(fault="fail", type="Microsoft.CognitiveServices/accounts", message="no quota in this region")
        asked = template(part=module(template(logs=WORKSPACE, model=account() | {"dependsOn": ["logs"]})))
        assert "no quota in this region" in await vacant.refused(asked)
        states = {
            each["name"]: each["properties"]["provisioningState"]
            for each in await vacant.az("deployment group list -g voice")
        }
        assert states == {"inner": "Failed", "it": "Failed"}
        assert [each["name"] for each in await vacant.az("resource list")] == ["logs"]
        await vacant.deploy(asked)

    async def test_a_deployment_under_way_is_not_replaced(self, vacant: Vacant) -> None:
        await vacant.fault(fault="hang")
        command = vacant.command("create", whole(), keys=f"alice:{KEY}")
        await vacant.az(f"{command} --no-wait")
        assert "previous deployment is still active" in await vacant.az.refused(command)
        await vacant.fault(fault="none")
        assert "failed" in await vacant.az.refused("deployment group wait -g voice -n it --created --interval 1")
        await vacant.az(command)


class TestDeleting:
    async def test_a_group_goes_with_all_that_is_in_it_and_can_come_again(self, vacant: Vacant) -> None:
        await vacant.deploy(whole(), keys=f"alice:{KEY}")
        await vacant.az("group delete -n voice --yes")
        assert vacant.stage.environment.apps == {}
        assert not await vacant.az("group exists -n voice")
        (left,) = await vacant.az("cognitiveservices account list-deleted")
        assert left["id"].endswith("/locations/eastus2/resourceGroups/voice/deletedAccounts/model")
        await vacant.az("group create -n voice -l eastus2")
        assert await vacant.az("resource list") == []
        error = await vacant.refused(whole(), keys=f"alice:{KEY}")
        assert "has been soft-deleted" in error
        assert f"{GROUP}/providers/Microsoft.CognitiveServices/accounts/model" in error
        await vacant.az("cognitiveservices account purge -n model -g voice -l eastus2")
        await vacant.deploy(whole(), keys=f"alice:{KEY}")
        code, said = await hold(vacant, KEY)
        assert code == 0, said

    async def test_while_a_group_goes_it_can_be_deleted_again_and_takes_nothing_else(
        self, vacant: Vacant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        environment, tried = vacant.stage.environment, asyncio.Event()
        delete = environment.delete

        async def once_all_was_tried(name: str) -> None:
            await tried.wait()
            await delete(name)

        monkeypatch.setattr(environment, "delete", once_all_was_tried)
        await vacant.deploy(whole(), keys=f"alice:{KEY}")
        await vacant.az("group delete -n voice --yes --no-wait")
        assert "is in deprovisioning state" in await vacant.az.refused("group create -n voice -l eastus2")
        await vacant.refused(whole(), keys=f"alice:{KEY}")
        access = await vacant.az("account get-access-token")
        token, url = {"Authorization": f"Bearer {access['accessToken']}"}, f"{vacant.arm}{GROUP}"
        async with vacant.http.delete(url, headers=token, ssl=False) as again:
            assert again.status == 202, await again.text()
        tried.set()
        async with asyncio.timeout(DEADLINE_S):
            status = 202
            while status == 202:
                async with vacant.http.get(again.headers["Location"], headers=token, ssl=False) as ended:
                    status = ended.status
        assert status == 200
        assert not await vacant.az("group exists -n voice")

    async def test_a_subdomain_stays_taken_until_its_account_is_purged(self, vacant: Vacant) -> None:
        await vacant.deploy(template(model=account()))
        await vacant.az("group delete -n voice --yes")
        await vacant.az("group create -n voice -l eastus2")
        other = resource("Microsoft.CognitiveServices/accounts", "other", {"customSubDomainName": "model"})
        assert "subdomain name 'model' is not available" in await vacant.refused(template(model=other))
        restored = account()
        restored["properties"]["restore"] = True
        await vacant.deploy(template(model=restored))
        assert await vacant.az("cognitiveservices account list-deleted") == []
