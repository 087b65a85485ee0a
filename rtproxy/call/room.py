"""How much memory long messages may take that are withheld until they are whole: all together, and one client's.

The first FREE bytes of a message are not counted. Who sends usual messages is never refused for want of room, however
much others withhold, and costs nothing here.
"""

import contextlib
import os
from collections import Counter
from pathlib import Path

FREE = 64 * 1024
OF_MEMORY = 4
"""A quarter of the memory that this process may have; of that one client has half."""


class Room:
    """``limit`` bytes for all, ``client_limit`` for each."""

    def __init__(self, memory: int) -> None:
        self.limit = memory // OF_MEMORY
        self.client_limit = self.limit // 2
        self.taken = 0
        self._of: Counter[str] = Counter()

    def share(self, client: str) -> "Share":
        """What one call of ``client`` takes and gives back."""
        return Share(self, client)

    def take(self, client: str, size: int) -> bool:
        """False, and nothing is taken, where there is no room."""
        if self.taken + size > self.limit or self._of[client] + size > self.client_limit:
            return False
        self.taken += size
        self._of[client] += size
        return True

    def give(self, client: str, size: int) -> None:
        """Gives back what was taken."""
        self.taken -= size
        self._of[client] -= size
        if not self._of[client]:
            del self._of[client]


class Share:
    """``taken``: what one message has of the room."""

    __slots__ = ("_client", "_room", "taken")

    def __init__(self, room: Room, client: str) -> None:
        self._room, self._client = room, client
        self.taken = 0

    def hold(self, size: int) -> bool:
        """Whether a message may grow to ``size``."""
        more = size - FREE - self.taken
        if more <= 0:
            return True
        if not self._room.take(self._client, more):
            return False
        self.taken += more
        return True

    def release(self) -> None:
        """The message has gone."""
        if self.taken:
            self._room.give(self._client, self.taken)
            self.taken = 0


def memory(root: Path = Path("/")) -> int:
    """Bytes that this process may have: of its container (cgroups of either version), or else of the machine."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _limits(root):
        with contextlib.suppress(OSError, ValueError):  # not there, or "max"
            sizes.append(int(path.read_text()))
    return min(sizes)


def _limits(root: Path) -> list[Path]:
    """The files that may hold a limit: in a container its own group is the root, elsewhere /proc names the group."""
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
    """A group and those that it is in: each of them is a limit."""
    own = root / group.lstrip("/")
    return [own, *(each for each in own.parents if each.is_relative_to(root))]
