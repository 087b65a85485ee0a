"""Stdout, where log lines go out: at once while somebody reads, and never waited for.

A pipe that nobody reads is full after 64 KiB, and whoever writes to it then stands still: here that would be every
call. So it is asked first whether it takes more. What it does not take waits in memory; beyond a limit, lines are lost.
"""

import asyncio
import contextlib
import os
import select
import time

WAITING_BYTES = 4 * 1024 * 1024
"""The lines of about three thousand calls."""
LAST_S = 0.5
"""How long the end of the process waits for a reader of what is left."""


class Outlet:
    """A descriptor that is written to without waiting, from the loop's thread; nobody else may write to it.

    It stays as it is, blocking or not: to change that would change it for everybody who has it (fcntl(2)).
    """

    def __init__(self, fileno: int) -> None:
        self._fileno = fileno
        self._waiting = bytearray()
        self._asked = select.poll()
        self._asked.register(fileno, select.POLLOUT)
        # The loop watches this one, because it makes what it watches itself non-blocking.
        self._news = select.epoll()
        with contextlib.suppress(PermissionError):  # a file, which takes all there is
            self._news.register(fileno, select.EPOLLOUT)
        self._watched = False

    def write(self, line: bytes) -> int:
        """The length of ``line``, or 0: it is lost."""
        if len(self._waiting) + len(line) > WAITING_BYTES:
            if not self._watched:  # a disk that was full may have room again, and nobody else would tell
                self._go_on()
            return 0
        self._waiting += line
        if not self._watched:
            self._go_on()
        return len(line)

    def finish(self) -> None:
        """Waits for a reader of what is left, LAST_S at most; for the end of the process."""
        until = time.monotonic() + LAST_S
        with contextlib.suppress(OSError):
            while self._waiting and self._asked.poll(max(0.0, until - time.monotonic()) * 1000):
                self._write_some()

    def _go_on(self) -> None:
        try:
            while self._waiting and self._asked.poll(0):
                self._write_some()
            self._watch(bool(self._waiting))
        except OSError:
            # The reader is gone, or a disk is full: the next line tries again.
            self._watch(False)

    def _write_some(self) -> None:
        # So much goes into a pipe whole and without waiting, if anything does (pipe(7)).
        end = self._waiting.rfind(b"\n", 0, select.PIPE_BUF) + 1 or select.PIPE_BUF
        del self._waiting[: os.write(self._fileno, self._waiting[:end])]

    def _watch(self, on: bool) -> None:
        if on == self._watched:
            return
        self._watched = on
        loop = asyncio.get_running_loop()
        if on:
            loop.add_reader(self._news.fileno(), self._go_on)
        else:
            loop.remove_reader(self._news.fileno())
