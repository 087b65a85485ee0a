"""The stand-in as the executable that `az` looks for."""

import shlex
import shutil
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_RUN = "-P -m stage.bicep"


def install(directory: Path) -> None:
    """Writes `directory/bicep`. Where the PATH has a real compiler nothing is written: that one is better."""
    found = shutil.which("bicep")
    if found and not _is_stand_in(Path(found)):
        return
    script = directory / "bicep"
    run = f'PYTHONPATH={shlex.quote(str(_ROOT))} exec {shlex.quote(sys.executable)} {_RUN} "$@"'
    script.write_text(f"#!/bin/sh\n{run}\n", encoding="utf-8")
    script.chmod(0o755)


def _is_stand_in(program: Path) -> bool:
    """Another stage's: a shell that is at one stage may well start the next."""
    return _RUN.encode() in program.read_bytes()[:1000]
