"""Deployments as an operator runs them: real ansible-playbook, real az, the template itself, on an empty stage.

The `bicep` on the PATH writes lists of resources, as the real one does; in the other files that of the stage deploys.
The model has a name of its own, in a region of its own.
"""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.bicep import listed
from tests.playbooks.conftest import DEADLINE_S, DEPLOYING, Play, Run, Stage, command, inject, player, standing
from tests.playbooks.rolling import until

pytestmark = pytest.mark.timeout(1500)
IMAGE = "docker.io/library/rtproxy:2"
"""Of a registry that is not the stage's own: it counts as present, and nothing is built."""
SMALL = {"smoke_connections": "1", "smoke_seconds": "1", "judge_connections": "2", "judge_seconds": "1"}
NAME = "voice-of-ada"
IMAGE_OF = "properties.template.containers[0].image"
RUNNING = (
    "deployment",
    "group",
    "show",
    "-g",
    "voice",
    "-n",
    "deploy-relay",
    "--query",
    "properties.provisioningState",
)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    tools = tmp_path_factory.mktemp("tools")
    listed.install(tools)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", str(tools), prepend=":")
        exported = DEPLOYING | {"AZURE_OPENAI_DEPLOYMENT": NAME}
        with standing(tmp_path_factory.mktemp("empty"), exported, "--empty") as found:
            yield found


