"""What deploy.yml refuses before it touches anything, each problem with its cure, and all of them at once."""

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rtproxy.settings import SettingsError, load
from tests.playbooks.conftest import DEPLOYING, ROOT, Play, Stage, filters, player
from tests.playbooks.test_deploy import inject
from tests.playbooks.test_guard import play as play_nowhere

pytestmark = pytest.mark.timeout(600)
LONG = "0123456789abcdef"
"""As short as a key may be."""
KEYS = {"RTPROXY_CLIENT_KEYS": f"ada:{LONG}"}
MODEL = "gpt-realtime-2.1"
USAGE = f"OpenAI.GlobalStandard.{MODEL}"
DENIED = {
    "rc": 1,
    "msg": "(AuthorizationFailed) The client 'me' does not have authorization to perform action 'x/read'",
}
RELAY = {"AZURE_OPENAI_ENDPOINT": "https://name.openai.azure.com", "AZURE_OPENAI_DEPLOYMENT": "gpt-realtime"}


@pytest.fixture(scope="module")
def preflight() -> ModuleType:
    return filters("preflight")


@pytest.fixture
def play(empty: Stage, tmp_path: Path) -> Play:
    return player(empty, tmp_path)


def seen(**other: Any) -> dict[str, Any]:
    """What the play sees when nothing is wrong."""
    model = {"name": MODEL, "version": "2026-07-07"}
    return {
        "needs": ["RESOURCE_GROUP", "LOCATION", "PREFIX", "RTPROXY_CLIENT_KEYS"],
        "environment": DEPLOYING | KEYS,
        "release": "one",
        "numbers": {"ready_timeout": 300},
        "elsewhere": "",
        "account": {"value": "mine", "rc": 0},
        "bicep": {"value": None, "rc": 0},
        "group": {"rc": 3, "msg": "not found"},
        "unregistered": {"value": ["Microsoft.Quantum"], "rc": 0},
        "models": {"value": [{**model, "skus": ["GlobalStandard"], "usages": [["GlobalStandard", USAGE]]}], "rc": 0},
        "usages": {"value": [{"name": USAGE, "used": 0, "limit": 10}], "rc": 0},
        "standing": [],
        "deleted": {"value": [], "rc": 0},
        "model": {**model, "sku": "GlobalStandard", "units": 10},
        "location": {"app": "eastus2", "model": "eastus2"},
        **other,
    }


def given(**other: str) -> dict[str, Any]:
    return seen(environment=DEPLOYING | KEYS | other)


def test_nothing_is_said_when_nothing_is_wrong(preflight: ModuleType) -> None:
    assert preflight.problems(seen()) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("203.0.113.7", ""),
        ("203.0.113.7, 198.51.100.0/24", ""),
        ("none", ""),
        ("here", "here"),
        ("203.0.113.7,198.51.100.1/24", "198.51.100.1/24"),
        ("0.0.0.0/0,Internet", "0.0.0.0/0, Internet"),
    ],
)
def test_where_rollouts_come_from_is_a_list_of_addresses_and_not_everywhere(
    preflight: ModuleType, text: str, wrong: str
) -> None:
    found = preflight.problems(given(ROLLOUT_ADDRESSES=text) | rollouts(preflight.addresses(text)))
    assert [each.partition(": it takes")[0] for each in found] == ([f"ROLLOUT_ADDRESSES has {wrong}"] if wrong else [])


@pytest.mark.parametrize("text", ["", " ", ","])
def test_where_rollouts_come_from_is_to_be_said(preflight: ModuleType, text: str) -> None:
    (problem,) = preflight.problems(given(ROLLOUT_ADDRESSES=text) | rollouts(preflight.addresses(text)))
    assert problem.startswith("ROLLOUT_ADDRESSES is not set: export the addresses that rollouts come from")


def test_addresses_that_are_parameters_do_as_well(preflight: ModuleType) -> None:
    assert preflight.problems(given() | rollouts(["203.0.113.7"])) == []


def rollouts(listed: list[str], *settings: dict[str, str]) -> dict[str, Any]:
    return {"parameters": {"rolloutAddresses": listed, "relaySettings": list(settings)}}


