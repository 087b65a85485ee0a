"""An empty stage with the real az beside it, and templates small enough to be read."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
import pytest_asyncio

from stage.arm.resources import SUBSCRIPTION
from stage.azure import Stage
from tests.stage.rig import DEADLINE_S, MANY, Az

GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/voice"
APP_ID = f"{GROUP}/providers/Microsoft.App/containerApps/relay"
NETWORK = "providers/Microsoft.Network/virtualNetworks"
PULL = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
USER = "5e0bd9bd-7b93-4f28-af87-19fc36ad61bd"
IDENTITY = "resourceId('Microsoft.ManagedIdentity/userAssignedIdentities', 'id')"


class Vacant(NamedTuple):
    """A stage whose subscription is empty, and a folder for templates."""

    stage: Stage
    az: Az
    folder: Path
    http: aiohttp.ClientSession

    def file(self, template: dict[str, Any]) -> Path:
        path = self.folder / "main.json"
        path.write_text(json.dumps(template))
        return path

    def command(self, verb: str, template: dict[str, Any], **parameters: Any) -> str:
        given = " ".join(f"{name}={value}" for name, value in parameters.items())
        words = f"deployment group {verb} -g voice -n it --template-file {self.file(template)}"
        return words + (f" --parameters {given}" if given else "")

    async def deploy(self, template: dict[str, Any], **parameters: Any) -> dict[str, Any]:
        """The outputs."""
        done = await self.az(self.command("create", template, **parameters))
        return {name: each["value"] for name, each in done["properties"]["outputs"].items()}

    async def refused(self, template: dict[str, Any], **parameters: Any) -> str:
        return await self.az.refused(self.command("create", template, **parameters))

    async def what_if(self, template: dict[str, Any], **parameters: Any) -> dict[str, dict[str, Any]]:
        """The changes, by the last part of the resource's id."""
        told = await self.az(self.command("what-if", template, **parameters) + " --no-pretty-print")
        return {each["resourceId"].rpartition("/")[2]: each for each in told["changes"]}

    async def fault(self, **fault: str) -> None:
        async with self.http.post(f"{self.arm}/_stage/faults", json=fault, ssl=False) as answer:
            assert answer.status == 200, await answer.text()

    @property
    def arm(self) -> str:
        clouds = (Path(self.stage.environ["AZURE_CONFIG_DIR"]) / "clouds.config").read_text()
        return clouds.partition("endpoint_resource_manager = ")[2].split()[0]

    async def clear(self) -> None:
        """As empty as it was."""
        await self.fault(fault="none")
        for group in await self.az("group list"):
            await self.az(f"group delete -n {group['name']} --yes")
        for account in await self.az("cognitiveservices account list-deleted"):
            group = account["id"].split("/resourceGroups/")[1].split("/")[0]
            where = f"-n {account['name']} -g {group} -l {account['location']}"
            await self.az(f"cognitiveservices account purge {where}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Vacant]:
    folder = tmp_path_factory.mktemp("vacant")
    async with Stage(folder / "stage", None) as stage, aiohttp.ClientSession() as http:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", MANY, env=os.environ | stage.environ, stdin=PIPE, stdout=PIPE, limit=1 << 22
        )
        yield Vacant(stage, Az(process), folder, http)
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(DEADLINE_S):
            await process.wait()


@pytest_asyncio.fixture(loop_scope="module")
async def vacant(standing: Vacant) -> AsyncIterator[Vacant]:
    """With one group, `voice`, and nothing in it."""
    await standing.az("group create -n voice -l eastus2")
    yield standing
    await standing.clear()


def template(
    *, outputs: dict[str, Any] | None = None, parameters: dict[str, Any] | None = None, **resources: Any
) -> Any:
    """A template of resources by symbolic name; outputs are texts."""
    return {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "languageVersion": "2.0",
        "parameters": parameters or {},
        "resources": resources,
        "outputs": {name: {"type": "string", "value": value} for name, value in (outputs or {}).items()},
    }


