"""A repository of the test's own, and runs beside its commits."""

import os
import shutil
import subprocess
from asyncio.subprocess import Process
from pathlib import Path

import pytest

from tests.bench.conftest import Start
from tests.conftest import trust_as_outside

ROOT = Path(__file__).parents[3]
NEEDED = ("bench", "requirements", "rtproxy", "pyproject.toml", "setup.cfg", "README.md", ".gitignore")
"""What a run beside a commit has to find in a repository."""


class Repository:
    """A git repository in ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.git("init", "--quiet", "--initial-branch", "main")

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=tests", "-c", "user.email=tests@localhost")
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        command = ("git", *who, *arguments)
        return subprocess.run(command, cwd=self.root, env=clean, check=True, capture_output=True, text=True).stdout

    def commit(self, title: str) -> str:
        """Everything as it stands; its name."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--no-verify", "--message", title)
        return self.git("rev-parse", "HEAD").strip()

    @property
    def worktrees(self) -> int:
        """How many git knows of beside the repository itself."""
        return self.git("worktree", "list", "--porcelain").count("worktree ") - 1


@pytest.fixture
def small(tmp_path: Path) -> Repository:
    """A repository with one file, whose one commit has another text than the file."""
    (tmp_path / "small").mkdir()
    repository = Repository(tmp_path / "small")
    (repository.root / "file").write_text("as committed\n")
    (repository.root / ".gitignore").write_text("ignored\n")
    repository.commit("Say it once")
    (repository.root / "file").write_text("as it is\n")
    return repository


@pytest.fixture
def whole(tmp_path: Path) -> Repository:
    """A repository with the relay and the bench as they are here, all of it committed."""
    root = tmp_path / "whole"
    root.mkdir()
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, root / name)
    repository = Repository(root)
    repository.commit("Relay what is said")
    return repository


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """The folder in which a run puts what is temporary."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def start(start: Start, whole: Repository, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """``python -m bench`` in that repository."""
    trust_as_outside(monkeypatch)

    async def starting(*arguments: str) -> Process:
        environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("PYTHONPATH", None)
        return await start(*arguments, cwd=whole.root, env=environment)

    return starting