def test_settings_that_the_template_has_itself_and_those_of_an_example_are_named(preflight: ModuleType) -> None:
    some = {"RTPROXY_MAX_SESSIONS": "9", "RTPROXY_ALLOWED_ORIGINS": "https://voice.example", "PORT": "8080"}
    settings = [{"name": name, "value": value} for name, value in some.items()]
    places, origins = preflight.problems(given() | rollouts(["203.0.113.7"], *settings))
    assert places.startswith("RTPROXY_MAX_SESSIONS is in relaySettings: say the parameter maxSessions")
    assert origins.startswith("RTPROXY_ALLOWED_ORIGINS is https://voice.example, which is an example")


@pytest.mark.parametrize("number", ["1h", "", 0, "-1", None, "nan", "inf"])
def test_what_is_no_number_above_0_is_refused(preflight: ModuleType, number: object) -> None:
    (problem,) = preflight.problems(seen(numbers={"drain_timeout": number, "poll_seconds": "0.5"}))
    assert problem == f"drain_timeout is {number}: it takes a number above 0, of seconds or of calls, without a unit."


@pytest.mark.parametrize("prefix", ["ab", "Relay", "9relay", "relay-", "re--lay", "relay_1", "a" * 21])
def test_a_prefix_that_cannot_name_everything_is_refused_with_the_rule(preflight: ModuleType, prefix: str) -> None:
    (problem,) = preflight.problems(given(PREFIX=prefix))
    assert problem.startswith(f"PREFIX is {prefix}: it takes 3 to 20 lower-case letters, digits and single dashes")


@pytest.mark.parametrize("release", ["", "One", "-one", "one-", "o--ne", "o_ne", "one\n", "a" * 48])
def test_a_release_that_cannot_name_a_revision_is_refused_with_the_rule(preflight: ModuleType, release: str) -> None:
    (problem,) = preflight.problems(seen(release=release))
    assert problem == preflight.misnamed(release, "relay")
    assert problem.startswith(f"{release} cannot name a revision: lower-case letters, digits and single dashes")
    assert f"at most 54 characters as relay--{release}; choose another" in problem


@pytest.mark.parametrize("release", ["1", "b93ecfa", "more-replicas", "a" * 47])
def test_a_release_that_can_name_a_revision_is_taken(preflight: ModuleType, release: str) -> None:
    assert preflight.problems(seen(release=release)) == []


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        (f"ada:{LONG}", []),
        (f"a:{LONG},B.2_c-d:2:{LONG},9:!~{LONG}", []),
        ("n" * 64 + f":{LONG}", []),
        ("n" * 65 + f":{LONG}", [1]),
        (f"ada:{LONG[1:]}", [1]),
        (f"ada:{LONG},eve:{LONG[1:]}", [2]),
        ("ada", [1]),
        (f"ada:,:{LONG}", [1, 2]),
        (f"-ada:{LONG}", [1]),
        (f"a/b:{LONG}", [1]),
        (f"ada:{LONG} b,ada:{LONG}é,eve:{LONG}\tb", [1, 2, 3]),
        (f"ada:{LONG}1,ada:{LONG}2", [2]),
        (f"ada:{LONG},eve:{LONG}", [2]),
        (f"ada:{LONG}1,eve:{LONG}2,ada:{LONG}1,eve", [3, 4]),
    ],
)
def test_the_play_judges_keys_as_the_relay_does(preflight: ModuleType, keys: str, wrong: list[int]) -> None:
    told = ""
    try:
        load(RELAY | {"RTPROXY_CLIENT_KEYS": keys})
    except SettingsError as error:
        told = str(error)
    assert [int(place) for place in re.findall(r"RTPROXY_CLIENT_KEYS: entry (\d+)", told)] == wrong
    assert [int(place) for place in preflight.malformed(keys)] == wrong


@pytest.mark.parametrize("keys", [f"a:{LONG}1, b:{LONG}2", f"a:{LONG},", f" a:{LONG}"])
def test_what_the_relay_forgives_is_not_deployed(preflight: ModuleType, keys: str) -> None:
    assert load(RELAY | {"RTPROXY_CLIENT_KEYS": keys}).client_keys
    assert preflight.malformed(keys)


@pytest.mark.parametrize("keys", ["hunter22", "ada:hunter22,ada:other", "a:hunter22,b:hunter22", "a:hunter22, b:c"])
def test_malformed_keys_are_refused_without_showing_one(preflight: ModuleType, keys: str) -> None:
    (problem,) = preflight.problems(given(RTPROXY_CLIENT_KEYS=keys))
    assert problem.startswith("RTPROXY_CLIENT_KEYS is not name:key,name:key at place ")
    assert "hunter22" not in problem


