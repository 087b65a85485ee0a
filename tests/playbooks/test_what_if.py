"""What a what-if of Azure comes to, for a reader and for the play, and what a redeploy hands in again."""

from types import ModuleType
from typing import Any

import pytest

from tests.playbooks.conftest import filters

GROUP = "/subscriptions/0/resourceGroups/voice/providers"
APP = f"{GROUP}/Microsoft.App/containerApps/relay"


@pytest.fixture(scope="module")
def deployment() -> ModuleType:
    return filters("deployment")


def differs(path: str, kind: str = "Modify", children: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"path": path, "propertyChangeType": kind, "before": "hidden", "after": "secret", "children": children}


def modified(*delta: dict[str, Any], of: str = APP) -> list[dict[str, Any]]:
    return [{"id": of, "kind": "Modify", "delta": list(delta)}]


def test_a_reader_sees_names_and_paths_and_never_a_value(deployment: ModuleType) -> None:
    children = [differs("0", "Modify", [differs("value")]), differs("1", "Create")]
    lines = deployment.changes(
        [
            {"id": f"{GROUP}/Microsoft.Network/virtualNetworks/net/subnets/apps", "kind": "Create", "delta": None},
            *modified(differs("properties.configuration.secrets", "Array", children)),
        ]
    )
    assert lines == [
        "+ create Microsoft.Network/virtualNetworks/subnets net/apps",
        "~ change Microsoft.App/containerApps relay: properties.configuration.secrets.0.value, "
        "properties.configuration.secrets.1",
    ]


def test_what_is_laid_over_a_resource_names_it(deployment: ModuleType) -> None:
    role = f"{APP}/providers/Microsoft.Authorization/roleAssignments/1"
    (line,) = deployment.changes([{"id": role, "kind": "Create", "delta": None}])
    assert line == "+ create Microsoft.Authorization/roleAssignments 1 of relay"


def test_differences_without_effect_are_none(deployment: ModuleType) -> None:
    assert deployment.changes(modified(differs("properties.provisioningState", "NoEffect"))) == []


@pytest.mark.parametrize(
    ("delta", "renewed"),
    [
        (differs("properties.template.scale.maxReplicas"), True),
        # The plays' own.
        (differs("properties.configuration.ingress.traffic", "Array", [differs("0.weight")]), False),
        (differs("properties.configuration.ingress.targetPort"), True),
        # Azure answers Http where it was told http.
        ({**differs("properties.configuration.ingress.transport"), "before": "Http", "after": "http"}, False),
        # No what-if sees values of secrets; that there is one more it does.
        (differs("properties.configuration.secrets", "Array", [differs("0.value", "Create")]), False),
        (differs("properties.configuration.secrets", "Array", [differs("1", "Create")]), True),
        (differs("identity.userAssignedIdentities"), False),
        # Filled in by Azure, and not in the template.
        (differs("properties.template.containers", "Array", [differs("0.imageType", "Delete")]), False),
        # An environment variable too many.
        (differs("properties.template.containers.0.env", "Array", [differs("6", "Delete")]), True),
    ],
)
def test_a_new_revision_takes_a_change_of_the_apps_template(
    deployment: ModuleType, delta: dict[str, Any], renewed: bool
) -> None:
    assert deployment.renews(modified(delta), "relay") is renewed
    assert deployment.renews(modified(delta, of=f"{APP}2"), "relay") is False


GATEWAY = f"{GROUP}/Microsoft.Network/applicationGateways/relay-gateway"
POLICY = f"{GROUP}/Microsoft.Network/ApplicationGatewayWebApplicationFirewallPolicies/relay-gateway-waf"
POOLS = "properties.backendAddressPools"


def unknown(path: str, kind: str = "Modify") -> dict[str, Any]:
    """As Azure's what-if shows a value that another resource has: the expression itself."""
    return {**differs(path, kind), "after": "[reference('app').configuration.ingress.fqdn]"}


@pytest.mark.parametrize(
    ("what_if", "touched"),
    [
        ([], False),
        ([{"id": GATEWAY, "kind": "Create", "delta": None}], True),
        ([{"id": POLICY, "kind": "Create", "delta": None}], True),
        ([{"id": GATEWAY, "kind": "Ignore", "delta": None}], False),
        (modified(differs("properties.sku.name"), of=GATEWAY), True),
        (modified(differs(POOLS, "Array", [differs("0", "Array", [differs("properties.port")])]), of=GATEWAY), True),
        # The same every time: an expression that nobody works out, and what Azure has filled in.
        (modified(differs(POOLS, "Array", [differs("0", "Array", [unknown("fqdn")])]), of=GATEWAY), False),
        (modified(differs("properties.enableFips", "Delete"), of=GATEWAY), False),
        (modified(differs("properties.httpListeners", "Array", [differs("2", "Delete")]), of=GATEWAY), True),
        (modified(differs("properties.template.scale.maxReplicas")), False),
    ],
)
def test_the_gateway_is_touched_where_it_is_made_or_differs_in_what_is_known(
    deployment: ModuleType, what_if: list[dict[str, Any]], touched: bool
) -> None:
    assert deployment.touches_gateway(what_if) is touched


