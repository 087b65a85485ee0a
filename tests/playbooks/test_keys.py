"""Secrets of a Key Vault, a certificate, and parameters that hold: deployments of somebody who says each thing once."""

import json
from pathlib import Path

import pytest

from stage.arm.resources import GATEWAYS
from tests.playbooks.conftest import Play, Run, Stage, player
from tests.playbooks.test_deploy import IMAGE_OF, SMALL, inject, made
from tests.stage.vacant import resource, template

pytestmark = [pytest.mark.timeout(1500), pytest.mark.nightly]
KEY = "key-of-the-vault-0123"
DOOR = "https://safe.vault.azure.net/secrets/door"
CALLERS = "https://safe.vault.azure.net/secrets/callers"
ONCE = {"clientKeysSecretUri": CALLERS, "clientKeysVaultResourceGroup": "safe", "maxReplicas": 20}
ONCE |= {"internal": False}
MOST = "properties.template.scale.maxReplicas"
LISTENERS = ("network", "application-gateway", "show", "-g", "voice", "-n", "relay-gateway")


@pytest.fixture(scope="module")
def kept(empty: Stage, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """A subscription with a vault in a group of its own, and a shell with none of the client keys but one to call."""
    secrets = {"callers": f"ada:{KEY}", "door": "a certificate"}
    kind = "Microsoft.KeyVault/vaults"
    resources = {
        name: resource(f"{kind}/secrets", f"safe/{name}", {"value": value}, dependsOn=["vault"])
        for name, value in secrets.items()
    }
    file = tmp_path_factory.mktemp("vault") / "vault.json"
    file.write_text(json.dumps(template(vault=resource(kind, "safe"), **resources)))
    empty.anywhere("group", "create", "-n", "safe", "-l", "eastus2")
    empty.anywhere("deployment", "group", "create", "-g", "safe", "-n", "safe", "--template-file", str(file))
    empty.environ |= {"RTPROXY_CLIENT_KEYS": "", "RTPROXY_KEY": KEY}
    return empty


@pytest.fixture(scope="module")
def first(kept: Stage, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The first deployment, which says what is to hold."""
    return player(kept, tmp_path_factory.mktemp("first"))("deploy.yml", release="first", parameters=ONCE, **SMALL)


@pytest.fixture
def deploy(kept: Stage, first: Run, tmp_path: Path) -> Play:
    """Deploys again; says nothing again."""
    assert first.code == 0, first.output

    def run(*flags: str, release: str, **more: object) -> Run:
        return player(kept, tmp_path, steady=True)("deploy.yml", *flags, release=release, **SMALL, **more)

    return run


def protocols(stage: Stage) -> set[str]:
    return set(stage.anywhere(*LISTENERS, "--query", "httpListeners[].protocol"))


def most(stage: Stage) -> int:
    found: int = stage.az("containerapp", "show", "--query", MOST)
    return found


def test_callers_keys_come_from_a_vault_and_are_in_no_variable_of_the_app(kept: Stage, first: Run) -> None:
    assert first.code == 0, first.output
    assert "Nobody noticed: 1 call, 0 cut." in first.output
    env = kept.az("containerapp", "show", "--query", "properties.template.containers[0].env")
    assert [each for each in env if each["name"] == "RTPROXY_CLIENT_KEYS" or each.get("secretRef")] == []
    assert KEY not in first.output + (kept.out / "timeline.jsonl").read_text()


def test_an_environment_with_a_public_address_lets_the_gateway_in_and_nobody_else(kept: Stage, first: Run) -> None:
    assert first.code == 0, first.output
    # Known when the app is written, because the address is made before it.
    address = kept.anywhere("network", "public-ip", "list", "--query", "[].ipAddress | [0]")
    (allowed,) = kept.az("containerapp", "show", "--query", "properties.configuration.ingress.ipSecurityRestrictions")
    assert allowed["ipAddressRange"] == f"{address}/32"


def test_what_was_said_once_holds(kept: Stage, deploy: Play) -> None:
    again = deploy(release="another")
    assert (again.code, again.changed) == (0, 0), again.output
    assert most(kept) == 20


def test_a_certificate_is_readable_before_the_gateway_reads_it_stays_when_it_is_not_named_and_goes_when_it_is_said(
    kept: Stage, deploy: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(kept.environ, "RTPROXY_GATEWAY_URL", "https://voice.example")
    monkeypatch.setitem(kept.environ, "RTPROXY_KEY", "")
    monkeypatch.setitem(kept.environ, "TLS_SECRET_ID", DOOR)
    vault = {"tlsVaultResourceGroup": "safe"}
    too_early = (
        "ApplicationGatewayKeyVaultSecretException: Problem occurred while accessing and validating KeyVault Secrets"
    )
    inject(kept, "fail", message=too_early, type=GATEWAYS)
    done = deploy(release="first", parameters=vault, role_seconds="1")
    assert done.code == 0, done.output
    # What grants the role, and then the gateway.
    assert done.changed == 2
    assert "FAILED - RETRYING: [stage]: Deploy (1 retries left)." in done.output
    assert "No call was held, because RTPROXY_KEY has no key." in done.output
    assert protocols(kept) == {"Http", "Https"}
    assert most(kept) == 20

    monkeypatch.setitem(kept.environ, "TLS_SECRET_ID", "")
    again = deploy("--check", release="first")
    assert (again.code, again.changed) == (0, 0), again.output
    refused = deploy(release="first", parameters={"certificateId": ""})
    assert refused.code != 0
    assert f"export TLS_SECRET_ID={DOOR}, or say -e plain_http=true to do it. Nothing was changed." in refused.output
    assert protocols(kept) == {"Http", "Https"}

    plain = deploy(release="first", plain_http=True)
    assert plain.code == 0, plain.output
    assert "/applicationGateways/" in made(kept)
    assert protocols(kept) == {"Http"}


def test_keys_go_from_the_vault_into_a_variable_and_the_secret_stays_for_who_mounts_it(
    kept: Stage, deploy: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(kept.environ, "RTPROXY_CLIENT_KEYS", f"ada:{KEY}")
    moved = deploy(release="moved", parameters={"clientKeysSecretUri": ""})
    assert moved.code == 0, moved.output
    secrets = kept.az("containerapp", "secret", "list", "--query", "sort([].name)")
    assert secrets == ["client-keys", "client-keys-of-vault"]
    assert "relay--moved gets no call yet. Roll it out: " in moved.output
    image = kept.az("containerapp", "revision", "show", "--revision", "relay--moved", "--query", IMAGE_OF)
    differing = {"RTPROXY_CLIENT_KEYS": "secretref:client-keys", "RTPROXY_CLIENT_KEYS_FILE": None}
    variables = {"release": "moved", "image": image, "green_env": differing, "traffic_steps": "[100]"}
    over = player(kept, tmp_path, steady=True)("bluegreen.yml", **SMALL, **variables)
    assert over.code == 0, over.output

    monkeypatch.setitem(kept.environ, "RTPROXY_CLIENT_KEYS", "")
    issuer = [{"name": "RTPROXY_OIDC_ISSUER", "value": "https://issuer.example"}]
    issuer += [{"name": "RTPROXY_OIDC_AUDIENCE", "value": "relay"}]
    refused = deploy(release="tokens", parameters={"relaySettings": issuer})
    assert refused.code != 0
    assert "relay--moved still reads client-keys, a secret of the app that this deployment would take" in refused.output
