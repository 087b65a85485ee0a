"""A model of another name in a region of its own, behind an environment with a public address."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.playbooks.conftest import DEPLOYING, Run, Stage, filters, player, standing
from tests.playbooks.test_deploy import IMAGE, SMALL

pytestmark = pytest.mark.timeout(1500)
NAME = "voice-of-ada"
PARAMETERS = {"internal": False, "openAiLocation": "swedencentral"}


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    exported = DEPLOYING | {"AZURE_OPENAI_DEPLOYMENT": NAME}
    with standing(tmp_path_factory.mktemp("named"), exported, "--empty") as found:
        yield found


@pytest.fixture(scope="module")
def deployed(named: Stage, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return player(named, tmp_path_factory.mktemp("deployed"))(
        "deploy.yml", release="first", image=IMAGE, parameters=PARAMETERS, **SMALL
    )


def test_a_deployment_and_a_rollout_call_it_by_its_name(named: Stage, deployed: Run, tmp_path: Path) -> None:
    assert deployed.code == 0, deployed.output
    assert "Nobody noticed: 1 call, 0 cut." in deployed.output
    (model,) = named.anywhere("cognitiveservices", "account", "list", "--query", "[].location")
    assert model == "swedencentral"
    # Known when the app is written, because the address is made before it.
    address = named.anywhere("network", "public-ip", "list", "--query", "[].ipAddress | [0]")
    (allowed,) = named.az("containerapp", "show", "--query", "properties.configuration.ingress.ipSecurityRestrictions")
    assert allowed["ipAddressRange"] == f"{address}/32"
    over = player(named, tmp_path)("bluegreen.yml", release="rolled", image=IMAGE, **SMALL, traffic_steps="[100]")
    assert over.code == 0, over.output
    assert named.weights() == {"relay--rolled": 100}


def test_another_name_is_not_waited_for_and_the_relay_s_is_said(named: Stage, deployed: Run, tmp_path: Path) -> None:
    assert deployed.code == 0, deployed.output
    wrong = player(named, tmp_path)(
        "deploy.yml", release="first", image=IMAGE, model="gpt-realtime", parameters=PARAMETERS, **SMALL
    )
    assert wrong.code != 0
    assert f"HTTP 404: This relay serves the model '{NAME}' only." in wrong.output
    assert "RETRYING: [stage]: Wait until a call gets through" not in wrong.output


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"AZURE_OPENAI_DEPLOYMENT": "voice"}, "voice"),
        ({"AZURE_OPENAI_DEPLOYMENT": "secretref:model"}, ""),
        ({}, ""),
    ],
)
def test_the_name_is_in_a_revision_s_environment(variables: dict[str, Any], name: str) -> None:
    assert filters("rollout").served(variables) == name
