"""One direction of a call: what arrives on a socket goes on to the other untouched; what that does not take waits.

This is the only room that a frame passes. Whatever the walker lets through is written to the other socket; anything
else is rare and stays off that path: a flow that must not read is held, for one or more reasons, and where bytes go is
swapped for the time that they may not go straight to the socket.
"""

import time
from collections.abc import Callable
from typing import Protocol

from rtproxy.wire.clock import Clock
from rtproxy.wire.credit import WORTH, Allowance, Credit
from rtproxy.wire.frames import OPENING, Count
from rtproxy.wire.poller import BROKEN, ENDING, READABLE, WRITABLE, Watcher
from rtproxy.wire.socket import Socket, drop
from rtproxy.wire.tls import READ_BYTES

_USUAL = READABLE | WRITABLE
SHORTEST = 133
"""Bytes of a frame whose length takes two bytes, its header included, less one."""
ABOUT = 16
"""Bytes by which frames of one kind differ: a sample more or less, an id that grew."""

FULL, SLOWED, PAUSED, OVER, LEAVING = 1, 2, 4, 8, 16
"""Reasons not to read: the other socket is full; it cost too much; its owner says so; nothing arrives any more; the
socket closes. The last two are for good."""


class Reader(Protocol):
    """What decides how much of the arriving bytes goes on: a `frames.Walker`, or a filter around one."""

    calm: bool
    halt: str

    @property
    def count(self) -> Count: ...

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
    def usual(self) -> int: ...

    def feed(self, data: bytes) -> bytes:
        """Takes the next bytes and returns those that may go on."""

    def waits(self) -> bool:
        """Whether there is something to pass on without more bytes."""

    def forget(self) -> None:
        """What has not been passed on will not be."""

    def show_all(self) -> None:
        """From now on no frame passes without `feed`."""


class Kit(Protocol):
    """What all flows of a process share."""

    @property
    def poller(self) -> Watcher: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def allowance(self) -> Allowance: ...


