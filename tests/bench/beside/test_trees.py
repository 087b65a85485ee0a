"""The files of a commit and the files as they are, in a folder of which nothing stays."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.beside.command import Failed, run
from bench.beside.trees import HERE, NoCommit, as_is, checked_out, commit, copied
from tests.bench.beside.conftest import Repository


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "side" / "tree"


def test_a_commit_stands_in_a_worktree_of_its_own_and_leaves_nothing(small: Repository, place: Path) -> None:
    found = commit(small.root, "main")
    assert str(found) == f"{small.git('rev-parse', 'HEAD')[:10]} (Say it once)"
    assert found.revision is not None
    with checked_out(small.root, found.revision, place):
        assert (place / "file").read_text() == "as committed\n"
        assert small.worktrees == 1
    assert small.worktrees == 0
    assert not place.exists()
    assert not list((small.root / ".git").glob("worktrees/*"))
    assert (small.root / "file").read_text() == "as it is\n"


@pytest.mark.parametrize("problem", [Failed("no room"), KeyboardInterrupt()], ids=["failure", "interrupt"])
def test_the_worktree_is_removed_after(small: Repository, place: Path, problem: BaseException) -> None:
    def measure() -> None:
        (place / "written meanwhile").touch()
        raise problem

    with pytest.raises(type(problem)), checked_out(small.root, "HEAD", place):
        measure()
    assert small.worktrees == 0
    assert not place.exists()


def test_git_forgets_a_worktree_whose_files_are_gone_already(small: Repository, place: Path) -> None:
    with checked_out(small.root, "HEAD", place):
        (place / ".git").unlink()
    assert small.worktrees == 0
    assert not place.exists()


def test_a_worktree_that_could_not_be_made_is_a_sentence_and_leaves_nothing(small: Repository, place: Path) -> None:
    place.mkdir(parents=True)
    (place / "in the way").touch()
    with pytest.raises(Failed, match="already exists"), checked_out(small.root, "HEAD", place):
        pass
    assert small.worktrees == 0


def test_no_hook_of_the_repository_runs(small: Repository, place: Path) -> None:
    hook = small.root / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {small.root}/ran\n")
    hook.chmod(0o755)
    with checked_out(small.root, "HEAD", place):
        pass
    assert not (small.root / "ran").exists()


def test_a_run_in_a_hook_of_git_asks_its_own_repository(
    small: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert commit(small.root, "HEAD").title == "Say it once"


def test_the_files_as_they_are_have_changes_and_new_files_but_none_that_git_ignores(
    small: Repository, place: Path
) -> None:
    for name in ("new", "ignored", "gone"):
        (small.root / name).write_text(name)
    (small.root / "link").symlink_to("file")
    small.git("add", "gone")
    (small.root / "gone").unlink()
    copied(small.root, place)
    assert {each.name for each in place.iterdir()} == {".gitignore", "file", "link", "new"}
    assert (place / "file").read_text() == "as it is\n"
    assert (place / "link").is_symlink()


def test_it_is_said_whether_the_files_have_changes(small: Repository) -> None:
    head = small.git("rev-parse", "HEAD")[:10]
    assert as_is(small.root) == f"{head} with changes"
    assert commit(small.root, HERE).title == f"{head} with changes, the same files again"
    small.git("checkout", "--quiet", "file")
    assert as_is(small.root) == head


@pytest.mark.parametrize("given", ["nosuch", "HEAD^{tree}", "HEAD:file", "", "--all", "HEAD~7"])
def test_what_is_no_commit_is_said_to_be_none(small: Repository, given: str) -> None:
    with pytest.raises(NoCommit, match="there is no commit"):
        commit(small.root, given)


def test_a_clone_without_its_history_says_how_to_get_it(small: Repository, tmp_path: Path) -> None:
    first = small.commit("Say it twice")
    small.commit("Say it again")
    command = ("git", "clone", "--quiet", "--depth", "1", f"file://{small.root}", str(tmp_path / "shallow"))
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(NoCommit, match="git fetch --unshallow"):
        commit(tmp_path / "shallow", first)


def test_files_that_are_not_under_git_have_no_commits(tmp_path: Path) -> None:
    with pytest.raises(NoCommit, match="a commit of a clone of this repository"):
        commit(tmp_path, "HEAD")


def test_a_program_that_is_interrupted_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    # It is this process that the signal comes to, while it waits: Ctrl-C does not reach the program's own group.
    script = "sleep 600 & echo $! > child; kill -INT $PPID; wait"
    (tmp_path / "script").write_text(script)
    outer = "import sys, pathlib; from bench.beside.command import run; run(('sh', 'script'), pathlib.Path.cwd())"
    root = Path(__file__).parents[3]
    code = f"import sys; sys.path.insert(0, {str(root)!r}); {outer}"
    ended = subprocess.run((sys.executable, "-c", code), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGINT, ended.stderr
    child = int((tmp_path / "child").read_text())
    assert not Path(f"/proc/{child}").exists() or "\nState:\tZ" in Path(f"/proc/{child}/status").read_text()


def test_an_interrupt_waits_until_a_program_that_is_being_started_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(subprocess.Popen[str]):
        def __init__(self, *arguments: Any, **how: Any) -> None:
            super().__init__(*arguments, **how)
            started.append(self.pid)
            signal.raise_signal(signal.SIGINT)

    started: list[int] = []
    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(("sleep", "600"), tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)


def test_a_program_that_fails_says_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"^no room$"):
        run(("sh", "-c", "echo first >&2; echo no room >&2; exit 3"), tmp_path)
    with pytest.raises(Failed, match=r"^sh ended with 3$"):
        run(("sh", "-c", "exit 3"), tmp_path)
    with pytest.raises(Failed, match=r"^no-such-program is not here$"):
        run(("no-such-program",), tmp_path)
