"""One direction of a call: reads bytes from one socket, and writes them unchanged to the other socket.

This is the room that every frame passes. Nearly every read holds one whole frame, which `Flow.ready` writes to the
other socket at once. Everything else is rare, and stays off that path: a flow that must not read is held, for one or
more reasons, and ``forward`` is replaced while bytes may not go directly to the other socket.
"""

import time
from collections.abc import Callable
from typing import Final, Protocol

from rtproxy.wire.clock import Clock
from rtproxy.wire.credit import BYTES_PER_UNIT, Allowance, Credit
from rtproxy.wire.frames import OPENING, Count
from rtproxy.wire.poller import BROKEN, ENDING, READABLE, WRITABLE, Watcher
from rtproxy.wire.socket import Socket, drop
from rtproxy.wire.tls import READ_BYTES

_USUAL: Final = READABLE | WRITABLE
SHORTEST_FRAME: Final = 133
"""One byte less than the shortest masked frame whose length is written in two bytes, header included."""
SIZE_TOLERANCE: Final = 16
"""Two audio frames of one call differ in length by at most this many bytes: a few samples, a longer id."""

FULL: Final = 1
SLOWED: Final = 2
PAUSED: Final = 4
ENDED: Final = 8
CLOSING: Final = 16
"""Reasons not to read: the other socket is full; this side spent its units; the owner asks for a pause; the stream has
ended; the socket is closing. The last two are never released."""


class Reader(Protocol):
    """Decides how many of the received bytes are passed on: a `frames.Walker`, or a filter around one."""

    halt: str

    @property
    def count(self) -> Count: ...

    @property
    def fast(self) -> bool: ...

    @property
    def close(self) -> bytes: ...

    @property
    def code(self) -> int: ...

    @property
    def fragmented(self) -> bool: ...

    @property
    def head_size(self) -> int: ...

    @property
    def ignored(self) -> tuple[bytes, ...]: ...

    @property
    def rest(self) -> bytes: ...

    @property
    def skip(self) -> int: ...

    @property
    def fast_opening(self) -> int: ...

    def feed(self, data: bytes) -> bytes:
        """Takes the next bytes, and returns those that may be passed on."""

    def has_backlog(self) -> bool:
        """Whether there are bytes to pass on although no more bytes arrive."""

    def discard_backlog(self) -> None:
        """Discards what has not been passed on."""


class Kit(Protocol):
    """What all flows of a process share."""

    @property
    def poller(self) -> Watcher: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def allowance(self) -> Allowance: ...


