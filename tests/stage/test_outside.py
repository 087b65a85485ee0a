"""What an app has from a Key Vault and from a share: in files of its replicas, as the platform mounts them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from stage.arm.roles import account_keys
from tests.stage.apps import eventually
from tests.stage.rig import DEADLINE_S
from tests.stage.vacant import GROUP, IDENTITY, Vacant, relay, resource, template, whole
from tests.stage.vacant import standing as standing
from tests.stage.vacant import vacant as vacant

pytestmark = [pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]

OLD, NEW = "key-of-a-caller-old1", "key-of-a-caller-new2"
SECRETS_USER = "4633458b-17de-408a-b874-0445c86b69e6"
URL = "https://safe.vault.azure.net/secrets/callers"
FILE = "RTPROXY_CLIENT_KEYS_FILE"
ACCOUNT = "Microsoft.Storage/storageAccounts"
FILES = resource(f"{ACCOUNT}/fileServices", "store/default") | {"dependsOn": ["account"]}
SHARE = resource(f"{ACCOUNT}/fileServices/shares", "store/default/keys") | {"dependsOn": ["files"]}


def vault(*, granted: bool = True) -> dict[str, Any]:
    """A vault with the secret `callers`, whose value is the parameter `keys`, and who may read it."""
    scope = "Microsoft.KeyVault/vaults/safe/secrets/callers"
    properties = {
        "principalId": "[reference('identity').principalId]",
        "roleDefinitionId": f"[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '{SECRETS_USER}')]",
    }
    read = resource("Microsoft.Authorization/roleAssignments", "[guid('read')]", properties, scope=scope)
    secret = resource("Microsoft.KeyVault/vaults/secrets", "safe/callers", {"value": "[parameters('keys')]"})
    return {
        "vault": resource("Microsoft.KeyVault/vaults", "safe"),
        "secret": secret | {"dependsOn": ["vault"]},
        **({"read": read | {"dependsOn": ["secret"]}} if granted else {}),
    }


def mounting(volume: dict[str, Any], secrets: list[dict[str, Any]], suffix: str = "one") -> dict[str, Any]:
    """The app with its keys in the file `callers` of a volume."""
    app = relay(revisionSuffix=suffix)
    shown = app["properties"]["template"]
    (container,) = shown["containers"]
    env = [each for each in container["env"] if each["name"] != "RTPROXY_CLIENT_KEYS"]
    container |= {"env": [*env, {"name": FILE, "value": "/mnt/keys/callers"}]}
    container["volumeMounts"] = [{"volumeName": "keys", "mountPath": "/mnt/keys"}]
    shown["volumes"] = [{"name": "keys", **volume}]
    app["properties"]["configuration"]["secrets"] = secrets
    app["dependsOn"] += ["read", "secret", "share", "storage"]
    return app


def of_vault(suffix: str = "one") -> dict[str, Any]:
    volume = {"storageType": "Secret", "secrets": [{"secretRef": "from-vault", "path": "callers"}]}
    return mounting(volume, [{"name": "from-vault", "keyVaultUrl": URL, "identity": f"[{IDENTITY}]"}], suffix)


def of_share(key: str = "[listKeys(resourceId('{0}', 'store'), '2025-01-01').keys[0].value]") -> dict[str, Any]:
    """The app, and what its volume needs."""
    file = {"accountName": "store", "shareName": "keys", "accessMode": "ReadOnly", "accountKey": key.format(ACCOUNT)}
    storage = resource("Microsoft.App/managedEnvironments/storages", "env/keys", {"azureFile": file})
    del storage["location"]
    return {
        "app": mounting({"storageType": "AzureFile", "storageName": "keys"}, []),
        "storage": storage | {"dependsOn": ["environment", "share"]},
        "files": FILES,
        "share": SHARE,
        "account": resource(ACCOUNT, "store", sku={"name": "Standard_LRS"}, kind="StorageV2"),
    }


async def status(vacant: Vacant, key: str) -> int:
    """What a caller with that key is answered."""
    url = f"{vacant.stage.environment.gateway_url}/v1/realtime"
    try:
        async with vacant.http.ws_connect(url, headers={"api-key": key}):
            return 101
    except aiohttp.WSServerHandshakeError as refusal:
        return refusal.status


def environment(pid: int) -> bytes:
    """What a process was started with."""
    return Path(f"/proc/{pid}/environ").read_bytes()


def replicas(vacant: Vacant, revision: str = "relay--one") -> list[Any]:
    return vacant.stage.environment.apps["relay"].revisions[revision].replicas


async def deploy(vacant: Vacant, keys: str) -> None:
    """The role first: a role of the same deployment is not known everywhere yet."""
    await vacant.deploy(whole(app=None, gateway=None, **vault()), keys=keys)
    await vacant.deploy(whole(app=of_vault(), **vault()), keys=keys)


class TestVault:
    async def test_its_secret_is_a_file_of_the_replica_and_in_no_environment(self, vacant: Vacant) -> None:
        await deploy(vacant, keys=f"alice:{OLD}")
        assert (await status(vacant, OLD), await status(vacant, NEW)) == (101, 401)
        (replica,) = replicas(vacant)
        assert OLD.encode() not in environment(replica.pid)
        folder = replica.log.with_suffix(".volumes")
        assert (folder / "keys" / "callers").read_text() == f"alice:{OLD}"
        assert (folder / "keys").stat().st_mode & 0o077 == 0
        told = json.dumps([await vacant.az("containerapp show -n relay -g voice"), await vacant.az("resource list")])
        told += json.dumps(await vacant.what_if(whole(app=of_vault("two"), **vault()), keys=f"alice:{NEW}"))
        told += (vacant.stage.out / "timeline.jsonl").read_text()
        assert OLD not in told
        assert NEW not in told
        await vacant.az("containerapp revision deactivate -n relay -g voice --revision relay--one")
        await replica.gone()
        assert not folder.exists()

    async def test_a_new_version_is_a_new_replicas_and_no_running_ones(self, vacant: Vacant) -> None:
        await deploy(vacant, keys=f"alice:{OLD}")
        await vacant.deploy(
            template(**vault(granted=False)) | {"parameters": {"keys": {"type": "secureString"}}}, keys=f"alice:{NEW}"
        )
        assert (await status(vacant, OLD), await status(vacant, NEW)) == (101, 401)
        await vacant.deploy(whole(app=of_vault("two"), **vault()), keys=f"alice:{NEW}")

        async def taken_up() -> bool:
            return (await status(vacant, OLD), await status(vacant, NEW)) == (401, 101)

        await eventually(taken_up)  # a part of the ingress goes on to the revision before for a while

    async def test_a_role_of_the_same_deployment_is_not_known_yet(self, vacant: Vacant) -> None:
        refusal = await vacant.refused(whole(app=of_vault(), **vault()), keys=f"alice:{OLD}")
        assert "Unable to get value using Managed identity" in refusal
        await vacant.deploy(whole(app=of_vault(), **vault()), keys=f"alice:{OLD}")

    async def test_who_has_no_role_at_the_secret_cannot_read_it(self, vacant: Vacant) -> None:
        refusal = await vacant.refused(whole(app=of_vault(), **vault(granted=False)), keys=f"alice:{OLD}")
        assert "Unable to get value using Managed identity" in refusal
        assert vacant.stage.environment.apps == {}

    async def test_an_identity_that_is_not_the_apps_cannot_read_it(self, vacant: Vacant) -> None:
        app = of_vault()
        del app["identity"]
        app["properties"]["configuration"]["registries"] = []
        assert "is not assigned to the app" in await vacant.refused(whole(app=app, **vault()), keys=f"alice:{OLD}")

    @pytest.mark.parametrize("secret", [{"value": ""}, {"keyVaultUrl": URL}, {}])
    async def test_a_secret_needs_a_value_or_both_parts_of_a_reference(
        self, vacant: Vacant, secret: dict[str, str]
    ) -> None:
        app = relay()
        app["properties"]["configuration"]["secrets"].append({"name": "another", **secret})
        refusal = await vacant.refused(whole(app=app), keys=f"alice:{OLD}")
        assert "Invalid secret 'another': value or keyVaultUrl and identity should be provided." in refusal


class TestShare:
    async def test_a_key_that_is_taken_out_of_its_file_ends_calls_and_makes_no_revision(self, vacant: Vacant) -> None:
        folder = vacant.stage.out / "shares" / "store" / "keys"
        needs = of_share()
        await vacant.deploy(template(**{name: needs[name] for name in ("account", "files", "share")}))
        (folder / "callers").write_text(f"alice:{OLD}")
        await vacant.deploy(whole(**needs), keys="unused:unused-0123456789")
        url = f"{vacant.stage.environment.gateway_url}/v1/realtime"
        async with vacant.http.ws_connect(url, headers={"api-key": OLD}) as call, asyncio.timeout(DEADLINE_S):
            (folder / "callers").write_text(f"bob:{NEW}")
            while (await call.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
            assert call.close_code == 1008
        assert (await status(vacant, OLD), await status(vacant, NEW)) == (401, 101)
        assert list(vacant.stage.environment.apps["relay"].revisions) == ["relay--one"]
        told = json.dumps(await vacant.what_if(whole(**needs), keys="unused:unused-0123456789"))
        told += json.dumps(await vacant.az("deployment group list -g voice"))
        told += (vacant.stage.out / "timeline.jsonl").read_text()
        key = account_keys(f"{GROUP}/providers/{ACCOUNT}/store")["keys"][0]["value"]
        assert key not in told

    async def test_a_share_with_the_wrong_key_and_one_that_nobody_told_the_environment_of_are_refused(
        self, vacant: Vacant
    ) -> None:
        assert "wrong key for 'store'" in await vacant.refused(whole(**of_share("wrong")), keys=f"alice:{OLD}")
        needs = of_share()
        needs["app"]["properties"]["template"]["volumes"][0]["storageName"] = "others"
        assert "no storage 'others'" in await vacant.refused(whole(**needs), keys=f"alice:{OLD}")

    async def test_a_storage_takes_a_new_key_and_no_other_share(self, vacant: Vacant) -> None:
        needs = of_share()
        parts = {name: needs[name] for name in ("account", "files", "share", "storage")}
        parts |= {"environment": whole()["resources"]["environment"]}
        await vacant.deploy(template(**parts))
        file = parts["storage"]["properties"]["azureFile"]
        file["accountKey"] = "a-new-one"
        await vacant.deploy(template(**parts))
        file["shareName"] = "others"
        assert "Only 'properties.azureFile.AccountKey' can be updated" in await vacant.refused(template(**parts))

    async def test_a_mount_of_no_volume_is_refused(self, vacant: Vacant) -> None:
        needs = of_share()
        needs["app"]["properties"]["template"]["volumes"] = []
        assert "there is no volume 'keys'" in await vacant.refused(whole(**needs), keys=f"alice:{OLD}")