def test_a_certificate_wants_the_name_that_it_carries(preflight: ModuleType) -> None:
    secret = "https://vault.vault.azure.net/secrets/door"
    (problem,) = preflight.problems(given(TLS_SECRET_ID=secret))
    assert "export RTPROXY_GATEWAY_URL, https://THAT.NAME" in problem
    named = {"RTPROXY_GATEWAY_URL": "https://voice.example.com"}
    assert preflight.problems(given(TLS_SECRET_ID=secret, **named)) == []
    (problem,) = preflight.problems(given(TLS_SECRET_ID="door", **named))
    assert problem.startswith(
        "The certificate, TLS_SECRET_ID, is door: it takes https://VAULT.vault.azure.net/secrets/"
    )
    # What -e says comes first.
    told: dict[str, Any] = {"rolloutAddresses": ["203.0.113.7"]}
    assert preflight.problems(given(TLS_SECRET_ID="door") | {"parameters": told | {"certificateId": ""}}) == []
    (problem,) = preflight.problems(given(**named) | {"parameters": told | {"certificateId": "door"}})
    assert "is door: it takes" in problem


def test_an_issuer_wants_its_audience_and_settings_are_no_place_for_keys(preflight: ModuleType) -> None:
    def of(**settings: str) -> list[str]:
        told = [{"name": name, "value": value} for name, value in settings.items()]
        parameters = {"rolloutAddresses": ["203.0.113.7"], "relaySettings": told}
        found: list[str] = preflight.problems(given() | {"parameters": parameters})
        return found

    issuer = {"RTPROXY_OIDC_ISSUER": "https://issuer.example"}
    assert of(**issuer, RTPROXY_OIDC_AUDIENCE="relay") == []
    (problem,) = of(**issuer)
    assert "needs RTPROXY_OIDC_AUDIENCE too" in problem
    (problem,) = of(RTPROXY_CLIENT_KEYS="ada:0123456789abcdef")
    assert "relaySettings has RTPROXY_CLIENT_KEYS, which the template sets itself" in problem
    assert "0123456789abcdef" not in problem


def test_what_az_cannot_read_is_said_once(preflight: ModuleType) -> None:
    expired = {"rc": 1, "msg": "AADSTS700082: The refresh token has expired. Run: az login"}
    skipped: dict[str, Any] = {"skipped": True}
    (problem,) = preflight.problems(seen(group=expired, unregistered=skipped, models=skipped, deleted=skipped))
    assert problem == f"az cannot read the subscription: {expired['msg']}."


def test_what_az_may_not_read_of_the_subscription_is_no_problem_and_is_said(preflight: ModuleType) -> None:
    denied = dict.fromkeys(("unregistered", "models", "usages", "deleted"), DENIED)
    assert preflight.problems(seen(**denied)) == []
    assert preflight.unchecked(seen()) == ""
    assert preflight.unchecked(seen(usages=DENIED)).startswith(
        "Not checked, because az may not read the whole subscription: whether there is quota for it. What is wrong "
    )
    said = preflight.unchecked(seen(**denied))
    assert (
        "whether its resource providers are registered, whether the region offers the model, whether there is" in said
    )


def test_a_group_that_az_may_not_see_is_a_problem(preflight: ModuleType) -> None:
    (problem,) = preflight.problems(seen(group=DENIED, **dict.fromkeys(("models", "usages", "deleted"), DENIED)))
    assert problem.startswith("az may not see the group voice: (AuthorizationFailed)")
    assert "have it made, and the roles given on it" in problem


def test_every_provider_that_the_template_needs_is_asked_about(preflight: ModuleType) -> None:
    named = {
        found
        for path in (ROOT / "bicep").rglob("*.bicep")
        for found in re.findall(r"'(Microsoft\.\w+)/", path.read_text())
    }
    # Every subscription has the first; a vault, or a storage account, exists already where one is named.
    assert named - {"Microsoft.Authorization", "Microsoft.KeyVault", "Microsoft.Storage"} < set(preflight.PROVIDERS)
    assert "Microsoft.ContainerService" in preflight.PROVIDERS