def resource(kind: str, name: str, properties: dict[str, Any] | None = None, /, **fields: Any) -> dict[str, Any]:
    where = {} if kind.startswith("Microsoft.Authorization") else {"location": "eastus2"}
    return {"type": kind, "apiVersion": "2025-01-01", "name": name, **where, "properties": properties or {}, **fields}


def module(inner: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    return {
        "type": "Microsoft.Resources/deployments",
        "apiVersion": "2025-04-01",
        "name": "inner",
        "properties": {
            "expressionEvaluationOptions": {"scope": "inner"},
            "mode": "Incremental",
            "parameters": {name: {"value": value} for name, value in parameters.items()},
            "template": inner,
        },
    }


def account(name: str = "model") -> dict[str, Any]:
    return resource("Microsoft.CognitiveServices/accounts", name, {"customSubDomainName": name}, kind="OpenAI")


def role(role: str, scope: str) -> dict[str, Any]:
    """An assignment to the identity `id`; ``scope`` is `Namespace/type/name`."""
    properties = {
        "principalId": "[reference('identity').principalId]",
        "roleDefinitionId": f"[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '{role}')]",
    }
    return resource("Microsoft.Authorization/roleAssignments", f"[guid('{role}')]", properties, scope=scope)


def relay(image: str = "elsewhere.example/rtproxy:1", **template: Any) -> dict[str, Any]:
    """The app `relay`, which is the identity `id` and takes the parameter `keys`."""
    env = {"AZURE_OPENAI_ENDPOINT": "[reference('model').endpoint]", "AZURE_OPENAI_DEPLOYMENT": "gpt-realtime"}
    env |= {"AZURE_CLIENT_ID": "[reference('identity').clientId]", "RTPROXY_DRAIN_SECONDS": "1"}
    container = {
        "name": "rtproxy",
        "image": image,
        "env": [
            *({"name": name, "value": value} for name, value in env.items()),
            {"name": "RTPROXY_CLIENT_KEYS", "secretRef": "client-keys"},
        ],
        "probes": [{"type": "Readiness", "httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1}],
    }
    scale = {"minReplicas": 1, "maxReplicas": 2, "rules": [{"name": "cpu", "custom": {"type": "cpu"}}]}
    configuration: dict[str, Any] = {
        "activeRevisionsMode": "Multiple",
        "ingress": {"external": True, "targetPort": 8080, "traffic": []},
        "secrets": [{"name": "client-keys", "value": "[parameters('keys')]"}],
        "registries": [{"server": "[reference('registry').loginServer]", "identity": f"[{IDENTITY}]"}],
    }
    properties = {
        "environmentId": "[resourceId('Microsoft.App/managedEnvironments', 'env')]",
        "configuration": configuration,
        "template": {"revisionSuffix": "one", "containers": [container], "scale": scale} | template,
    }
    who = {"type": "UserAssigned", "userAssignedIdentities": {f"[{IDENTITY}]": {}}}
    after = ["environment", "pull", "call", "registry"]
    return resource("Microsoft.App/containerApps", "relay", properties, identity=who, dependsOn=after)


def gateway(timeout_s: int = 600, *, names: str = "relay--*") -> dict[str, Any]:
    """Two ports: one for callers, who may ask for calls alone, and one for rollouts, at the ``names`` of revisions."""
    here = "[resourceId('Microsoft.Network/applicationGateways/{}', 'door', '{}')]".format
    callers, revisions = (
        {
            "name": name,
            "properties": {
                "priority": priority,
                "httpListener": {"id": here("httpListeners", name)},
                **way,
            },
        }
        for priority, name, way in (
            (200, "callers", {"urlPathMap": {"id": here("urlPathMaps", "callers")}}),
            (
                100,
                "revisions",
                {
                    "backendAddressPool": {"id": here("backendAddressPools", "pool")},
                    "backendHttpSettings": {"id": here("backendHttpSettingsCollection", "revisions")},
                },
            ),
        )
    )
    by_path = {
        "defaultBackendAddressPool": {"id": here("backendAddressPools", "pool")},
        "defaultBackendHttpSettings": {"id": here("backendHttpSettingsCollection", "callers")},
        "defaultRewriteRuleSet": {"id": here("rewriteRuleSets", "none")},
        "pathRules": [{"name": "calls", "properties": {"paths": ["/v1/*", "/healthz"]}}],
    }
    domain = "reference('environment').defaultDomain"
    properties = {
        "requestRoutingRules": [callers, revisions],
        "httpListeners": [
            {"name": "callers", "properties": {"frontendPort": {"id": here("frontendPorts", "callers")}}},
            {
                "name": "revisions",
                "properties": {
                    "frontendPort": {"id": here("frontendPorts", "revisions")},
                    "hostNames": [f"[format('{names}.{{0}}', {domain})]"],
                },
            },
        ],
        "frontendPorts": [
            {"name": "callers", "properties": {"port": 80}},
            {"name": "revisions", "properties": {"port": 8443}},
        ],
        "gatewayIPConfigurations": [
            {"name": "subnet", "properties": {"subnet": {"id": f"{GROUP}/{NETWORK}/net/subnets/gateway"}}}
        ],
        "urlPathMaps": [{"name": "callers", "properties": by_path}],
        "rewriteRuleSets": [
            {
                "name": "none",
                "properties": {"rewriteRules": [{"actionSet": {"urlConfiguration": {"modifiedPath": "/"}}}]},
            }
        ],
        "backendAddressPools": [
            {
                "name": "pool",
                "properties": {"backendAddresses": [{"fqdn": "[reference('app').configuration.ingress.fqdn]"}]},
            }
        ],
        "backendHttpSettingsCollection": [
            {"name": "callers", "properties": {"pickHostNameFromBackendAddress": True, "requestTimeout": timeout_s}},
            {"name": "revisions", "properties": {"requestTimeout": timeout_s}},
        ],
    }
    return resource("Microsoft.Network/applicationGateways", "door", properties)


def network(*rollouts: str) -> dict[str, dict[str, Any]]:
    """The network of the gateway, by symbolic name: callers come from anywhere, rollouts from these addresses."""
    several = {"sourceAddressPrefixes": list(rollouts), "destinationPortRange": "8443"}
    kinds = [(100, {"sourceAddressPrefix": "Internet", "destinationPortRanges": ["80", "443"]})]
    kinds += [(105, several)] if rollouts else []
    rules = [
        {"name": str(at), "properties": {"priority": at, "direction": "Inbound", "access": "Allow", **rule}}
        for at, rule in kinds
    ]
    subnet = {"networkSecurityGroup": {"id": f"{GROUP}/providers/Microsoft.Network/networkSecurityGroups/rules"}}
    subnets = [{"name": "gateway", "properties": subnet}]
    return {
        "rules": resource("Microsoft.Network/networkSecurityGroups", "rules", {"securityRules": rules}),
        "network": resource("Microsoft.Network/virtualNetworks", "net", {"subnets": subnets}, dependsOn=["rules"]),
    }


KEYS = {"keys": {"type": "secureString"}}


def whole(**instead: Any) -> Any:
    """Everything that a call needs; ``instead`` replaces resources, or leaves one out when it is None."""
    identity = resource("Microsoft.ManagedIdentity/userAssignedIdentities", "id")
    del identity["properties"]
    resources = {
        "environment": resource("Microsoft.App/managedEnvironments", "env", {"vnetConfiguration": {"internal": True}}),
        "registry": resource("Microsoft.ContainerRegistry/registries", "images", sku={"name": "Basic"}),
        "model": account(),
        "identity": identity,
        "pull": role(PULL, "Microsoft.ContainerRegistry/registries/images") | {"dependsOn": ["registry"]},
        "call": role(USER, "Microsoft.CognitiveServices/accounts/model") | {"dependsOn": ["model"]},
        "app": relay(),
        "gateway": gateway(),
    } | instead
    kept = {name: each for name, each in resources.items() if each is not None}
    for each in kept.values():
        each["dependsOn"] = [name for name in each.get("dependsOn", ()) if name in kept]
    return template(parameters=KEYS, outputs={"server": "[reference('registry').loginServer]"}, **kept)