def test_what_azure_does_not_work_out_is_no_difference(deployment: ModuleType) -> None:
    assert deployment.changes(modified(unknown("properties.template.containers"))) == []
    assert deployment.renews(modified(unknown("properties.template.containers")), "relay") is False
    role = f"{APP}/providers/Microsoft.Authorization/roleAssignments/1"
    assert deployment.differs(modified(unknown("properties.principalId"), of=role), "relay") is False
    assert deployment.differs(modified(differs("properties.principalId"), of=role), "relay") is True


@pytest.mark.parametrize("named", [None, f"{GROUP}/Microsoft.Resources/deployments/relay-dns"])
def test_what_azure_could_not_look_into_is_shown_and_is_no_difference(
    deployment: ModuleType, named: str | None
) -> None:
    unsupported = [{"id": named, "kind": "Unsupported", "delta": None}]
    (line,) = deployment.changes(unsupported)
    assert line.startswith("? unknown ")
    assert not deployment.touches_gateway(unsupported)
    assert not deployment.renews(unsupported, "relay")
    assert not deployment.differs(unsupported, "relay")


def test_a_module_that_azure_did_not_look_into_is_named_and_is_no_difference(deployment: ModuleType) -> None:
    left_out = [{"id": f"{GROUP}/Microsoft.Resources/deployments/relay-dns", "kind": "Short", "delta": None}]
    assert deployment.changes(left_out) == ["? Short Microsoft.Resources/deployments relay-dns"]
    assert not deployment.differs(left_out, "relay")
    assert not deployment.renews(left_out, "relay")


def test_there_is_something_to_deploy_where_one_resource_differs_that_is_not_left_alone(deployment: ModuleType) -> None:
    logs = f"{GROUP}/Microsoft.OperationalInsights/workspaces/relay-logs"
    assert deployment.differs(modified(differs("properties.retentionInDays"), of=logs), "relay") is True
    assert deployment.differs([{"id": logs, "kind": "Create", "delta": None}], "relay") is True
    assert deployment.differs(modified(differs("properties.template.scale.maxReplicas")), "relay") is True
    assert deployment.differs(modified(differs("properties.configuration.ingress.traffic")), "relay") is False
    assert deployment.differs(modified(unknown("properties.sku"), of=GATEWAY), "relay") is False
    assert deployment.differs([], "relay") is False


def test_parameters_are_taken_as_they_are_and_as_a_file_of_parameters_has_them(deployment: ModuleType) -> None:
    said = {"waf": {"value": True}, "maxReplicas": 4, "traffic": [{"value": 1}]}
    assert deployment.plain(said) == {"waf": True, "maxReplicas": 4, "traffic": [{"value": 1}]}


def test_latest_goes_back_in_as_the_name_it_means_and_its_empty_share_as_it_is(deployment: ModuleType) -> None:
    def kept(*traffic: dict[str, Any]) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = deployment.kept(
            {"traffic": list(traffic), "latest_ready": "relay--two"}, {"relay--one": {}, "relay--two": {}}
        )
        return entries

    latest, rest = {"latestRevision": True, "weight": 0}, {"revisionName": "relay--one", "weight": 100, "label": "blue"}
    assert kept(latest, rest) == [latest, rest]
    two = {"revisionName": "relay--two", "weight": 100}
    assert kept() == kept({"latestRevision": True, "weight": 100}) == [two]
    assert kept({"latestRevision": True, "weight": 60}, {**two, "weight": 40}) == [two]
    assert kept({"revisionName": "relay--purged", "weight": 0}, two) == [two]


def test_what_a_rollout_has_to_add_to_the_environment_of_blue(deployment: ModuleType) -> None:
    wanted, actual = {"SAME": "1", "OTHER": "2", "NEW": "3"}, {"SAME": "1", "OTHER": "1", "GONE": "4"}
    assert deployment.added(wanted, actual) == {"GONE": None, "NEW": "3", "OTHER": "2"}


def test_where_a_vault_has_a_secret_is_a_difference_and_its_value_is_none(deployment: ModuleType) -> None:
    def renewed(name: str) -> bool:
        entry = {"path": "0", "propertyChangeType": "Array"}
        entry["children"] = [{"path": name, "propertyChangeType": "Modify", "before": "one", "after": "another"}]  # type: ignore[assignment]
        delta = [{"path": "properties.configuration.secrets", "propertyChangeType": "Array", "children": [entry]}]
        kind = "Microsoft.App/containerApps"
        found: bool = deployment.renews(
            [{"kind": "Modify", "id": f"/x/providers/{kind}/relay", "delta": delta}], "relay"
        )
        return found

    assert renewed("keyVaultUrl")
    assert not renewed("value")


def test_what_the_last_deployment_was_given_holds_but_for_secrets_and_what_is_worked_out(
    deployment: ModuleType,
) -> None:
    bicep = "param waf bool\nparam traffic weight[] = []\nparam clientKeys string = ''\nparam relaySettings any[]\n"
    settings = [{"name": "RTPROXY_OIDC_ISSUER", "value": "https://issuer.example"}]
    last = {"waf": {"type": "Bool", "value": True}, "traffic": {"value": []}, "clientKeys": {"type": "SecureString"}}
    last |= {"relaySettings": {"value": settings}, "gone": {"value": 1}}
    assert deployment.kept_parameters(last, bicep) == {"waf": True, "relaySettings": settings}
