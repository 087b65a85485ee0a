"""An environment for the relay of a tree, from that tree's own lock file, by hash, as nox makes it."""

import sys
from pathlib import Path

from bench.beside.command import Failed, run
from bench.peers.found import program

LOCKS = ("relay", "build")
"""What the relay needs, and what builds the project."""


def environment(tree: Path, place: Path) -> Path:
    """Makes an environment in ``place`` with the interpreter of this run; returns the Python of it.

    Raises Failed when something cannot be installed, and when ``tree`` has no lock file.
    """
    locks = [Path("requirements", f"{name}.txt") for name in LOCKS]
    for lock in locks:
        if not (tree / lock).is_file():
            raise Failed(f"it has no {lock}, so that nobody knows what it was installed with")
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


ALONE = ("-I",)
"""Else the folder that the bench is started in, or the person's PYTHONPATH, would be the first to have a relay."""
