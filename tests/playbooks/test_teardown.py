"""Taking down what was deployed, and nothing else. What there is, is the first pass of the template."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.playbooks.conftest import ROOT, Play, Stage, player
from tests.playbooks.test_deploy import inject

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def play(empty: Stage, tmp_path: Path) -> Play:
    return player(empty, tmp_path)


@pytest.fixture
def deployed(empty: Stage) -> Callable[[], str]:
    """Deploys what comes before an image; the name of the model account."""

    def deploy() -> str:
        empty.anywhere("group", "create", "--name", empty.group, "--location", "eastus2")
        empty.anywhere(
            *("deployment", "group", "create", "--name", "deploy-relay", "--resource-group", empty.group),
            *("--template-file", str(ROOT / "bicep" / "main.bicep"), "--parameters", "prefix=relay"),
        )
        (account,) = empty.anywhere(*ACCOUNTS)
        return str(account)

    return deploy


ACCOUNTS = ("cognitiveservices", "account", "list", "--query", "[].name")
DELETED = ("cognitiveservices", "account", "list-deleted", "--query", "[].name")


def groups(stage: Stage) -> list[str]:
    found: list[str] = stage.anywhere("group", "list", "--query", "[].name")
    return found


def test_the_group_goes_with_all_that_is_in_it_once_its_name_is_typed(
    empty: Stage, play: Play, deployed: Callable[[], str]
) -> None:
    account = deployed()
    for typed, said in (("", "Nothing was typed"), ("relay", "relay was typed")):
        refused = play("teardown.yml", **({"confirm": typed} if typed else {}))
        assert refused.code != 0
        assert f"{said}, and RESOURCE_GROUP is voice: nothing was deleted." in refused.output
    check = play("teardown.yml", "--check", confirm="voice")
    assert check.code == 0, check.output
    assert f"Microsoft.CognitiveServices/accounts {account}" in check.output
    assert "The group voice would go." in check.output
    assert groups(empty) == ["voice"]

    done = play("teardown.yml", confirm="voice")
    assert done.code == 0, done.output
    assert f"The group voice and the model account {account} went." in done.output
    assert groups(empty) == []
    assert empty.anywhere(*DELETED) == []

    again = play("teardown.yml", confirm="voice")
    assert (again.code, again.changed) == (0, 0), again.output
    assert "There is nothing left to delete." in again.output


@pytest.mark.nightly
def test_a_deleted_model_account_stands_in_the_way_until_it_is_purged(
    empty: Stage, play: Play, deployed: Callable[[], str]
) -> None:
    account = deployed()
    empty.anywhere("group", "delete", "--name", "voice", "--yes")
    refused = play("deploy.yml", release="one")
    assert refused.code != 0
    purge = f"az cognitiveservices account purge --location eastus2 --resource-group voice --name {account}"
    assert f"The deleted model account {account} still holds its name: {purge}." in refused.output
    assert groups(empty) == []

    done = play("teardown.yml", confirm="voice")
    assert done.code == 0, done.output
    assert f"the model account {account} went." in done.output
    assert empty.anywhere(*DELETED) == []


def test_who_has_rights_on_the_group_only_deletes_it_and_is_told_who_purges_the_account(
    empty: Stage, play: Play, deployed: Callable[[], str]
) -> None:
    account = deployed()
    inject(empty, "refuse", what="subscription")
    try:
        done = play("teardown.yml", confirm="voice")
    finally:
        inject(empty, "none")
    assert done.code == 0, done.output
    purge = f"az cognitiveservices account purge --location eastus2 --resource-group voice --name {account}"
    assert f"Not purged: {account}. It holds its name and its quota for 48 hours" in done.output
    assert f"Cognitive Services Contributor on the subscription: {purge}." in done.output
    assert "The group voice went." in done.output
    assert groups(empty) == []
    assert empty.anywhere(*DELETED) == [account]
    empty.anywhere(*purge.split()[1:])


def test_somebody_elses_group_stays_unless_it_is_forced(empty: Stage, play: Play) -> None:
    empty.anywhere("group", "create", "--name", "voice", "--location", "eastus2")
    refused = play("teardown.yml", confirm="voice")
    assert refused.code != 0
    assert "deploy.yml has deployed no relay in voice: nothing was deleted." in refused.output
    assert groups(empty) == ["voice"]

    done = play("teardown.yml", confirm="voice", force=True)
    assert done.code == 0, done.output
    assert groups(empty) == []
