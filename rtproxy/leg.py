"""One socket of a session: what arrives on it goes on to the other leg untouched.

This is the only room a frame passes. Whatever the walker lets through is written to the other leg's transport;
everything else is rare and stays off that path: a control frame of ours waits for a frame boundary, backpressure
holds the other leg's reading, and a leg that takes no more has its writer swapped for one that drops.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from rtproxy.closing import VANISHED
from rtproxy.frames import PING, Tap, Walker, close_frame, control
from rtproxy.kernel import is_reset, limit_unsent, unsent

if TYPE_CHECKING:
    from rtproxy.splice import Splice

HIGH_WATER = 128 * 1024
"""Bytes waiting in the relay for one leg at which the other leg's reading is held back."""
FINISH_LIMIT = 512 * 1024
"""What may still be read to finish the frame that a stalled reader is in the middle of."""
_PING_PAYLOAD = b"rtproxy"


def _drop(data: bytes) -> None:
    """The writer towards a leg that takes nothing more."""


class Leg(Walker, asyncio.BaseProtocol):
    """One leg, named ``client`` or ``upstream``. ``peer`` is the other one, set by the splice.

    ``received`` counts bytes, ``frames`` frames that arrived; ``closed_with`` is the first Close code on this leg in
    either direction. ``got`` says that the peer has said its last frame, ``sent`` that a Close is on its way to it,
    ``gone`` that nothing arrives any more, ``lost`` that the socket is closed.
    """

    __slots__ = (
        "_to_boundary",
        "closed_with",
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
        "transport",
    )
    peer: "Leg"

    def __init__(self, splice: "Splice", name: str, transport: asyncio.Transport, tap: Tap | None) -> None:
        Walker.__init__(self, masked=name == "client", tap=tap)
        self.splice = splice
        self.name = name
        self.transport = transport
        self.out: Callable[[bytes], None] = _drop
        self.received = self.heard = 0
        self.pending = b""
        self._to_boundary = 0
        self.pinged = self.full = self.held_back = False
        self.got = self.sent = self.gone = self.lost = False
        self.closed_with = VANISHED

    # What the loop calls.

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self.out(self.feed(data))
        if self.halt:
            self.splice.halted(self)

    def eof_received(self) -> bool:
        # A peer that sent its Close and then half-closed still reads: the answer is on its way.
        waits = self.got and not self.sent
        self.splice.vanished(self)
        return waits

    def connection_lost(self, exc: Exception | None) -> None:
        if self.lost:
            return
        self.lost = True
        if exc is not None and not isinstance(exc, OSError):
            # Not the network's: one of our callbacks raised, and the loop closed the socket for it.
            self.splice.end("relay.failed")
        self.peer.out = _drop
        self.peer.release()
        self.splice.vanished(self)
        self.splice.lost(self)

    def pause_writing(self) -> None:
        self.full = True
        if not self.sent and not self.peer.lost:
            self.peer.held_back = True
            self.peer.transport.pause_reading()
        self.splice.wheel.watch(self)

    def resume_writing(self) -> None:
        self.full = False
        self.peer.release()
        self.splice.wheel.unwatch(self)

    # What the splice, the wheel and the other leg call.

    def start(self, early: bytes) -> None:
        """Begins to pass bytes on, first of all those that came before the socket was ours."""
        alive = not self.transport.is_closing()
        if alive:
            limit_unsent(self.transport)
            self.transport.set_write_buffer_limits(high=HIGH_WATER)
            self.transport.resume_reading()
        self.data_received(early)
        if not alive:
            self.connection_lost(None)

    def release(self) -> None:
        """Reads again after being held back."""
        if self.held_back and not self.lost:
            self.transport.resume_reading()
        self.held_back = False

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
        """Closes the socket once what was written to it is out. May be called again."""
        if not self.lost:
            self.transport.close()

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
        if self.lost:
            return (self.received,)
        return (self.received, self.transport.get_write_buffer_size(), unsent(self.transport))

    def was_reset(self) -> bool:
        """Whether the connection is dead although nobody reads it."""
        return self.held_back and not self.lost and is_reset(self.transport)

    def _inject(self, frame: bytes) -> bool:
        """Writes a control frame of ours between two frames: now where that is so (true), else when it is."""
        if self.peer.skip == 0:
            self.transport.write(frame)
            return True
        if not self.pending:
            self._to_boundary = self.peer.skip
            self.peer.out = self._write_to_boundary
        self.pending += frame
        return False

    def _write_to_boundary(self, data: bytes) -> None:
        boundary = self._to_boundary
        if len(data) < boundary:
            self._to_boundary -= len(data)
            self.transport.write(data)
            return
        self.transport.write(data[:boundary] + self.pending)
        self.pending = b""
        if self.sent:
            self.nothing_more()
            self.splice.told(self)
        else:
            self.peer.out = self.transport.write
            self.transport.write(data[boundary:])


# One buffer for all: the loop decrypts into it and calls buffer_updated at once, which copies out what came.
_BUFFER = memoryview(bytearray(64 * 1024))


class TlsLeg(Leg, asyncio.BufferedProtocol):
    """A leg under TLS. uvloop allocates 256 KiB for each read of a plain protocol there, and what that costs is up
    to malloc; into a buffer of ours it decrypts in place. In the clear it is the other way round: handing over bytes
    is the cheaper call."""

    __slots__ = ()

    def get_buffer(self, sizehint: int) -> memoryview:
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(_BUFFER[:nbytes]))