@pytest.mark.parametrize(
    ("used", "standing", "wanted", "left"),
    [
        (0, 0, 10, None),
        (1, 0, 10, 9),
        (10, 0, 1, 0),
        (10, 10, 10, None),
        (10, 10, 11, 0),
        (10, 4, 10, 0),
        (12, 0, 1, 0),
    ],
)
def test_quota_is_left_for_what_a_deployment_takes_beside_what_stands(
    preflight: ModuleType, used: int, standing: int, wanted: int, left: int | None
) -> None:
    there = [{"model": MODEL, "sku": "GlobalStandard", "units": standing}, {"model": "other", "sku": "x", "units": 99}]
    counts = {"value": [{"name": USAGE, "used": used, "limit": 10}, {"name": "other", "used": 1, "limit": 1}], "rc": 0}
    model = seen()["model"] | {"units": wanted}
    found = preflight.problems(seen(usages=counts, standing=there if standing else [], model=model))
    assert [each.partition(" units")[0] for each in found] == ([] if left is None else [f"eastus2 has {left} of 10"])


def test_a_quota_that_is_too_small_is_said_before_a_group_exists(empty: Stage, play: Play) -> None:
    inject(empty, "quota", units="4")
    try:
        refused = play("deploy.yml", release="one")
    finally:
        inject(empty, "none")
    assert refused.code != 0
    said = "eastus2 has 4 of 4 units of quota left for "
    assert said in refused.output
    assert "and this takes 10: say fewer with openAiCapacity in -e parameters" in refused.output
    assert empty.anywhere("group", "list", "--query", "[].name") == []


@pytest.mark.nightly
def test_who_has_rights_on_the_group_only_is_told_what_is_not_checked(empty: Stage, play: Play) -> None:
    inject(empty, "refuse", what="subscription")
    try:
        refused = play("deploy.yml", "--check", release="one")
        inject(empty, "none")
        empty.anywhere("group", "create", "--name", "voice", "--location", "eastus2")
        inject(empty, "refuse", what="subscription")
        done = play("deploy.yml", "--check", release="one")
    finally:
        inject(empty, "none")
    assert refused.code != 0
    assert "az may not see the group voice: (AuthorizationFailed)" in refused.output
    assert done.code == 0, done.output
    assert "Not checked, because az may not read the whole subscription: whether its resource providers" in done.output
    assert "~ change" not in done.output
    empty.anywhere("group", "delete", "--name", "voice", "--yes")


def test_the_models_that_a_region_does_offer_are_named(preflight: ModuleType) -> None:
    other = {"value": [{"name": "gpt-realtime-2", "version": "2026-05-07", "skus": ["GlobalStandard"]}], "rc": 0}
    (problem,) = preflight.problems(seen(models=other))
    assert "eastus2 does not offer gpt-realtime-2.1 2026-07-07 as GlobalStandard" in problem
    assert (
        "it offers gpt-realtime-2 2026-05-07 (GlobalStandard): choose another openAiLocation, or openAiModelName"
        in problem
    )


STANDING = {"location": "East US 2", "zoneRedundant": False, "internal": True}
SPACE = {"space": "10.60.0.0/23", "subnet": "10.60.1.0/24"}
ASKED = {"zoneRedundant": False, "internal": True, "addressPrefix": "10.60.0.0/23"}


def stands(asked: dict[str, Any], **location: str) -> dict[str, Any]:
    return seen(
        asked=ASKED | asked,
        location={"app": "eastus2", "model": "swedencentral"} | location,
        environments={"value": [STANDING]},
        networks={"value": [SPACE]},
        model_accounts={"value": [{"name": "relay-x", "location": "Sweden Central"}]},
    )


def test_what_stands_as_it_is_asked_for_is_no_problem(preflight: ModuleType) -> None:
    assert preflight.problems(stands({})) == []
    # As -e gives them; and a larger space with the same first two parts.
    assert preflight.problems(stands({"zoneRedundant": "false", "addressPrefix": "10.60.0.0/16"})) == []


