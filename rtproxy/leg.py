"""One socket of a session: what arrives on it goes on to the other leg untouched.

This is the only room a frame passes. Whatever the walker lets through is written to the other leg's socket;
everything else is rare and stays off that path: a control frame of ours waits for a frame boundary, backpressure
holds the other leg's reading, and a leg that takes no more has its writer swapped for one that drops.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from rtproxy.closing import VANISHED
from rtproxy.frames import OPENING, PING, Tap, Walker, close_frame, control
from rtproxy.kernel import prepare, unsent
from rtproxy.poller import BROKEN, ENDING, READABLE, WRITABLE
from rtproxy.tls import READ_BYTES, Tls

if TYPE_CHECKING:
    from rtproxy.splice import Splice

FINISH_LIMIT = 512 * 1024
"""What may still be read to finish the frame that a stalled reader is in the middle of."""
_PING_PAYLOAD = b"rtproxy"
_USUAL = READABLE | WRITABLE
_SHORTEST = 133
"""Bytes of a frame whose length takes two bytes, its header included, less one."""


def _drop(data: bytes) -> int:
    """The writer towards a leg that takes nothing more."""
    return len(data)


class Leg(Walker):
    """One leg, named ``client`` or ``upstream``. ``peer`` is the other one, set by the splice.

    ``received`` counts bytes, ``frames`` frames that arrived; ``closed_with`` is the first Close code on this leg in
    either direction. ``out`` takes what goes on to the peer and says how much of it the kernel took. ``full``: bytes
    for this socket wait here; ``held_back``: it is not read for now; ``got``: its side has said its last frame;
    ``sent``: a Close is on its way to it; ``gone``: nothing arrives any more; ``closing``: it closes as soon as what
    was written is out; ``lost``: closed.
    """

    __slots__ = (
        "_fileno",
        "_receive",
        "_send",
        "_shut",
        "_sock",
        "_to_boundary",
        "_unsent",
        "closed_with",
        "closing",
        "full",
        "gone",
        "got",
        "heard",
        "held_back",
        "lost",
        "name",
        "out",
        "peer",
        "pending",
        "pinged",
        "received",
        "sent",
        "splice",
    )
    peer: "Leg"

    def __init__(self, splice: "Splice", name: str, sock: socket.socket, tap: Tap | None) -> None:
        super().__init__(masked=name == "client", tap=tap)
        self.splice = splice
        self.name = name
        self._sock, self._fileno = sock, sock.fileno()
        # Bound once: both are called for every frame.
        self._receive: Callable[[int], bytes] = sock.recv
        self._send: Callable[[bytes], int] = sock.send
        self.out: Callable[[bytes], int] = _drop
        self.received = self.heard = 0
        self.pending = self._unsent = b""
        self._to_boundary = 0
        self.pinged = self.full = self.held_back = False
        self.got = self.sent = self.gone = self.closing = self._shut = self.lost = False
        self.closed_with = VANISHED

    def start(self) -> None:
        """From now on the poller reports what comes; frames go to the other leg."""
        prepare(self._sock)
        self.peer.out = self._send
        self.splice.poller.add(self._fileno, self)

    # The path of a frame.

    def ready(self, events: int) -> None:
        """The poller's news: nearly always one whole frame, which the other leg's socket takes at once."""
        if events != _USUAL or not self.calm:
            self._unusual(events)
            return
        try:
            data = self._receive(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.abort()
            return
        size, head_size = len(data), self.head_size
        if (
            _SHORTEST < size < READ_BYTES
            and OPENING(data) == (self.usual, size - head_size)
            and data.startswith(self.ignored, head_size)
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

    def _unusual(self, events: int) -> None:
        if events & BROKEN and (self.held_back or self.gone):
            # A reset, and no read would tell.
            self.abort()
            return
        if self.full and events & WRITABLE:
            self._flush()
        if self.gone or self.held_back or not events & (READABLE | ENDING):
            return
        try:
            data = self._receive(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.abort()
            return
        self._arrived(data, events)

    def _arrived(self, data: bytes, events: int) -> None:
        if not data:
            self._ended()
            return
        if events & ENDING or len(data) >= READ_BYTES:
            self.splice.poller.again(self._fileno)
        self.pass_on(data)

    def pass_on(self, data: bytes) -> None:
        """Hands ``data``, which this side said, to the other leg as far as it may go."""
        self.received += len(data)
        data = self.feed(data)
        if data:
            try:
                if (sent := self.out(data)) != len(data):
                    self.peer.left(data, sent)
            except OSError as problem:
                self.peer.refused(data, problem)
        if self.full or self.held_back:
            self.calm = False
        if self.halt:
            self.splice.halted(self)

    def write(self, data: bytes) -> None:
        """Sends ``data`` on this socket, or keeps it until the kernel takes it."""
        try:
            if (sent := self._keep(data) if self.full else self._send(data)) != len(data):
                self.left(data, sent)
        except OSError as problem:
            self.refused(data, problem)

    def refused(self, data: bytes, problem: OSError) -> None:
        """The kernel did not take ``data`` for this socket, for now or for good."""
        if isinstance(problem, (BlockingIOError, InterruptedError)):
            self.left(data, 0)
        else:
            # What this side said before that has arrived, and is read first.
            asyncio.get_running_loop().call_soon(self.abort)

    def left(self, data: bytes, sent: int) -> None:
        """The kernel took only the first ``sent`` bytes for this socket: the other leg waits for the rest."""
        self._unsent = data[sent:]
        self.full, self.calm = True, False
        if self.peer.out == self._send:
            self.peer.out = self._keep
        if not self.sent and not self.peer.lost:
            self.peer.held_back, self.peer.calm = True, False
        self.splice.wheel.watch(self)

    def _keep(self, data: bytes) -> int:
        self._unsent += data
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
        if self.peer.out == self._keep:
            self.peer.out = self._send
        self.peer.release()
        self.splice.wheel.unwatch(self)
        if self.closing:
            self.abort()

    def failed(self, defect: Exception) -> None:
        """A callback of this leg raised: that ends the call."""
        context = {"message": f"the {self.name} leg of a call failed", "exception": defect}
        asyncio.get_running_loop().call_exception_handler(context)
        self.splice.end("relay.failed")
        self.abort()

    def _ended(self) -> None:
        if self.gone:
            return
        # A peer that sent its Close and then half-closed still reads: the answer is on its way.
        waits = self.got and not self.sent
        self.splice.vanished(self)
        if not waits:
            self.hang_up()

    def _closed(self) -> None:
        self.lost = True
        self.peer.release()
        self.splice.vanished(self)
        self.splice.lost(self)

    # What the splice, the wheel and the other leg call.

    def release(self) -> None:
        """Reads again after being held back."""
        if self.held_back and not self.closing:
            self.held_back = False
            if not self._shut:
                self.splice.poller.again(self._fileno)

    def close(self, code: int, reason: str) -> None:
        """Sends our own Close at the next frame boundary, and nothing of the other leg after it.

        Hangs up without one where no boundary will come: the other leg is gone in the middle of a frame.
        """
        if self.sent or self.lost:
            return
        if self.peer.gone and self.peer.skip:
            self.hang_up()
            return
        self.sent = True
        self.mark(code)
        if self._inject(close_frame(code, reason, masked=self.name == "upstream")):
            self.nothing_more()

    def nothing_more(self) -> None:
        """The Close was written: what the other leg still says is read, for its own Close, and dropped."""
        self.peer.out = _drop
        self.peer.release()

    def mark(self, code: int) -> None:
        """Keeps the first code of the leg."""
        if self.closed_with == VANISHED:
            self.closed_with = code

    def hang_up(self) -> None:
        """Closes the socket once what was written to it is out, and reads no more. May be called again."""
        if self.closing or self._shut:
            return
        self.closing = self.held_back = True
        self.calm = False
        self._unsent += self._goodbye()
        if self._unsent:
            self._flush()
        else:
            self.abort()

    def _goodbye(self) -> bytes:
        return b""

    def abort(self) -> None:
        """Closes the socket now. The splice learns of it in the loop's next round. May be called again."""
        if self._shut:
            return
        self._shut = self.closing = self.held_back = True
        self.calm = False
        self.splice.poller.discard(self._fileno)
        self._sock.close()
        self._unsent = b""
        self.peer.out = _drop
        asyncio.get_running_loop().call_soon(self._closed)

    def finish_frame(self) -> None:
        """Lets the other leg finish the frame it is in although this one is full, where that is little."""
        if self.peer.skip <= FINISH_LIMIT:
            self.peer.release()

    def ping(self) -> bool:
        """One heartbeat; false when the leg was pinged a beat ago and has said nothing since."""
        if self.full or self.held_back:
            # Neither our ping nor a pong can get through: the stall watch has this leg.
            self.pinged = False
        elif self.pinged and self.received == self.heard:
            return False
        else:
            ping = control(PING, _PING_PAYLOAD, masked=self.name == "upstream")
            self.pinged = not self.pending and self._inject(ping)
        self.heard = self.received
        return True

    def progress(self) -> tuple[int, ...]:
        """Changes whenever bytes moved on this leg: arrived, left the relay, or left the kernel."""
        if self._shut:
            return (self.received,)
        return (self.received, len(self._unsent), unsent(self._sock))

    def _inject(self, frame: bytes) -> bool:
        """Writes a control frame of ours between two frames: now where that is so (true), else when it is."""
        if self.peer.skip == 0:
            self.write(frame)
            return True
        if not self.pending:
            self._to_boundary = self.peer.skip
            self.peer.out = self._write_to_boundary
        self.pending += frame
        return False

    def _write_to_boundary(self, data: bytes) -> int:
        boundary = self._to_boundary
        if len(data) < boundary:
            self._to_boundary -= len(data)
            self.write(data)
            return len(data)
        self.write(data[:boundary] + self.pending)
        self.pending = b""
        if self.sent:
            self.nothing_more()
            self.splice.told(self)
        else:
            self.peer.out = self._keep if self.full else self._send
            if data[boundary:]:
                self.write(data[boundary:])
        return len(data)


class TlsLeg(Leg):
    """A leg under TLS, which reads and writes as a socket does; see `tls.Tls`."""

    __slots__ = ("_tls",)

    def __init__(self, splice: "Splice", name: str, sock: socket.socket, tls: Tls, tap: Tap | None) -> None:
        super().__init__(splice, name, sock, tap)
        self._tls = tls
        self._receive, self._send = tls.recv, tls.send

    def ready(self, events: int) -> None:
        super().ready(events)
        if self._tls.ended:
            self._ended()

    def left(self, data: bytes, sent: int) -> None:
        super().left(self._tls.unsent, 0)

    def _keep(self, data: bytes) -> int:
        self._unsent += self._tls.encrypt(data)
        return len(data)

    def _goodbye(self) -> bytes:
        return self._tls.goodbye()
