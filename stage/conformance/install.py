"""The suite in a folder of its own: it knows no Python but 2.7, which nothing else here does."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
NEEDS = """\
The Autobahn test suite runs on Python 2.7 only, and there is none here. Get one, pip included: pyenv install 2.7.18
It is found below ~/.pyenv (or PYENV_ROOT), or on the PATH as python2.7, or where you say: --python2 PATH"""
_RUN = """
import site, sys
site.addsitedir(sys.argv.pop(1))
from twisted.python.log import startLogging
startLogging(sys.stdout, setStdout=False)
from autobahntestsuite.wstest import run
run()
"""


class NotInstalled(RuntimeError):
    """Says in a sentence or two what is missing, or what pip said."""


class Wstest(NamedTuple):
    """The suite as it is installed."""

    python2: Path
    folder: Path

    def command(self, *arguments: str) -> tuple[str, ...]:
        """Runs it, with Twisted's log on stdout, which names the port. It sees no package but those in ``folder``."""
        return (str(self.python2), "-S", "-u", "-c", _RUN, str(self.folder), *arguments)


def install(python2: Path | None, folder: Path) -> Wstest:
    """Installs the suite into ``folder`` unless what is pinned is there already; half a minute the first time.

    Raises NotInstalled.
    """
    python2 = python2 or _found()
    if python2 is None:
        raise NotInstalled(NEEDS)
    stamp, pinned = folder / "installed", hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != pinned:
        shutil.rmtree(folder, ignore_errors=True)
        pip = (str(python2), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps")
        try:
            _run(*pip, "--require-hashes", "--target", str(folder), "--requirement", str(REQUIREMENTS))
        except OSError as problem:
            raise NotInstalled(f"{python2} does not run: {problem.strerror}") from None
        stamp.write_text(pinned)
    return Wstest(python2, folder)


def _found() -> Path | None:
    on_path = shutil.which("python2.7")
    # A shim of pyenv has the name although no 2.7 is chosen, and then does not run.
    if on_path and subprocess.run((on_path, "--version"), capture_output=True, check=False).returncode == 0:
        return Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return max(pyenv.glob("versions/2.7*/bin/python2.7"), default=None)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalled(f"{' '.join(command)} failed:\n{(done.stderr or done.stdout).strip()}")
