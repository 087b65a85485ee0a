"""Limits the memory for long messages that are withheld until they are whole: for all clients, and for each client.

The first FREE bytes of a message are not counted. A client that sends messages of usual length is therefore never
refused for lack of memory, whatever other clients do.
"""

import contextlib
import os
from collections import Counter
from pathlib import Path

FREE = 64 * 1024
OF_MEMORY = 4
"""The limit is a quarter of the memory that this process may use. One client may use half of that quarter."""


class Room:
    """The memory for withheld messages: ``limit`` bytes for all clients, ``client_limit`` for each."""

    def __init__(self, memory: int) -> None:
        self.limit = memory // OF_MEMORY
        self.client_limit = self.limit // 2
        self.taken = 0
        self._by_client: Counter[str] = Counter()

    def share(self, client: str) -> "Share":
        """The account of one call of ``client``."""
        return Share(self, client)

    def take(self, client: str, size: int) -> bool:
        """Reserves ``size`` bytes. Returns false, and reserves nothing, when they would exceed a limit."""
        if self.taken + size > self.limit or self._by_client[client] + size > self.client_limit:
            return False
        self.taken += size
        self._by_client[client] += size
        return True

    def give(self, client: str, size: int) -> None:
        """Gives reserved bytes back."""
        self.taken -= size
        self._by_client[client] -= size
        if not self._by_client[client]:
            del self._by_client[client]


class Share:
    """The account of one call. ``taken``: the bytes that its current message has reserved."""

    __slots__ = ("_client", "_room", "taken")

    def __init__(self, room: Room, client: str) -> None:
        self._room, self._client = room, client
        self.taken = 0

    def hold(self, size: int) -> bool:
        """Reserves memory for a message of ``size`` bytes. Returns false when there is none left."""
        more = size - FREE - self.taken
        if more <= 0:
            return True
        if not self._room.take(self._client, more):
            return False
        self.taken += more
        return True

    def release(self) -> None:
        """Gives the memory back: the message was passed on or discarded."""
        if self.taken:
            self._room.give(self._client, self.taken)
            self.taken = 0


def memory(root: Path = Path("/")) -> int:
    """The bytes of memory that this process may use: the limit of its cgroup (version 1 or 2), or the machine's."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _limits(root):
        with contextlib.suppress(OSError, ValueError):  # the file does not exist, or holds "max"
            sizes.append(int(path.read_text()))
    return min(sizes)


def _limits(root: Path) -> list[Path]:
    """The files that may hold a limit.

    In a container its own group is the root; elsewhere /proc has the group's name.
    """
    groups, of_memory = root / "sys/fs/cgroup", root / "sys/fs/cgroup/memory"
    files = [groups / "memory.max", of_memory / "memory.limit_in_bytes"]
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if not controllers:
                files += [each / "memory.max" for each in _up(groups, group)]
            elif "memory" in controllers.split(","):
                files += [each / "memory.limit_in_bytes" for each in _up(of_memory, group)]
    return files


def _up(root: Path, group: str) -> list[Path]:
    """A group and all groups above it, because each of them may have a limit."""
    own = root / group.lstrip("/")
    return [own, *(each for each in own.parents if each.is_relative_to(root))]
