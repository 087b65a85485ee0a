"""An environment from a tree's own lock file, with uv and without."""

import shutil
import subprocess
from pathlib import Path

import pytest

from bench.beside import trees
from bench.beside.command import Failed
from bench.beside.trees import ALONE, environment
from tests.bench.beside.conftest import ROOT

pytestmark = pytest.mark.timeout(200)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project that is called as ours and needs nothing but what builds it."""
    tree = tmp_path / "side" / "tree"
    for folder in ("requirements", "rtproxy"):
        (tree / folder).mkdir(parents=True)
    (tree / "rtproxy" / "__init__.py").touch()
    (tree / "setup.cfg").write_text("[metadata]\nname = rtproxy\nversion = 7\n[options]\npackages = rtproxy\n")
    shutil.copy2(ROOT / "pyproject.toml", tree)
    shutil.copy2(ROOT / "requirements" / "build.txt", tree / "requirements")
    (tree / "requirements" / "relay.txt").write_text("--only-binary :all:\n")
    return tree


@pytest.mark.parametrize("installer", ["uv", pytest.param("pip", marks=pytest.mark.nightly)])
def test_the_relay_of_a_tree_runs_from_that_tree_with_what_its_lock_has(
    tree: Path, installer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if installer == "pip":
        monkeypatch.setattr(trees, "program", lambda name: None)
    # Whoever works on the relay may have it here.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    python = environment(tree, tree.parent / "venv")
    ask = "import rtproxy; from importlib.metadata import version as v"
    ask += "; print(rtproxy.__file__, v('rtproxy'), v('setuptools'))"
    command = (str(python), *ALONE, "-c", ask)
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    locked = (tree / "requirements" / "build.txt").read_text()
    assert told[:2] == [str(tree / "rtproxy" / "__init__.py"), "7"]
    assert f"setuptools=={told[2]} " in locked


def test_a_package_with_another_hash_than_the_lock_has_is_not_installed(tree: Path) -> None:
    lock = tree / "requirements" / "build.txt"
    lines = [line for line in lock.read_text().splitlines() if "--hash" not in line]
    lock.write_text("\n".join(lines) + f"\n    --hash=sha256:{'0' * 64}\n")
    with pytest.raises(Failed):
        environment(tree, tree.parent / "venv")


def test_a_tree_without_a_lock_has_no_environment(tree: Path) -> None:
    (tree / "requirements" / "relay.txt").unlink()
    with pytest.raises(Failed, match=r"it has no requirements/relay\.txt"):
        environment(tree, tree.parent / "venv")
