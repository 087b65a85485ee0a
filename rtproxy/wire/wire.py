"""The socket under a leg: what arrives goes on to the other one untouched, and what that does not take waits.

This is the only room a frame passes. Whatever the walker lets through is written to the other leg's socket; anything
else is rare and stays off that path: backpressure holds the other leg's reading, and a leg that takes no more has the
writer towards it swapped for one that drops.
"""

import asyncio
import socket
import time
from collections.abc import Callable

from rtproxy.wire.credit import WORTH, Credit
from rtproxy.wire.frames import OPENING, Tap, Walker
from rtproxy.wire.kernel import unsent
from rtproxy.wire.poller import BROKEN, ENDING, READABLE, WRITABLE, Poller
from rtproxy.wire.tls import READ_BYTES, Tls

_USUAL = READABLE | WRITABLE
SHORTEST = 133
"""Bytes of a frame whose length takes two bytes, its header included, less one."""

ABOUT = 16
"""Bytes by which frames of one kind differ: a sample more or less, an id that grew."""


def drop(data: bytes) -> int:
    """The writer towards a leg that takes nothing more."""
    return len(data)


def _nothing(size: int) -> bytes:
    """The reader of a socket that is closed."""
    return b""


class Wire(Walker):
    """One socket, in plaintext or under TLS. ``peer`` is the other one of the session, set by the splice.

    What becomes of a session is not decided here: the methods at the end, which tell of it, are for who extends this.

    ``received`` counts bytes, ``frames`` frames that arrived. ``out`` takes what goes on to the peer and says how much
    of it the kernel took. ``full``: bytes for this socket wait here; ``held_back``: it is not read for now; ``got``:
    its side has said its last frame; ``sent``: a Close is on its way to it; ``gone``: nothing arrives any more;
    ``closing``: it closes as soon as what was written is out; ``lost``: closed; ``behind``: its frames cost more than
    their bytes (`credit`), and others go first; ``slowed``: it is not read until it may cost something again. Only
    frames of more than ``shortest`` and less than ``longest`` bytes may pass without `feed`.
    """

    __slots__ = (
        "_credit",
        "_fileno",
        "_poller",
        "_put_off",
        "_receive",
        "_shut",
        "_sock",
        "_tls",
        "_unsent",
        "behind",
        "closing",
        "full",
        "gone",
        "got",
        "held_back",
        "longest",
        "lost",
        "out",
        "peer",
        "received",
        "send",
        "sent",
        "shortest",
        "slowed",
    )
    peer: "Wire"

    def __init__(self, poller: Poller, sock: socket.socket, tls: Tls | None, *, masked: bool, tap: Tap | None) -> None:
        super().__init__(masked=masked, tap=tap)
        self._poller = poller
        self._sock, self._tls, self._fileno = sock, tls, sock.fileno()
        # Bound once: both are called for every frame.
        self._receive: Callable[[int], bytes] = sock.recv if tls is None else tls.recv
        self.send: Callable[[bytes], int] = sock.send if tls is None else tls.send
        self.out: Callable[[bytes], int] = drop
        self.received = 0
        self.shortest, self.longest = SHORTEST, READ_BYTES
        self._unsent = b""
        self.full = self.held_back = False
        self._credit: Credit | None = None
        self.behind = self.slowed = self._put_off = False
        self.got = self.sent = self.gone = self.closing = self._shut = self.lost = False

    def start(self) -> None:
        """From now on the poller reports what comes; frames go to the other leg."""
        self.peer.out = self.send
        self._poller.add(self._fileno, self.ready if self._tls is None else self._ready_tls, self.failed)

    # The path of a frame.

    def ready(self, events: int) -> None:
        """The poller's news: nearly always one whole frame, which the other leg's socket takes at once."""
        usual = events == _USUAL and self.calm
        if not usual and not self._worth_reading(events):
            return
        try:
            data = self._receive(READ_BYTES)
        except OSError as problem:
            self._not_read(problem, events)
            return
        size = len(data)
        if (
            usual
            and self.shortest < size < self.longest
            and OPENING(data)[0] - size == self.usual
            and data.startswith(self.ignored, self.head_size)
        ):
            self.frames += 1
            self.received += size
            try:
                if (sent := self.out(data)) != size:
                    self.peer.left(data, sent)
            except OSError as problem:
                self.peer.refused(data, problem)
            return
        self._arrived(data, events)

    # What is rare.

    def _ready_tls(self, events: int) -> None:
        self.ready(events)
        tls = self._tls
        if tls is None:  # it read a reset, and closed
            return
        if tls.leaving.pending and not (self.full or self.closing):
            self._answer(tls)
        if self._has_more():
            self.calm = False
            self.put_off()
        elif tls.ended:
            self.ended()

    def _unwalked(self) -> bool:
        """Whether there is something to pass on without reading."""
        return bool(self.rest)

    def _has_more(self) -> bool:
        """Whether something of what was received waits."""
        return self._unwalked() or (self._tls is not None and bool(self._tls.late))

    def _not_read(self, problem: OSError, events: int) -> None:
        if not isinstance(problem, (BlockingIOError, InterruptedError)):
            self.abort()
        elif events & ENDING:  # it ends behind a part of a TLS record, and is not reported again
            self._poller.again(self._fileno)

    def _answer(self, tls: Tls) -> None:
        # Else it would wait for the next frame of the other leg, and pile up.
        try:
            if not tls.answer():
                self.left(b"", 0)
        except OSError as problem:
            self.refused(b"", problem)

    def _worth_reading(self, events: int) -> bool:
        if events & BROKEN and (self.held_back or self.gone):
            # A reset, and no read would tell.
            self.abort()
            return False
        if self.full and events & WRITABLE:
            self._flush()
        if self.gone or self.held_back:
            return False
        worth, more = bool(events & (READABLE | ENDING)), self._has_more()
        if not (self.behind or more):
            return worth
        if worth or more:
            self.put_off()
        return False

    def put_off(self) -> None:
        """Goes on with this side when there are no news of others."""
        if not (self._put_off or self._shut):
            self._put_off = True
            waits = self.behind and not self._has_more()
            (self._poller.put_off_a_moment if waits else self._poller.put_off)(self._go_on, self.failed)

    def _go_on(self) -> None:
        self._put_off = False
        if self.gone or self.held_back:
            return
        if self._unwalked():
            self.pass_on(b"")
        else:
            try:
                self._arrived(self._receive(READ_BYTES), 0)
            except OSError as problem:
                self._not_read(problem, 0)
        if self._shut:
            return
        if self._has_more():
            self.put_off()
        else:
            self._poller.again(self._fileno)

    def _arrived(self, data: bytes, events: int) -> None:
        if not data:
            self.ended()
            return
        if events & ENDING or len(data) >= READ_BYTES:
            self._poller.again(self._fileno)
        self.pass_on(data)

    def pass_on(self, data: bytes) -> None:
        """Hands ``data``, which this side said, to the other leg as far as it may go in one go."""
        self.received += len(data)
        size, frames = len(data) + len(self.rest), self.frames
        data = self.feed(data)
        if data:
            try:
                if (sent := self.out(data)) != len(data):
                    self.peer.left(data, sent)
            except OSError as problem:
                self.peer.refused(data, problem)
        units = 1 + self.frames - frames - max(size - len(self.rest), len(data)) // WORTH
        if units > 0 or self.behind:
            self._spend(max(0, units))
        if self.full or self.held_back or self.behind:
            self.calm = False
        if self._unwalked():
            self.calm = False
            self.put_off()
        if self.halt:
            self.halted()

    def _spend(self, units: int) -> None:
        if self._credit is None:
            self._credit = Credit()
        credit = self._credit
        credit.spend(units, time.monotonic())
        self.behind = credit.behind
        if credit.flood and not self.halt:
            self.halt = "flood"
        elif credit.wait_s and not self.slowed:
            self.slowed = self.held_back = True
            asyncio.get_running_loop().call_later(credit.wait_s, self._slowed_enough)

    def _slowed_enough(self) -> None:
        if self._shut:
            return
        self.slowed = False
        # As `left` has it: a peer that does not take what it has holds this side back.
        if not self.peer.full or self.out is drop:
            self.release()

    def expect(self, size: int) -> None:
        """From now on whole frames with about ``size`` bytes of payload may pass without `feed`, and no others."""
        self.shortest = max(SHORTEST, self.head_size + size - ABOUT)
        self.longest = min(READ_BYTES, self.head_size + size + ABOUT)

    def write(self, data: bytes) -> None:
        """Sends ``data`` on this socket, or keeps it until the kernel takes it."""
        try:
            if (sent := self.keep(data) if self.full else self.send(data)) != len(data):
                self.left(data, sent)
        except OSError as problem:
            self.refused(data, problem)

    def refused(self, data: bytes, problem: OSError) -> None:
        """The kernel did not take ``data`` for this socket, for now or for good."""
        if isinstance(problem, (BlockingIOError, InterruptedError)):
            self.left(data, 0)
        else:
            # What this side said before that has arrived, and is read first.
            self._poller.soon(self.abort)

    def left(self, data: bytes, sent: int) -> None:
        """The kernel took only the first ``sent`` bytes for this socket: the other leg waits for the rest."""
        self._unsent = data[sent:] if self._tls is None else self._tls.unsent
        self.full, self.calm = True, False
        if self.peer.out == self.send:
            self.peer.out = self.keep
        if self.peer.out is not drop:
            self.peer.held_back, self.peer.calm = True, False
        self.filled()

    def keep(self, data: bytes) -> int:
        """Takes ``data`` for this socket behind what it has not taken yet."""
        self._unsent += data if self._tls is None else self._tls.encrypt(data)
        return len(data)

    def _flush(self) -> None:
        try:
            self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.abort()
            return
        if self._unsent:
            return
        self.full = False
        if self.peer.out == self.keep:
            self.peer.out = self.send
        self.peer.release()
        self.drained()
        if self.closing:
            self.abort()

    def hang_up(self) -> None:
        """Closes the socket once what was written to it is out, and reads no more. May be called again."""
        if self.closing:
            return
        self.closing = self.held_back = True
        self.calm = False
        if self._tls is not None:
            self._unsent += self._tls.goodbye()
        if self._unsent:
            self.full = True
            self.peer.out = drop
            self.peer.release()
            self._flush()
        else:
            self.abort()

    def abort(self) -> None:
        """Closes the socket now. `closed` follows in the loop's next round. May be called again."""
        if self._shut:
            return
        self._shut = self.closing = self.held_back = True
        self.calm = False
        self._poller.discard(self._fileno)
        self._sock.close()
        self._unsent = self.rest = b""
        self.peer.out = drop
        # The legs of a call hold each other until the collector comes, which knows nothing of OpenSSL's buffers.
        self._tls, self._receive, self.send = None, _nothing, drop
        self._poller.soon(self.closed)

    def release(self) -> None:
        """Reads again after being held back, unless there is another reason not to."""
        if self.held_back and not (self.closing or self.slowed):
            self.held_back = False
            self._poller.again(self._fileno)

    def progress(self) -> tuple[int, ...]:
        """Changes whenever bytes moved on this leg: arrived, left the relay, or left the kernel."""
        return (self.received, *self.untaken())

    def untaken(self) -> tuple[int, ...]:
        """What its side has not taken yet, here and in the kernel: changes whenever it reads."""
        return () if self._shut else (len(self._unsent), unsent(self._sock))

    # What a session does about it.

    def halted(self) -> None:
        """A Close of this side went through, or it may say no more: `halt` says why. It may come again."""
        raise NotImplementedError

    def ended(self) -> None:
        """Nothing more arrives. It may come again."""
        raise NotImplementedError

    def filled(self) -> None:
        """Bytes for this socket wait."""
        raise NotImplementedError

    def drained(self) -> None:
        """They are out."""
        raise NotImplementedError

    def closed(self) -> None:
        """The socket is closed."""
        raise NotImplementedError

    def failed(self, defect: Exception) -> None:
        """Something in here raised ``defect``."""
        raise NotImplementedError