@pytest.mark.parametrize(
    ("asked", "location", "problem"),
    [
        (
            {"zoneRedundant": True},
            {},
            "made with zoneRedundant false, which cannot change: say so in -e parameters, or",
        ),
        ({"internal": "false"}, {}, "made with internal true, which cannot change"),
        ({"addressPrefix": "10.8.0.0/20"}, {}, "in the subnet 10.60.1.0/24, which cannot change: say addressPrefix"),
        ({}, {"app": "japaneast"}, "is in East US 2, not in japaneast, and cannot move: say LOCATION=eastus2, or"),
        ({}, {"model": "eastus2"}, "relay-x is in Sweden Central, not in eastus2, and cannot move: say openAiLocation"),
    ],
)
def test_what_cannot_be_changed_is_refused_with_what_to_say(
    preflight: ModuleType, asked: dict[str, Any], location: dict[str, str], problem: str
) -> None:
    (found,) = preflight.problems(stands(asked, **location))
    assert problem in found


@pytest.mark.parametrize("space", ["10.60.0.0/24", "10.60.0.1/23", "8.8.0.0/16", "here"])
def test_an_address_space_that_does_not_hold_both_subnets_is_refused(preflight: ModuleType, space: str) -> None:
    (problem,) = preflight.problems(seen(asked={"addressPrefix": space}))
    assert problem.startswith(f"addressPrefix is {space}: it takes a network of private addresses, /23 or larger")


def test_every_problem_of_a_subscription_comes_in_one_message_and_nothing_is_touched(empty: Stage, play: Play) -> None:
    empty.anywhere("group", "create", "--name", "voice", "--location", "westeurope")
    inject(empty, "unregister", namespace="Microsoft.App")
    inject(empty, "unregister", namespace="Microsoft.Network")
    before = empty.environ.copy()
    empty.environ.update(PREFIX="Relay", LOCATION="japaneast", RTPROXY_CLIENT_KEYS="hunter22hunter22")
    try:
        done = play("deploy.yml", "-vvv", release="one")
    finally:
        empty.environ.update(before)
        inject(empty, "none")
    assert done.code != 0
    (message,) = {line for line in done.output.splitlines() if line.startswith("[ERROR]: Task failed")}
    for problem in (
        "PREFIX is Relay: it takes 3 to 20",
        "RTPROXY_CLIENT_KEYS is not name:key,name:key at place 1: no spaces, each name and key once, each key "
        "of 16 characters or more.",
        "The subscription has not registered Microsoft.App, Microsoft.Network: az provider register --wait --namespace "
        "Microsoft.App; az provider register --wait --namespace Microsoft.Network.",
        "The group voice is in westeurope, not in japaneast: say LOCATION=westeurope, or choose another",
        "japaneast does not offer gpt-realtime-2.1 2026-07-07 as GlobalStandard; it offers no realtime model: choose",
        "Nothing was touched.",
    ):
        assert problem in message
    assert "hunter22" not in done.output
    assert empty.anywhere("resource", "list", "--query", "[].id") == []
    assert empty.acts() == []
    empty.anywhere("group", "delete", "--name", "voice", "--yes")


def test_a_check_of_an_empty_subscription_says_what_would_come_and_writes_nothing(empty: Stage, play: Play) -> None:
    done = play("deploy.yml", "--check", "--diff", release="one")
    assert done.code == 0, done.output
    assert "would run: az group create --name voice --location eastus2" in done.output
    assert "voice would be made in eastus2, and in it registry, model, identities and logs" in done.output
    assert empty.anywhere("group", "list", "--query", "[].name") == []
    assert empty.acts() == []


def test_without_a_login_nothing_but_the_environment_and_the_tools_is_judged(tmp_path: Path) -> None:
    done = play_nowhere(tmp_path, "deploy.yml", "azure.yml", **DEPLOYING | {"LOCATION": "", "RTPROXY_CLIENT_KEYS": ""})
    assert done.code != 0
    for problem in (
        "The environment lacks LOCATION, RTPROXY_CLIENT_KEYS: export what is missing.",
        "az is not logged in: az login, then az account set --subscription NAME.",
        "az has no Bicep compiler: az bicep install.",
    ):
        assert problem in done.output
    assert "az cannot read" not in done.output


def test_a_rehearsal_deploys_nothing_to_a_real_subscription(tmp_path: Path) -> None:
    done = play_nowhere(
        tmp_path, "deploy.yml", "stage.yml", **DEPLOYING, **KEYS, STAGE_GATEWAY_URL="http://127.0.0.1:9"
    )
    assert done.code != 0
    assert "az points at AzureCloud (https://management.azure.com/), but stage.yml is for Rehearsal" in done.output
    assert "az is not logged in" not in done.output
