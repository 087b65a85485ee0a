"""Children that do not outlive us, even when we are killed."""

import asyncio
import ctypes
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Callable
from typing import Any

_PR_SET_PDEATHSIG = 1


async def leashed(*command: str, **how: Any) -> Process:
    """Starts ``command``, which hears no Ctrl-C of our terminal, and which the kernel kills when we end.

    ``how`` is what asyncio.create_subprocess_exec takes. The kernel watches the thread that starts a child: call this
    from the main one. Elsewhere than on Linux there is no such leash, and a child may outlive a kill of ours.
    """
    return await asyncio.create_subprocess_exec(*command, start_new_session=True, preexec_fn=_leash(), **how)


def _leash() -> Callable[[], None] | None:
    """What a child runs before its program."""
    if sys.platform != "linux":
        return None
    # Loaded here: between fork and exec nothing may be imported.
    libc, parent = ctypes.CDLL(None, use_errno=True), os.getpid()

    def hold() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # we ended before the line above
            os.kill(os.getpid(), signal.SIGKILL)

    return hold
