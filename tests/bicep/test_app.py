"""What the service checks of an app before a deployment, when no other resource of the template is there yet."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from stage.arm.resources import APPS, DEPLOYMENTS, ENVIRONMENTS, IDENTITIES, REGISTRY_SUFFIX, ROLE_ASSIGNMENTS, STORAGES
from stage.bicep import compile
from tests.bicep.conftest import BICEP
from tests.bicep.worked_out import OF_AZURE, asked, sent

COMPILED = compile(BICEP / "main.bicep")
FIRST = {"prefix": "voice", "identityClientId": "of-the-first-pass", "publicIpAddress": "203.0.113.9"}
VAULT = "https://safe.vault.azure.net/secrets/callers"
FILE = {"name": "RTPROXY_CLIENT_KEYS_FILE", "value": "/mnt/client-keys/client-keys"}
SETS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "an environment with a public address": {"internal": False},
    "a key of the account": {"openAiApiKey": "key-of-the-account"},
    "affinity": {"activeRevisionsMode": "Single"},
    "down to zero": {"minReplicas": 0},
    "client keys": {"clientKeys": "ada:0123456789abcdef"},
    "client keys of a vault": {"clientKeysSecretUri": VAULT, "identityPrincipalId": "of-the-first-pass"},
    "client keys of a share": {"clientKeysStorageAccount": "store"},
    "settings": {"relaySettings": [{"name": "RTPROXY_MAX_CLIENT_SESSIONS", "value": "9"}]},
}


def of_the_service(template: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What is the service's, and the modules that have something of it: their parameters, without the rest."""
    for each in template["resources"].values():
        if each["type"] == DEPLOYMENTS:
            inner = list(of_the_service(each["properties"]["template"]))
            yield from inner
            if inner:
                yield {"type": DEPLOYMENTS, "parameters": each["properties"]["parameters"]}
        elif each["type"].startswith("Microsoft.App/") and not each.get("existing"):
            yield each


def test_no_property_of_microsoft_app_reads_another_resource_itself_or_through_a_module_s_parameter() -> None:
    found = list(of_the_service(COMPILED))
    assert sorted(each["type"] for each in found) == sorted([APPS, ENVIRONMENTS, STORAGES, *[DEPLOYMENTS] * 3])
    assert [each["type"] for each in found if "reference(" in json.dumps(each)] == []


@pytest.mark.parametrize("name", SETS)
def test_no_set_of_parameters_gives_the_app_what_is_known_after_a_deployment_only(name: str) -> None:
    app = sent(COMPILED, containerImage="any.example/rtproxy:1", **FIRST, **SETS[name])[APPS]
    assert OF_AZURE not in json.dumps(app)
    env = {each["name"]: each.get("value") for each in app["template"]["containers"][0]["env"]}
    assert env["AZURE_CLIENT_ID"] == "of-the-first-pass"
    assert env["AZURE_OPENAI_ENDPOINT"].startswith("https://voice-")
    assert env["AZURE_OPENAI_ENDPOINT"].endswith(".openai.azure.com/")
    (registry,) = app["configuration"]["registries"]
    assert registry["server"].startswith("voice")
    assert registry["server"].endswith(REGISTRY_SUFFIX)


def test_the_gateway_s_address_is_made_first_where_the_app_names_it() -> None:
    kind = "Microsoft.Network/publicIPAddresses"
    assert kind in sent(COMPILED, prefix="voice", internal=False)
    assert kind not in sent(COMPILED, prefix="voice")
    app = sent(COMPILED, containerImage="any.example/rtproxy:1", internal=False, **FIRST)[APPS]
    (restriction,) = app["configuration"]["ingress"]["ipSecurityRestrictions"]
    assert restriction["ipAddressRange"] == "203.0.113.9/32"


def test_the_app_is_left_alone_where_it_is_not_to_be_updated() -> None:
    assert APPS not in sent(
        COMPILED, containerImage="any.example/rtproxy:1", updateApp=False, updateGateway=False, **FIRST
    )


def keys(**parameters: Any) -> tuple[Any, ...]:
    """Of the app: its secrets, where its variables say that client keys are, its mounts, and its volumes."""
    given = {
        "containerImage": "any.example/rtproxy:1",
        **FIRST,
        "identityPrincipalId": "of-the-first-pass",
        **parameters,
    }
    app = sent(COMPILED, **given)[APPS]
    (container,) = app["template"]["containers"]
    variables = [each for each in container["env"] if each["name"].startswith("RTPROXY_CLIENT_KEYS")]
    return app["configuration"]["secrets"], variables, container["volumeMounts"], app["template"]["volumes"]


