"""Small parts of the wire for tests: a walker that goes on until nothing is left, an owner of a socket."""

from collections.abc import Callable
from typing import NamedTuple

from rtproxy.wire.frames import ClientWalker, Count, Finder, ModelWalker, Walker


def a_walker(*, masked: bool, finder: Finder | None = None) -> Walker:
    """A walker of a client's frames (masked) or of the model's, with a count of its own."""
    return (ClientWalker if masked else ModelWalker)(Count(), finder)


def all_of(walker: Walker, data: bytes) -> bytes:
    """What ``walker`` passes on of ``data``, however many goes it takes."""
    passed = walker.feed(data)
    while walker.rest:
        passed += walker.feed(b"")
    return passed


class Owned(NamedTuple):
    """A socket's owner that is a callable."""

    ready: Callable[[int], None]
    failed: Callable[[Exception], None] = print
