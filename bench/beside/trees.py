"""The relays of both sides in a temporary folder: the files of a commit, those of the repository as they are now.

Each has an environment from its own lock file, by hash, as nox makes it. Nothing of it is left behind: the folder is
removed, and git forgets the worktree, after a failure and after Ctrl-C, too.
"""

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.beside.command import Failed, run, undisturbed
from bench.peers.peer import program

HERE = "."
"""In the place of a commit: the files as they are, a second time. What is measured then is the noise."""
LOCKS = ("relay", "build")
"""What the relay needs, and what builds the project."""
ALONE = ("-I",)
"""Else the folder that the bench is started in, or the person's PYTHONPATH, would be the first to have a relay."""


class NoCommit(ValueError):
    """What was given as a commit is none; the text is the reason."""


class Commit(NamedTuple):
    """`revision` is None for the files as they are."""

    revision: str | None
    title: str

    def __str__(self) -> str:
        return f"{self.revision[:10]} ({self.title})" if self.revision else self.title


def commit(root: Path, given: str) -> Commit:
    """The commit that ``given`` names in the repository at ``root``. Raises NoCommit."""
    try:
        inside = _git(root, "rev-parse", "--show-toplevel").strip()
    except Failed as problem:
        raise NoCommit(f"--beside takes a commit of a clone of this repository: {problem}") from None
    if Path(inside).resolve() != root.resolve():
        raise NoCommit(f"--beside takes a commit of a clone of this repository: {root.name} is not under git")
    if given == HERE:
        return Commit(None, f"{as_is(root)}, the same files again")
    try:
        revision = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{given}^{{commit}}").strip()
    except Failed:
        shallow = _git(root, "rev-parse", "--is-shallow-repository").strip() == "true"
        more = "; this clone is shallow: git fetch --unshallow" if shallow else ""
        raise NoCommit(f"there is no commit {given!r} here{more}") from None
    return Commit(revision, _git(root, "log", "-1", "--format=%s", revision).strip())


def as_is(root: Path) -> str:
    """What the files as they are come from: ``1a2b3c4d5e with changes``."""
    changed = _git(root, "status", "--porcelain", "--untracked-files=normal").strip()
    return _head(root) + (" with changes" if changed else "")


@contextlib.contextmanager
def checked_out(root: Path, revision: str, place: Path) -> Iterator[None]:
    """The files of ``revision`` are in ``place`` meanwhile, as a worktree. Raises Failed."""
    try:
        # No hook of the person's own: it may install, build or ask.
        _git(root, "-c", "core.hooksPath=/dev/null", "worktree", "add", "--quiet", "--detach", str(place), revision)
        yield
    finally:
        with undisturbed():
            _forget(root, place)


def copied(root: Path, place: Path) -> None:
    """The files as they are, in ``place``: all that git has or would take, with every change that is not committed.

    A copy does not change while it is measured, and is installed in the same way as a commit.
    """
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
    for name in listed.split("\0"):
        source = root / name
        if name and (source.is_file() or source.is_symlink()):
            target = place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)


def _forget(root: Path, place: Path) -> None:
    try:
        # Twice: a worktree whose making was interrupted is locked.
        _git(root, "worktree", "remove", "--force", "--force", str(place))
    except Failed:
        shutil.rmtree(place, ignore_errors=True)
        with contextlib.suppress(Failed):
            _git(root, "worktree", "prune")


def _head(root: Path) -> str:
    return _git(root, "rev-parse", "--short=10", "HEAD").strip()


def _git(root: Path, *arguments: str) -> str:
    return run(("git", *arguments), root)


def environment(tree: Path, place: Path) -> Path:
    """Makes an environment in ``place`` with the interpreter of this run; returns the Python of it.

    Raises Failed when something cannot be installed, and when ``tree`` has no lock file.
    """
    locks = [Path("requirements", f"{name}.txt") for name in LOCKS]
    for lock in locks:
        if not (tree / lock).is_file():
            raise Failed(f"it has no {lock}, so that its packages are unknown")
    python = place / "bin" / "python"
    place.parent.mkdir(parents=True, exist_ok=True)

    def do(*command: str) -> str:
        return run(command, tree, place.parent)

    install: tuple[str, ...]
    if uv := program("uv"):
        do(uv, "venv", "--quiet", "--no-project", "--python", sys.executable, str(place))
        install = (uv, "pip", "install", "--quiet", "--python", str(python))
    else:
        do(sys.executable, "-I", "-m", "venv", str(place))
        install = (str(python), "-I", "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
    do(*install, "--require-hashes", *(word for lock in locks for word in ("--requirement", str(lock))))
    do(*install, "--no-deps", "--no-build-isolation", "--editable", str(tree))
    where = do(str(python), *ALONE, "-c", "import rtproxy; print(rtproxy.__file__)").strip()
    if tree.resolve() not in Path(where).resolve().parents:
        raise Failed(f"its relay is not its own: {where}")
    return python
