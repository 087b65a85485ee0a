"""What the commands of the stage share: reading of arguments, and how Ctrl-C ends a run."""

import argparse
import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

INTERRUPTED = 130
"""The exit code of a run that SIGINT or SIGTERM ended."""


def positive(text: str) -> float:
    """A finite number above 0. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def calls(most: int) -> Callable[[str], int]:
    """Reads a number of calls up to ``most``; what it returns raises ArgumentTypeError."""

    def read(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of calls: 1-{most}")
        return int(text)

    return read


def new_folder(text: str) -> Path:
    """A folder that is empty or does not exist, for the files that a verdict reads. Raises ArgumentTypeError."""
    folder = Path(text)
    if folder.exists() and not folder.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    if folder.exists() and any(folder.iterdir()):
        raise argparse.ArgumentTypeError(f"{text} is not empty: a verdict reads all that is in it")
    return folder


def on_stop(then: Callable[[], object]) -> None:
    """Calls ``then`` at each SIGINT and SIGTERM from now on, in the running loop."""
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, then)


async def until_interrupted(run: Coroutine[Any, Any, int]) -> int:
    """The exit code of ``run``, which a signal cancels: then it cleans up, and the code is `INTERRUPTED`."""
    task = asyncio.create_task(run)
    on_stop(task.cancel)
    with suppress(asyncio.CancelledError):
        return await task
    return INTERRUPTED
