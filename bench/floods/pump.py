"""Pours bytes into sockets as fast as they are taken, and reads what comes; in a process of its own.

It is handed each socket, with the name of a flood or of none, through a Unix socket; at whose end it ends.
"""

import os
import select
import socket
import sys
from contextlib import suppress
from typing import NamedTuple

from bench.load.wire import PING, TEXT

_BINARY_BEGINS, _TEXT_BEGINS, _GOES_ON = 0x82, 0x01, 0x00
_SOME = 4096
_READ = 256 * 1024


class Flood(NamedTuple):
    """``first`` once, then ``again`` for ever, in segments of at most ``at_once`` bytes."""

    first: bytes
    again: bytes
    at_once: int = 1 << 20


def flood(kind: str, *, masked: bool) -> Flood:
    """One of KINDS as this side of a call sends it."""
    bit, key = (0x80, b"abcd") if masked else (0, b"")

    def small(first: int, payload: bytes = b"") -> bytes:
        return bytes((first, bit | len(payload))) + key + payload

    if kind == "pings":
        return Flood(b"", small(PING) * _SOME)
    if kind == "texts":
        return Flood(b"", small(TEXT, b"x") * _SOME)
    if kind == "fragments":
        return Flood(small(_TEXT_BEGINS), small(_GOES_ON) * _SOME)
    assert kind == "trickle"
    head = bytes((_BINARY_BEGINS, bit | 127)) + (15 << 20).to_bytes(8) + key
    return Flood(head, b"x" * _SOME, at_once=1)


KINDS = ("pings", "texts", "fragments", "trickle")
SIDES = ("client", "model")


class _Pouring:
    def __init__(self, sock: socket.socket, what: Flood | None) -> None:
        self.sock, self._what = sock, what
        self._at = -len(what.first) if what else 0

    def pour(self) -> None:
        assert self._what is not None
        first, again, at_once = self._what
        data = first[self._at :] if self._at < 0 else again[self._at : self._at + at_once]
        self._at += self.sock.send(data)
        if self._at == len(again):
            self._at = 0


def main() -> None:
    """Pours until the other end of the Unix socket, whose descriptor is the one argument, is closed."""
    # Whoever times others is on this core, too, and is not to wait for us.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    inbox = socket.socket(fileno=int(sys.argv[1]))
    poller = select.epoll()
    poller.register(inbox, select.EPOLLIN)
    pouring: dict[int, _Pouring] = {}
    while True:
        for fileno, events in poller.poll():
            if fileno == inbox.fileno():
                message, files, _, _ = socket.recv_fds(inbox, 64, 1)
                if not files:
                    return
                kind, side = message.decode().split()
                each = _Pouring(
                    socket.socket(fileno=files[0]), flood(kind, masked=side == "client") if kind in KINDS else None
                )
                pouring[files[0]] = each
                poller.register(each.sock, select.EPOLLIN | (select.EPOLLOUT if kind in KINDS else 0))
                continue
            try:
                with suppress(BlockingIOError):
                    if events & ~select.EPOLLOUT and not pouring[fileno].sock.recv(_READ):
                        raise ConnectionResetError
                    if events & select.EPOLLOUT:
                        pouring[fileno].pour()
            except OSError:
                pouring.pop(fileno).sock.close()


if __name__ == "__main__":
    main()
