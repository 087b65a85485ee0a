"""What the kernel knows about a socket, and what it is told, beyond asyncio (Linux, tcp(7))."""

import contextlib
import os
import socket
import struct
import termios
from fcntl import ioctl
from pathlib import Path

UNSENT_LIMIT = 128 * 1024


def prepare(sock: socket.socket) -> None:
    """Sends each frame at once, and lets the kernel hold UNSENT_LIMIT bytes: a Close is not stuck behind megabytes."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_LIMIT)


def unsent(sock: socket.socket) -> int:
    """Bytes that the other side's kernel has not taken yet. The socket must not be closed."""
    (count,) = struct.unpack("i", ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
    return int(count)


def no_descriptor_is_left() -> bool:
    """Whether this process, or the whole machine, may open no further file now; a name's lookup does not say so."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return True
    return False


def memory() -> int:
    """Bytes that this process may have: of its container (cgroups of either version), or else of the machine."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _limits():
        with contextlib.suppress(OSError, ValueError):  # not there, or "max"
            sizes.append(int(path.read_text()))
    return min(sizes)


def _limits() -> list[Path]:
    """The files that may say so: in a container its own group is the root, elsewhere /proc says where it is."""
    files = [Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")]
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if not controllers:
                files += [each / "memory.max" for each in _up(Path("/sys/fs/cgroup"), group)]
            elif "memory" in controllers.split(","):
                files += [each / "memory.limit_in_bytes" for each in _up(Path("/sys/fs/cgroup/memory"), group)]
    return files


def _up(root: Path, group: str) -> list[Path]:
    """A group and those it is in: each of them is a limit."""
    own = root / group.lstrip("/")
    return [own, *(each for each in own.parents if each.is_relative_to(root))]