def test_an_app_without_client_keys_has_no_empty_secret() -> None:
    assert keys() == ([], [], None, None)


def test_client_keys_are_a_secret_that_a_variable_names() -> None:
    secret = {"name": "client-keys", "value": "ada:0123456789abcdef"}
    variable = {"name": "RTPROXY_CLIENT_KEYS", "secretRef": "client-keys"}
    assert keys(clientKeys=secret["value"]) == ([secret], [variable], None, None)


def test_client_keys_of_a_vault_are_a_file_and_in_no_variable() -> None:
    secrets, variables, (mount,), (volume,) = keys(clientKeysSecretUri=VAULT)
    (secret,) = secrets
    assert secret["keyVaultUrl"] == VAULT
    assert secret["identity"].endswith("/voice-identity")
    assert volume["storageType"] == "Secret"
    assert volume["secrets"] == [{"secretRef": secret["name"], "path": "client-keys"}]
    assert (mount["volumeName"], mount["mountPath"]) == (volume["name"], "/mnt/client-keys")
    assert variables == [FILE]


def test_the_secret_of_a_variable_stays_beside_a_file_for_revisions_that_read_it() -> None:
    secrets, variables, _, _ = keys(clientKeysSecretUri=VAULT, clientKeys="ada:0123456789abcdef")
    assert [each["name"] for each in secrets] == ["client-keys", "client-keys-of-vault"]
    assert variables == [FILE]


def test_client_keys_of_a_share_are_a_file_that_the_environment_mounts() -> None:
    secrets, variables, (mount,), (volume,) = keys(clientKeysStorageAccount="store", clientKeysShare="callers")
    assert secrets == []
    assert volume["storageType"] == "AzureFile"
    assert (mount["volumeName"], variables) == (volume["name"], [FILE])


def test_another_share_is_another_storage_because_one_keeps_its_share() -> None:
    names = {
        keys(clientKeysStorageAccount=account, clientKeysShare=share)[3][0]["storageName"]
        for account, share in (("store", "callers"), ("store", "others"), ("other", "callers"))
    }
    assert len(names) == 3
    assert all(name.startswith("client-keys-") and len(name) <= 32 for name in names)


@pytest.mark.parametrize(
    "parameters",
    [
        {"clientKeysSecretUri": VAULT, "clientKeysStorageAccount": "store"},
        {"standingSecretUri": VAULT, "clientKeysStorageAccount": "store"},
        {"standingSecretUri": VAULT, "clientKeys": "ada:0123456789abcdef"},
    ],
)
def test_a_secret_of_a_vault_stays_for_revisions_that_mount_it(parameters: dict[str, str]) -> None:
    secrets, _, _, volumes = keys(**parameters)
    assert [each.get("keyVaultUrl") for each in secrets][-1] == VAULT
    assert "Secret" not in [each["storageType"] for each in volumes or ()]


def test_another_secret_of_a_vault_takes_the_place_of_the_standing_one() -> None:
    other = VAULT.replace("callers", "others")
    (secret,), *_ = keys(clientKeysSecretUri=other, standingSecretUri=VAULT)
    assert secret["keyVaultUrl"] == other


def test_roles_at_secrets_of_vaults_are_granted_in_the_first_pass_to_identities_that_are_always_made() -> None:
    parameters = {"certificateId": "https://safe.vault.azure.net/secrets/door", "clientKeysSecretUri": VAULT}
    principals = {"identityPrincipalId": "of-the-relay", "gatewayPrincipalId": "of-the-gateway"}
    granted = {
        each.id.rpartition("/providers/Microsoft.Authorization")[0].rpartition("/")[2]: each.body["properties"][
            "principalId"
        ]
        for each in asked(COMPILED, prefix="voice", **parameters, **principals)
        if each.kind == ROLE_ASSIGNMENTS and "KeyVault" in each.id
    }
    assert granted == {"door": "of-the-gateway", "callers": "of-the-relay"}
    identities = [each.name for each in asked(COMPILED, prefix="voice") if each.kind == IDENTITIES]
    assert identities == ["voice-identity", "voice-gateway-identity"]
