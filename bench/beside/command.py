"""Programs that prepare a run: one at a time. Their last line is the reason of a failure, and none outlives us."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends a run before its time: Ctrl-C, a supervisor, a terminal that is closed."""
_LEAVE_S = 5.0
"""For a program after SIGTERM: git takes back what it had begun."""
_GIT = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX")
"""Set in a hook of git, where they would point it at another folder than the one it is started in."""


class Failed(RuntimeError):
    """A program that failed; its text is the program's own last line."""


def run(command: Sequence[str], folder: Path, temporary: Path | None = None) -> str:
    """What ``command`` prints, started in ``folder``. Raises Failed when it ends with anything but 0.

    Its temporary files, such as uv's locks, go into ``temporary``, where that is given. It has a process group of its
    own: Ctrl-C reaches us alone, and we end the whole group.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _GIT}
    if temporary is not None:
        environment["TMPDIR"] = str(temporary)
    process = None
    try:
        with _later():
            process = subprocess.Popen(  # noqa: S603 - there is no shell
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        output, complaint = process.communicate()
    except FileNotFoundError:
        raise Failed(f"{command[0]} is not here") from None
    except BaseException:
        if process is not None:
            with process:  # which closes its pipes
                _end(process)
        raise
    if process.returncode:
        lines = (complaint.strip() or output.strip()).splitlines()
        raise Failed(lines[-1].strip() if lines else f"{Path(command[0]).name} ended with {process.returncode}")
    return output


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C is ignored meanwhile, so that a clean-up is complete."""
    with _handled(signal.SIG_IGN):
        yield


@contextlib.contextmanager
def _later() -> Iterator[None]:
    """A signal that comes meanwhile is handled at the end, when the program that is being started has a name."""
    came: list[int] = []
    with _handled(lambda number, _: came.append(number)):
        yield
    for number in came[:1]:
        signal.raise_signal(number)


@contextlib.contextmanager
def _handled(handler: Callable[[int, FrameType | None], object] | signal.Handlers) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _end(process: subprocess.Popen[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LEAVE_S)
            if number == signal.SIGKILL or not _alive(process.pid):
                return


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
