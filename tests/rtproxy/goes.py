"""Walkers stop after some frames, so that other calls have their turn: here they go on until nothing is left."""

from rtproxy.wire.frames import Walker


def all_of(walker: Walker, data: bytes) -> bytes:
    """What ``walker`` passes on of ``data``, however many goes it takes."""
    passed = walker.feed(data)
    while walker.rest:
        passed += walker.feed(b"")
    return passed
