"""Which programs and packages are here, and in which version."""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_SERVERS = ("/usr/local/sbin", "/usr/sbin")
"""Where Debian has its servers; not on everybody's PATH."""


def program(name: str) -> str | None:
    """The path of a program: beside this interpreter, on PATH, or among the system's servers."""
    places = (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), *_SERVERS)
    return shutil.which(name, path=os.pathsep.join(places))


def installed(name: str) -> str:
    """The path of a program whose version was asked before, so that it is here."""
    path = program(name)
    assert path is not None, f"{name} is not here"
    return path


def program_version(name: str, flag: str, pattern: str) -> str | None:
    """Name and version of a program; ``pattern`` finds the version in what it answers to ``flag``."""
    path = program(name)
    if path is None:
        return None
    asked = subprocess.run((path, flag), capture_output=True, text=True, timeout=30)  # noqa: S603
    found = re.search(pattern, asked.stdout + asked.stderr)
    return f"{name} {found[1]}" if found else None


def package_versions(*names: str) -> str | None:
    """Names and versions of packages, None when one of them is missing."""
    try:
        return ", ".join(f"{name} {version(name)}" for name in names)
    except PackageNotFoundError:
        return None
