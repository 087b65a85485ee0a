"""What a wheel holds: the relay, its command, its licence, and the mark that it is typed; no stage and no clients."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

import noxfile
from rtproxy import __version__

ROOT = Path(__file__).parents[1]
# As the Containerfile copies them.
MADE_OF = ("pyproject.toml", "setup.cfg", "setup.py", "README.md", "LICENSE")
OTHERS = ("clients", "stage", "bench", "tests")
INFO = f"rtproxy-{__version__}.dist-info"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as the release session builds it, of a tree that has the other packages too."""
    folder = tmp_path_factory.mktemp("wheel")
    tree, dist = folder / "tree", folder / "dist"
    shutil.copytree(ROOT / "rtproxy", tree / "rtproxy", ignore=shutil.ignore_patterns("__pycache__"))
    for each in MADE_OF:
        shutil.copy2(ROOT / each, tree)
    for each in OTHERS:
        (tree / each).mkdir()
        (tree / each / "__init__.py").touch()
    command = (sys.executable, "-c", noxfile.BUILD, str(dist))
    subprocess.run(command, cwd=tree, check=True, capture_output=True, timeout=120)
    (built,) = dist.iterdir()
    return built


@pytest.fixture(scope="module")
def unpacked(wheel: Path) -> Iterator[ZipFile]:
    with ZipFile(wheel) as file:
        yield file


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that an installer put the wheel into, without what the relay needs: that is where this test runs."""
    folder = tmp_path_factory.mktemp("installed")
    uv = (str(Path(sys.executable).with_name("uv")), "--no-cache", "--offline", "--quiet", "pip")
    install = ("install", "--python", sys.executable, "--no-deps", "--target", str(folder), str(wheel))
    subprocess.run((*uv, *install), check=True, timeout=120)
    return folder


def run(installed: Path, *command: str) -> tuple[int, str, str]:
    """Exit code and output of ``command``, which finds the relay of ``installed`` first, and no settings."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=installed, env=environ, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_it_is_named_after_the_version_that_the_relay_says(wheel: Path) -> None:
    assert wheel.name == f"rtproxy-{__version__}-py3-none-any.whl"


def test_it_holds_every_file_of_the_relay_and_no_other_package(unpacked: ZipFile) -> None:
    folder = ROOT / "rtproxy"
    files = {path.relative_to(ROOT).as_posix() for path in folder.rglob("*") if path.suffix in (".py", ".typed")}
    assert "rtproxy/py.typed" in files
    assert {name for name in unpacked.namelist() if not name.startswith(f"{INFO}/")} == files


def test_its_metadata_has_the_licence_and_names_it(unpacked: ZipFile) -> None:
    told = Parser().parsestr(unpacked.read(f"{INFO}/METADATA").decode())
    assert (told["Name"], told["Version"], told["License-Expression"]) == ("rtproxy", __version__, "MIT")
    assert told.get_all("License-File") == ["LICENSE"]
    assert unpacked.read(f"{INFO}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert "Typing :: Typed" in told.get_all("Classifier", [])


def test_it_has_one_command(unpacked: ZipFile) -> None:
    told = ConfigParser()
    told.read_string(unpacked.read(f"{INFO}/entry_points.txt").decode())
    assert {name: dict(told[name]) for name in told.sections()} == {
        "console_scripts": {"rtproxy": "rtproxy.__main__:main"}
    }


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["--help"], 0), (["--version"], 0)])
def test_the_command_does_what_the_module_does(installed: Path, arguments: list[str], code: int) -> None:
    by_command = run(installed, str(installed / "bin" / "rtproxy"), *arguments)
    by_module = run(installed, sys.executable, "-m", "rtproxy", *arguments)
    assert by_command == by_module
    assert by_command[0] == code
    assert "rtproxy" in "".join(by_command[1:])


def test_what_was_installed_is_what_runs(installed: Path) -> None:
    where = run(installed, sys.executable, "-c", "import rtproxy; print(rtproxy.__file__)")
    assert where == (0, f"{installed / 'rtproxy' / '__init__.py'}\n", "")


def test_the_same_tree_makes_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    tree = wheel.parents[1] / "tree"
    environ = os.environ | {"SOURCE_DATE_EPOCH": "1800000000"}
    for each in ("one", "two"):
        command = (sys.executable, "-c", noxfile.BUILD, str(tmp_path / each))
        subprocess.run(command, cwd=tree, env=environ, check=True, capture_output=True, timeout=120)
    assert (tmp_path / "one" / wheel.name).read_bytes() == (tmp_path / "two" / wheel.name).read_bytes()


def test_a_checkout_that_was_installed_for_work_has_every_package_in_reach(tmp_path: Path) -> None:
    """clients, stage and bench are in no wheel; nox's sessions and their processes run them from any folder."""
    command = (sys.executable, "-c", "import bench, clients.hold, stage.local, rtproxy; print(rtproxy.__version__)")
    environ = {"PATH": os.environ["PATH"]}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n"), done.stderr