class Flow:
    """Reads ``source``, and writes what ``reader`` lets through to ``sink``.

    ``out`` takes what goes on, and says how much of it the kernel took. ``held`` are the reasons not to read.
    ``behind``: its frames cost more than their bytes (`credit`), and others go first. Only frames of more than
    ``shortest`` and less than ``longest`` bytes may pass without `Reader.feed`.
    """

    __slots__ = (
        "_credit",
        "_kit",
        "_put_off",
        "behind",
        "held",
        "longest",
        "out",
        "reader",
        "shortest",
        "sink",
        "source",
    )

    def __init__(self, kit: Kit, source: Socket, sink: Socket, reader: Reader) -> None:
        self._kit = kit
        self.source, self.sink, self.reader = source, sink, reader
        self.out: Callable[[bytes], int] = sink.send
        self.shortest, self.longest = SHORTEST, READ_BYTES
        self.held = 0
        self._credit: Credit | None = None
        self.behind = self._put_off = False

    def start(self) -> None:
        """From now on the poller reports what comes, and it goes on."""
        self.source.watch(self)

    def failed(self, defect: Exception) -> None:
        """Something in here raised ``defect``."""
        self.source.owner.failed(defect)

    # The path of a frame.

    def ready(self, events: int) -> None:
        """The poller's news: nearly always one whole frame, which the other socket takes at once."""
        reader = self.reader
        usual = events == _USUAL and reader.calm
        if not usual and not self._worth_reading(events):
            return
        try:
            data = self.source.recv(READ_BYTES)
        except OSError as problem:
            self._not_read(problem, events)
            return
        size = len(data)
        if (
            usual
            and self.shortest < size < self.longest
            and OPENING(data)[0] - size == reader.usual
            and data.startswith(reader.ignored, reader.head_size)
        ):
            count = reader.count
            count.frames += 1
            count.bytes += size
            try:
                if (sent := self.out(data)) != size:
                    self.sink.left(data, sent)
            except OSError as problem:
                self.sink.refused(data, problem)
            return
        self._arrived(data, events)

    # What is rare.

    def _has_more(self) -> bool:
        """Whether something that was received waits."""
        return self.reader.waits() or (self.source.tls is not None and bool(self.source.tls.late))

    def _over(self) -> None:
        self.hold(OVER)
        self.source.owner.ended()

    def _not_read(self, problem: OSError, events: int) -> None:
        if not isinstance(problem, (BlockingIOError, InterruptedError)):
            self.source.abort()
        elif events & ENDING:  # it ends behind a part of a TLS record, and is not reported again
            self.source.again()

    def _worth_reading(self, events: int) -> bool:
        if events & BROKEN and self.held:
            # A reset, and no read would tell.
            self.source.abort()
            return False
        if self.source.full and events & WRITABLE:
            self.source.flush()
        if self.held:
            return False
        worth, more = bool(events & (READABLE | ENDING)), self._has_more()
        if not (self.behind or more):
            return worth
        if worth or more:
            self.put_off()
        return False

    def put_off(self) -> None:
        """Goes on with this direction when there are no news of others."""
        if not (self._put_off or self.source.shut):
            self._put_off = True
            waits, poller = self.behind and not self._has_more(), self._kit.poller
            (poller.put_off_a_moment if waits else poller.put_off)(self._go_on, self.failed)

    def _go_on(self) -> None:
        self._put_off = False
        if self.held:
            return
        if self.reader.waits():
            self.pass_on(b"")
        else:
            try:
                self._arrived(self.source.recv(READ_BYTES), 0)
            except OSError as problem:
                self._not_read(problem, 0)
        if self.source.shut:
            return
        if self._has_more():
            self.put_off()
        else:
            self.source.again()

    def _arrived(self, data: bytes, events: int) -> None:
        if not data:
            self._over()
            return
        if events & ENDING or len(data) >= READ_BYTES:
            self.source.again()
        self.pass_on(data)

    def pass_on(self, data: bytes) -> None:
        """Hands on ``data``, which has arrived, as far as it may go in one go."""
        reader, count = self.reader, self.reader.count
        count.bytes += len(data)
        size, frames = len(data) + len(reader.rest), count.frames
        data = reader.feed(data)
        if data:
            try:
                if (sent := self.out(data)) != len(data):
                    self.sink.left(data, sent)
            except OSError as problem:
                self.sink.refused(data, problem)
        units = 1 + count.frames - frames - max(size - len(reader.rest), len(data)) // WORTH
        if units > 0 or self.behind:
            self._spend(max(0, units))
        if self.source.full or self.held or self.behind:
            reader.calm = False
        if reader.waits():
            reader.calm = False
            self.put_off()
        if reader.halt:
            self.source.owner.halted()

    def _spend(self, units: int) -> None:
        if self._credit is None:
            self._credit = Credit(self._kit.allowance)
        credit = self._credit
        credit.spend(units, time.monotonic())
        self.behind = credit.behind
        if credit.flood and not self.reader.halt:
            self.reader.halt = "flood"
        elif credit.wait_s and not self.held & SLOWED:
            self.hold(SLOWED)
            self._kit.clock.call_later(credit.wait_s, self.release, SLOWED)

    def expect(self, size: int) -> None:
        """From now on whole frames with about ``size`` bytes of payload may pass without `feed`, and no others."""
        self.shortest = max(SHORTEST, self.reader.head_size + size - ABOUT)
        self.longest = min(READ_BYTES, self.reader.head_size + size + ABOUT)

    # Not reading, for a reason, and reading again.

    def hold(self, reason: int) -> None:
        """Reads nothing until ``reason`` is released."""
        self.held |= reason
        self.reader.calm = False

    def release(self, reason: int) -> None:
        """Reads again, unless there is another reason not to."""
        if self.held & reason:
            self.held &= ~reason
            if not self.held:
                self.source.again()

    def resume(self) -> None:
        """Ends a pause; what waits goes on when there are no news of others."""
        self.held &= ~PAUSED
        self.put_off()

    def stop(self) -> None:
        """The source closes: nothing more is read."""
        self.hold(LEAVING)
        self.reader.forget()

    # Where what goes on goes to.

    def fill(self) -> None:
        """The sink is full: what goes on waits there, and nothing more is read."""
        if self.out == self.sink.send:
            self.out = self.sink.keep
        if self.out is not drop:
            self.hold(FULL)

    def drain(self) -> None:
        """The sink takes bytes again."""
        if self.out == self.sink.keep:
            self.out = self.sink.send
        self.release(FULL)

    def straight(self) -> None:
        """What goes on goes to the sink, and waits there if it must."""
        self.out = self.sink.keep if self.sink.full else self.sink.send

    def drop(self) -> None:
        """Nothing goes on any more: what the source still sends is read, for its Close, and dropped."""
        self.out = drop
        self.release(FULL)


class TlsFlow(Flow):
    """A flow whose source is under TLS."""

    __slots__ = ()

    def ready(self, events: int) -> None:
        """As `Flow.ready`; and what TLS itself has to answer is answered, what it holds goes on."""
        Flow.ready(self, events)
        tls = self.source.tls
        if tls is None:  # it read a reset, and closed
            return
        if tls.leaving.pending and not (self.source.full or self.source.closing):
            self.source.answer_tls(tls)
        if self._has_more():
            self.reader.calm = False
            self.put_off()
        elif tls.ended:
            self._over()