class Flow:
    """Reads ``source``, and writes what ``reader`` lets pass to ``sink``.

    ``forward`` takes the bytes that pass, and returns how many of them the kernel accepted. ``held`` are the reasons
    not to read. ``low_priority``: its frames cost more than their bytes (`credit`), so that other sockets are read
    first.

    ``fast``: the next frame may pass without `Reader.feed`, if it has more than ``shortest`` and less than ``longest``
    bytes. What of the reader that depends on is held here, so that such a frame does not touch the reader.
    """

    __slots__ = (
        "_count",
        "_credit",
        "_deferred",
        "_head_size",
        "_ignored",
        "_kit",
        "_opening",
        "fast",
        "forward",
        "held",
        "longest",
        "low_priority",
        "reader",
        "shortest",
        "sink",
        "source",
    )

    def __init__(self, kit: Kit, source: Socket, sink: Socket, reader: Reader) -> None:
        self._kit = kit
        self.source, self.sink, self.reader = source, sink, reader
        self.fast, self._count, self._ignored = reader.fast, reader.count, reader.ignored
        self._opening, self._head_size = reader.fast_opening, reader.head_size
        self.forward: Callable[[bytes], int] = sink.send
        self.shortest, self.longest = SHORTEST_FRAME, READ_BYTES
        self.held = 0
        self._credit: Credit | None = None
        self.low_priority = self._deferred = False

    def start(self) -> None:
        """From now on the poller calls this flow."""
        self.source.watch(self)

    def failed(self, defect: Exception) -> None:
        """Reports an exception that was raised in this flow."""
        self.source.owner.failed(defect)

    # The path of nearly every frame.

    def ready(self, events: int) -> None:
        """Takes events from the poller: nearly always one whole frame, which the other socket accepts at once."""
        usual = events == _USUAL and self.fast
        if not usual and not self._worth_reading(events):
            return
        try:
            data = self.source.recv(READ_BYTES)
        except OSError as problem:
            self._read_failed(problem, events)
            return
        size = len(data)
        if (
            usual
            and self.shortest < size < self.longest
            and OPENING(data)[0] - size == self._opening
            and data.startswith(self._ignored, self._head_size)
        ):
            count = self._count
            count.frames += 1
            count.bytes += size
            try:
                if (sent := self.forward(data)) != size:
                    self.sink.partly_sent(data, sent)
            except OSError as problem:
                self.sink.not_sent(data, problem)
            return
        self._received(data, events)

    # The rare cases.

    def _has_backlog(self) -> bool:
        """Whether received bytes have not been passed on yet."""
        return self.reader.has_backlog() or (self.source.tls is not None and bool(self.source.tls.backlog))

    def _source_ended(self) -> None:
        self.hold(ENDED)
        self.source.owner.ended()

    def _read_failed(self, problem: OSError, events: int) -> None:
        if not isinstance(problem, (BlockingIOError, InterruptedError)):
            self.source.abort()
        elif events & ENDING:  # the stream ends in the middle of a TLS record, and epoll does not report it again
            self.source.rearm()

    def _worth_reading(self, events: int) -> bool:
        if events & BROKEN and self.held:
            # The connection was reset. A held flow does not read, and would not notice.
            self.source.abort()
            return False
        if self.source.full and events & WRITABLE:
            self.source.flush()
        if self.held:
            return False
        worth, more = bool(events & (READABLE | ENDING)), self._has_backlog()
        if not (self.low_priority or more):
            return worth
        if worth or more:
            self.defer()
        return False

    def defer(self) -> None:
        """Continues with this direction when no other socket has anything to read."""
        if not (self._deferred or self.source.shut):
            self._deferred = True
            briefly, poller = self.low_priority and not self._has_backlog(), self._kit.poller
            (poller.defer_briefly if briefly else poller.defer)(self._read_deferred, self.failed)

    def _read_deferred(self) -> None:
        self._deferred = False
        if self.held:
            return
        if self.reader.has_backlog():
            self.pass_on(b"")
        else:
            try:
                self._received(self.source.recv(READ_BYTES), 0)
            except OSError as problem:
                self._read_failed(problem, 0)
        if self.source.shut:
            return
        if self._has_backlog():
            self.defer()
        else:
            self.source.rearm()

    def _received(self, data: bytes, events: int) -> None:
        if not data:
            self._source_ended()
            return
        if events & ENDING or len(data) >= READ_BYTES:
            self.source.rearm()
        self.pass_on(data)

    def pass_on(self, data: bytes) -> None:
        """Passes on the received bytes ``data``, as many as may be handled in one call."""
        reader, count = self.reader, self._count
        count.bytes += len(data)
        size, frames = len(data) + len(reader.rest), count.frames
        data = reader.feed(data)
        self.fast = reader.fast
        if data:
            try:
                if (sent := self.forward(data)) != len(data):
                    self.sink.partly_sent(data, sent)
            except OSError as problem:
                self.sink.not_sent(data, problem)
        units = 1 + count.frames - frames - max(size - len(reader.rest), len(data)) // BYTES_PER_UNIT
        if units > 0 or self.low_priority:
            self._spend(max(0, units))
        if self.source.full or self.held or self.low_priority:
            self.fast = False
        if reader.has_backlog():
            self.fast = False
            self.defer()
        if reader.halt:
            self.source.owner.halted()

    def _spend(self, units: int) -> None:
        if self._credit is None:
            self._credit = Credit(self._kit.allowance)
        credit = self._credit
        credit.spend(units, time.monotonic())
        self.low_priority = credit.low_priority
        if credit.flood and not self.reader.halt:
            self.reader.halt = "flood"
        elif credit.wait_s and not self.held & SLOWED:
            self.hold(SLOWED)
            self._kit.clock.call_later(credit.wait_s, self.release, SLOWED)

    def expect(self, size: int) -> None:
        """From now on only whole frames with about ``size`` bytes of payload may pass without `feed`."""
        self.shortest = max(SHORTEST_FRAME, self._head_size + size - SIZE_TOLERANCE)
        self.longest = min(READ_BYTES, self._head_size + size + SIZE_TOLERANCE)

    def inspect_all(self) -> None:
        """From now on every frame is given to the reader."""
        self._ignored = ()

    # Pause and resume reading.

    def hold(self, reason: int) -> None:
        """Reads nothing until ``reason`` is released."""
        self.held |= reason
        self.fast = False

    def release(self, reason: int) -> None:
        """Reads again, unless there is another reason not to."""
        if self.held & reason:
            self.held &= ~reason
            if not self.held:
                self.source.rearm()

    def resume(self) -> None:
        """Ends a pause. Bytes that wait are passed on when no other socket has anything to read."""
        self.held &= ~PAUSED
        self.defer()

    def source_closes(self) -> None:
        """The source is closing: reads nothing more."""
        self.hold(CLOSING)
        self.reader.discard_backlog()

    # Where the bytes are written.

    def sink_filled(self) -> None:
        """The sink is full: bytes wait there, and nothing more is read."""
        if self.forward == self.sink.send:
            self.forward = self.sink.keep
        if self.forward is not drop:
            self.hold(FULL)

    def sink_drained(self) -> None:
        """The sink accepts bytes again."""
        if self.forward == self.sink.keep:
            self.forward = self.sink.send
        self.release(FULL)

    def forward_to_sink(self) -> None:
        """Writes to the sink again; bytes wait there while it is full."""
        self.forward = self.sink.keep if self.sink.full else self.sink.send

    def drop(self) -> None:
        """Passes nothing on any more. What the source still sends is read, to find its Close, and dropped."""
        self.forward = drop
        self.release(FULL)


class TlsFlow(Flow):
    """A flow whose source uses TLS."""

    __slots__ = ()

    def ready(self, events: int) -> None:
        """As `Flow.ready`. Also sends the records that TLS itself has to send, and passes on what TLS still holds."""
        Flow.ready(self, events)
        tls = self.source.tls
        if tls is None:  # the connection was reset, and is closed
            return
        if tls.outgoing.pending and not (self.source.full or self.source.closing):
            self.source.send_tls_records(tls)
        if self._has_backlog():
            self.fast = False
            self.defer()
        elif tls.ended:
            self._source_ended()
