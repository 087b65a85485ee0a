"""The plays with a compiler on the PATH that writes lists of resources, which is what the real one does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bicep import listed
from tests.playbooks.conftest import DEPLOYING, Stage, player, standing

pytestmark = pytest.mark.timeout(1500)
SMALL = {"smoke_connections": "1", "smoke_seconds": "1", "judge_connections": "2", "judge_seconds": "1"}


@pytest.fixture(scope="module")
def vacant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """An empty subscription; the shell that it was started from has a `bicep` of its own."""
    tools = tmp_path_factory.mktemp("tools")
    listed.install(tools)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", str(tools), prepend=":")
        with standing(tmp_path_factory.mktemp("empty"), DEPLOYING, "--empty") as found:
            yield found


def test_the_template_goes_from_nothing_to_a_second_run_and_back_to_nothing(vacant: Stage, tmp_path: Path) -> None:
    play = player(vacant, tmp_path)
    first = play("deploy.yml", release="first", **SMALL)
    assert first.code == 0, first.output
    assert first.changed == 5
    check = play("deploy.yml", "--check", "--diff", release="first", **SMALL)
    assert check.code == 0, check.output
    assert check.changed == 0
    # Azure's what-if does not look into it: its zone is called as the environment's domain.
    assert "? NestedDeploymentShortCircuited Microsoft.Resources/deployments relay-dns" in check.output
    again = play("deploy.yml", release="another", **SMALL)
    assert again.code == 0, again.output
    assert again.changed == 0
    done = play("teardown.yml", confirm="voice")
    assert done.code == 0, done.output
    assert vacant.anywhere("group", "list") == []
