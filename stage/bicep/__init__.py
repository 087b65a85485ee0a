"""`bicep build` for the stage: a stand-in for the compiler, which no registry of Python or Node packages has.

    syntax      the nouns of a file, and what its names stand for
    reading     the text of a file -> expressions
    source      a file -> what it declares
    expressions Bicep's expressions -> ARM's
    template    declarations -> the template

It compiles the subset of Bicep in which `bicep/` is written, into the form of the real one (symbolic names), and
refuses everything else by name. It evaluates nothing: `stage.arm` does that.
"""

import shlex
import shutil
import sys
from pathlib import Path

from stage.bicep.syntax import BicepError
from stage.bicep.template import VERSION, compile

__all__ = ["SAID", "BicepError", "compile", "install"]

_ROOT = Path(__file__).parents[2]
_RUN = "-P -m stage.bicep"
SAID = f"Bicep CLI version {VERSION} (the stage's stand-in)"
"""The answer to `bicep --version`."""


def install(directory: Path) -> None:
    """Writes `directory/bicep`, which `az` looks for; nothing where the PATH has a real compiler, which is better."""
    found = shutil.which("bicep")
    if found and not _is_stand_in(Path(found)):
        return
    script = directory / "bicep"
    # az asks for the version before each template, and the compiler takes half a second to start.
    version = f'case "$1" in --version) echo {shlex.quote(SAID)}; exit ;; esac'
    run = f'PYTHONPATH={shlex.quote(str(_ROOT))} exec {shlex.quote(sys.executable)} {_RUN} "$@"'
    script.write_text(f"#!/bin/sh\n{version}\n{run}\n", encoding="utf-8")
    script.chmod(0o755)


def _is_stand_in(program: Path) -> bool:
    """Another stage's: a shell that is at one stage may well start the next."""
    return _RUN.encode() in program.read_bytes()[:1000]
