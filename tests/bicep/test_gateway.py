"""What of the relay is reached from where: by callers, by rollouts, by the gateway; and what makes the gateway anew."""

from functools import cache
from typing import Any

import pytest

from rtproxy.app import CALL_ROUTES
from stage.arm import gateways
from stage.arm.resources import (
    APPS,
    GATEWAYS,
    NETWORKS,
    PUBLIC_ADDRESSES,
    ROLE_ASSIGNMENTS,
    SECURITY_GROUPS,
    Asked,
    Store,
)
from stage.bicep import compile
from stage.ingress import Gateway
from tests.bicep.conftest import BICEP
from tests.bicep.ladder import environment
from tests.bicep.worked_out import OF_AZURE, asked

CERTIFICATE = "https://safe.vault.azure.net/secrets/door"
HOME, OFFICE = "203.0.113.7", "198.51.100.0/24"
SHUT = ("/status", "/metrics", "/readyz")
OF_THE_WAY_IN = (GATEWAYS, NETWORKS, PUBLIC_ADDRESSES, SECURITY_GROUPS)


@cache
def _compiled() -> Any:
    return compile(BICEP / "main.bicep")


def _asked(**parameters: Any) -> list[Asked]:
    return asked(_compiled(), **{"prefix": "voice", "containerImage": "any", **parameters})


def _only(kind: str, found: list[Asked], named: str = "") -> Any:
    (one,) = [each for each in found if each.kind == kind and named in each.name]
    return one.body["properties"]


def _listener(name: str, **parameters: Any) -> tuple[Any, int]:
    """A listener of the gateway, and its port."""
    gateway = _only(GATEWAYS, _asked(**parameters))
    (listener,) = [each["properties"] for each in gateway["httpListeners"] if each["name"] == name]
    ports = {each["name"]: each["properties"]["port"] for each in gateway["frontendPorts"]}
    return listener, ports[listener["frontendPort"]["id"].rpartition("/")[2]]


def _played(*rollouts: str) -> Gateway:
    """What the stage makes of the template."""
    store = Store()
    found = _asked(rolloutAddresses=list(rollouts))
    for each in found:
        if each.kind in OF_THE_WAY_IN:
            store.put(each)
    (gateway,) = store.of(GATEWAYS)
    played = gateways.read(gateway, OF_AZURE, store)
    assert played is not None
    return played


def _matches(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


def test_a_caller_may_ask_for_every_call_and_for_the_probe_and_for_nothing_else() -> None:
    paths = _played().paths
    open_ = [*CALL_ROUTES, *(f"{route}/" for route in CALL_ROUTES), "/healthz"]
    assert [path for path in open_ if not any(_matches(each, path) for each in paths)] == []
    assert [path for path in SHUT if any(_matches(each, path) for each in paths)] == []
    assert [each for each in paths if each.endswith("*") and not each.startswith(("/v1/", "/openai/"))] == []
    assert _played().elsewhere == "/", "and the relay has no such route"


@pytest.mark.parametrize("tls", ["", CERTIFICATE])
def test_no_way_from_the_callers_port_leads_past_the_paths(tls: str) -> None:
    gateway = _only(GATEWAYS, _asked(certificateId=tls))
    for rule in (each["properties"] for each in gateway["requestRoutingRules"]):
        listener = rule["httpListener"]["id"].rpartition("/")[2]
        assert "urlPathMap" in rule or "redirectConfiguration" in rule or listener == "revisions"
    assert _listener("callers", certificateId=tls)[1] == (443 if tls else 80)


@pytest.mark.parametrize("tls", ["", CERTIFICATE])
def test_a_revision_is_reached_by_its_own_name_at_a_port_of_its_own_and_no_other_app_is(tls: str) -> None:
    listener, port = _listener("revisions", certificateId=tls)
    assert listener["hostNames"] == [f"voice--*.{OF_AZURE}"]
    assert port not in (80, 443)
    assert listener["protocol"] == ("Https" if tls else "Http")


@pytest.mark.parametrize("rollouts", [(), (HOME,), (HOME, OFFICE)])
def test_who_comes_to_that_port_is_a_list_and_nobody_is_on_it_at_first(rollouts: tuple[str, ...]) -> None:
    assert _played(*rollouts).rollouts == rollouts
    _, port = _listener("revisions")
    rules = _only(SECURITY_GROUPS, _asked(rolloutAddresses=list(rollouts)), "gateway")["securityRules"]
    named = [each["properties"] for each in rules if each["properties"].get("destinationPortRange") == str(port)]
    assert [each["sourceAddressPrefixes"] for each in named] == ([list(rollouts)] if rollouts else [])


def test_the_gateway_of_a_rehearsal_is_as_strict_as_the_one_of_azure() -> None:
    played, rehearsed = _played("127.0.0.1/32"), Gateway(app="voice", revisions=("voice--*",))
    for name in ("app", "paths", "elsewhere", "revisions", "rollouts", "request_timeout_s"):
        assert getattr(played, name) == getattr(rehearsed, name), name


@pytest.mark.parametrize(
    "other",
    [
        {"containerImage": "another"},
        {"revisionSuffix": "two"},
        {"traffic": [{"revisionName": "voice--one", "weight": 100}]},
        {"clientKeys": "ada:0123456789abcdef"},
        {"relaySettings": [{"name": "RTPROXY_MAX_CALL_SECONDS", "value": "60"}]},
        {"maxSessions": 10, "minReplicas": 3, "maxReplicas": 4, "cooldownPeriod": 60},
        {"rolloutAddresses": [HOME]},
    ],
    ids=lambda other: next(iter(other)),
)
def test_no_other_release_setting_or_address_makes_another_gateway(other: dict[str, Any]) -> None:
    found = _asked(**other)
    assert _only(GATEWAYS, found) == _only(GATEWAYS, _asked())
    assert found != _asked()


def test_a_gateway_that_is_to_stay_as_it_is_is_not_sent() -> None:
    left = {each.id for each in _asked()} - {each.id for each in _asked(updateGateway=False)}
    assert {each.split("/providers/")[1].rpartition("/")[0] for each in left} == {GATEWAYS}


def test_the_gateway_may_read_its_certificate_and_nothing_else_of_the_vault() -> None:
    (scope,) = [
        each.id.rpartition("/providers/")[0]
        for each in _asked(certificateId=CERTIFICATE, gatewayPrincipalId="of-the-gateway")
        if each.kind == ROLE_ASSIGNMENTS and "Microsoft.KeyVault" in each.id
    ]
    assert scope.endswith("/providers/Microsoft.KeyVault/vaults/safe/secrets/door")


def _variables(**parameters: Any) -> list[dict[str, str]]:
    [container] = _only(APPS, _asked(**parameters))["template"]["containers"]
    return list(container["env"])


@pytest.mark.parametrize(("places", "share"), [(1000, "750"), (200, "150"), (2, "1")])
def test_one_client_gets_three_quarters_of_a_replicas_places_and_never_all(places: int, share: str) -> None:
    said = environment({each.kind: each.body.get("properties", {}) for each in _asked(maxSessions=places)})
    assert said["RTPROXY_MAX_SESSIONS"] == str(places)
    assert said["RTPROXY_MAX_CLIENT_SESSIONS"] == share


@pytest.mark.parametrize("name", ["RTPROXY_MAX_SESSIONS", "RTPROXY_MAX_CLIENT_SESSIONS"])
def test_what_is_said_of_them_in_settings_is_said_once(name: str) -> None:
    mine = {"name": name, "value": "7"}
    assert [each for each in _variables(relaySettings=[mine]) if each["name"] == name] == [mine]