@pytest.fixture(scope="module")
def first(empty: Stage, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The first deployment into the empty subscription."""
    run = player(empty, tmp_path_factory.mktemp("first"))
    return run("deploy.yml", release="first", parameters={"openAiLocation": "swedencentral"}, **SMALL)


@pytest.fixture
def deploy(empty: Stage, first: Run, tmp_path: Path) -> Play:
    """Deploys again: what was said before holds."""
    assert first.code == 0, first.output

    def run(*flags: str, release: str, model: str = "", **parameters: object) -> Run:
        how: dict[str, object] = {"parameters": parameters, **SMALL, **({"model": model} if model else {})}
        return player(empty, tmp_path)("deploy.yml", *flags, release=release, **how)

    return run


def state(stage: Stage) -> tuple[Any, ...]:
    """Whatever a deployment could change, as far as the platform tells."""
    resources = stage.anywhere("resource", "list", "--query", "[].id")
    return stage.acts(), sorted(resources), stage.anywhere("deployment", "group", "list", "-g", stage.group)


def made(stage: Stage) -> str:
    """The ids of all that the last deployment has sent."""
    query = ("--query", "properties.outputResources[].id")
    return "\n".join(stage.anywhere("deployment", "group", "show", "-g", "voice", "-n", "deploy-relay", *query))


def keys(stage: Stage) -> list[str]:
    return re.findall(r":([^,]+)", stage.environ["RTPROXY_CLIENT_KEYS"])


@contextmanager
def hanging(stage: Stage) -> Iterator[None]:
    """Writes of apps hang while the block runs, and expire at its end."""
    inject(stage, "hang")
    try:
        yield
    finally:
        inject(stage, "none")


def test_the_first_run_goes_from_an_empty_subscription_to_a_call_through_the_gateway(empty: Stage, first: Run) -> None:
    assert first.code == 0, first.output
    # The group, what comes before the image, its base, the image, and the rest.
    assert first.changed == 5
    assert "+ create Microsoft.ContainerRegistry/registries relay" in first.output
    assert "+ create Microsoft.App/containerApps relay" in first.output
    assert "Nobody noticed: 1 call, 0 cut." in first.output
    for said in (
        "The gateway speaks plain HTTP",
        "export RTPROXY_APP=relay RTPROXY_RESOURCE_GROUP=voice",
        f"RTPROXY_GATEWAY_URL={empty.environ['STAGE_GATEWAY_URL']}",
        f"RTPROXY_CONNECT_TO={empty.environ['STAGE_REVISIONS']}",
    ):
        assert said in first.output
    assert empty.weights() == {"relay--first": 100}
    assert empty.anywhere("cognitiveservices", "account", "list", "--query", "[].location") == ["swedencentral"]


def test_a_second_run_changes_nothing_and_shows_no_key_however_much_it_says(empty: Stage, deploy: Play) -> None:
    before = state(empty)
    again = deploy("-vvv", release="another")
    assert again.code == 0, again.output
    assert again.changed == 0
    assert state(empty) == before
    assert not [key for key in keys(empty) if key in again.output]


@pytest.mark.nightly
def test_a_key_that_the_relay_does_not_know_is_not_waited_for(
    empty: Stage, deploy: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(empty.environ, "RTPROXY_KEY", "of-another-relay")
    refused = deploy(release="first")
    assert refused.code != 0
    assert "HTTP 401" in refused.output
    assert "cure: give the key that the relay expects with --key or RTPROXY_KEY" in refused.output
    assert "RETRYING: [stage]: Wait until a call gets through" not in refused.output


@pytest.mark.nightly
def test_another_model_than_the_relay_s_is_not_waited_for(empty: Stage, deploy: Play) -> None:
    wrong = deploy(release="first", model="gpt-realtime")
    assert wrong.code != 0
    assert f"HTTP 404: This relay serves the model '{NAME}' only." in wrong.output
    assert "RETRYING: [stage]: Wait until a call gets through" not in wrong.output


@pytest.mark.nightly
def test_a_rollout_outlives_a_redeploy_and_is_taken_back(empty: Stage, deploy: Play, tmp_path: Path) -> None:
    over = player(empty, tmp_path)("bluegreen.yml", release="rolled", image=IMAGE, **SMALL, traffic_steps="[100]")
    assert over.code == 0, over.output
    before = state(empty)
    again = deploy(release="first")
    assert (again.code, again.changed) == (0, 0), again.output
    assert empty.weights() == {"relay--rolled": 100}
    assert state(empty) == before
    back = player(empty, tmp_path)("rollback.yml", release="rolled")
    assert back.code == 0, back.output
    assert empty.weights() == {"relay--first": 100}


@pytest.mark.nightly
def test_a_change_beside_the_app_leaves_it_as_a_rollout_wrote_it(empty: Stage, deploy: Play) -> None:
    acts, carrying = empty.acts(), empty.weights()
    done = deploy(release="first", openAiCapacity=9)
    assert (done.code, done.changed) == (0, 1), done.output
    assert "~ change Microsoft.CognitiveServices/accounts/deployments " in done.output
    assert "/accounts/" in made(empty)
    assert "/containerApps/" not in made(empty)
    assert "/applicationGateways/" not in made(empty)
    assert (empty.acts(), empty.weights()) == (acts, carrying)


def test_a_changed_parameter_is_shown_by_a_check_that_changes_nothing(empty: Stage, deploy: Play) -> None:
    before = state(empty)
    check = deploy("--check", "--diff", release="cooler", cooldownPeriod=120)
    assert check.code == 0, check.output
    # A rollout before, whose image it is, wrote more of it.
    more = r"(properties\.template\.containers\.0\.\w+, )*"
    changed = rf"{more}properties.template.revisionSuffix, properties.template.scale.cooldownPeriod"
    assert re.search(f"~ change Microsoft.App/containerApps relay: {changed}", check.output)
    # Azure's what-if does not look into it: its zone is called as the environment's domain.
    assert "? NestedDeploymentShortCircuited Microsoft.Resources/deployments relay-dns" in check.output
    assert state(empty) == before


@pytest.mark.nightly
def test_a_changed_parameter_makes_a_revision_that_gets_no_call(empty: Stage, deploy: Play) -> None:
    carrying = empty.weights()
    image = empty.az("containerapp", "revision", "show", "--revision", next(iter(carrying)), "--query", IMAGE_OF)
    done = deploy(release="cooler", cooldownPeriod=120)
    assert (done.code, done.changed) == (0, 1), done.output
    assert "The gateway is left alone." in done.output
    assert "/containerApps/relay" in made(empty)
    assert "/applicationGateways/" not in made(empty)
    assert empty.weights() == carrying
    assert "relay--cooler" in empty.active()
    assert "relay--cooler gets no call yet. Roll it out: " in done.output
    assert f"playbooks/bluegreen.yml -e release=cooler -e image={image}" in done.output


def test_what_cannot_change_is_refused_before_azure_is_asked(empty: Stage, deploy: Play) -> None:
    before = state(empty)
    refused = deploy(release="zoned", zoneRedundant=True, addressPrefix="10.9.0.0/23", openAiLocation="eastus2")
    assert refused.code != 0
    for said in (
        "The environment was made with zoneRedundant false, which cannot change",
        "The environment is in the subnet 10.60.1.0/24, which cannot change: say addressPrefix 10.60.0.0/23",
        "is in swedencentral, not in eastus2, and cannot move: say openAiLocation swedencentral",
        "Nothing was touched.",
    ):
        assert said in refused.output
    assert state(empty) == before


@pytest.mark.nightly
def test_a_change_cannot_take_the_name_of_a_revision_that_exists(empty: Stage, deploy: Play) -> None:
    before = state(empty)
    taken = deploy(release="first", cooldownPeriod=180)
    assert taken.code != 0
    assert "With these parameters: " in taken.output
    assert "~ change Microsoft.App/containerApps relay: " in taken.output
    assert "but relay--first exists already: choose another name with -e release=NAME" in taken.output
    assert state(empty) == before


@pytest.mark.nightly
def test_an_interrupted_deployment_of_new_keys_is_run_again(empty: Stage, deploy: Play, tmp_path: Path) -> None:
    carrying = empty.weights()
    empty.environ["RTPROXY_CLIENT_KEYS"] += ",second:another-key-of-16"
    variables = {"release": "keyed", "run_dir": str(tmp_path / "run")}
    with hanging(empty):
        with subprocess.Popen(
            command("deploy.yml", **variables),
            env=empty.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        ) as ansible:
            assert ansible.stdout is not None
            assert any(line.startswith("TASK [Deploy]") for line in ansible.stdout)
            until(lambda: empty.anywhere(*RUNNING) == "Running")
            os.killpg(ansible.pid, signal.SIGINT)
            ansible.communicate(timeout=DEADLINE_S)
        assert ansible.returncode != 0
        assert empty.weights() == carrying
        assert empty.anywhere(*RUNNING) == "Running"
        impatient = player(empty, tmp_path)("deploy.yml", **variables, deploy_timeout="1")
        assert (
            "deploy-relay is still Running after 1 s, from an earlier run: wait for its end, or az" in impatient.output
        )

    done = deploy(release="keyed")
    assert (done.code, done.changed) == (0, 1), done.output
    assert "The keys changed." in done.output
    assert "relay--keyed gets no call yet" in done.output
    assert empty.weights() == carrying


@pytest.mark.nightly
def test_the_teardown_leaves_nothing(empty: Stage, first: Run, tmp_path: Path) -> None:
    assert first.code == 0, first.output
    done = player(empty, tmp_path)("teardown.yml", confirm="voice")
    assert done.code == 0, done.output
    assert empty.anywhere("group", "list") == []
