"""A child that does not outlive us, even when we are killed: `preexec_fn=leash()`."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def leash(number: signal.Signals = signal.SIGKILL) -> Callable[[], None] | None:
    """What a child runs before its program, so that the kernel sends it ``number`` when we end; None where it cannot.

    The kernel watches the thread that started the child: start children from the main thread.
    """
    if sys.platform != "linux":
        return None
    # Loaded here: between fork and exec nothing may be imported.
    libc, parent = ctypes.CDLL(None, use_errno=True), os.getpid()

    def hold() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # we ended before the line above
            os.kill(os.getpid(), number)

    return hold
