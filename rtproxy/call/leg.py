"""One leg of a session: its socket, and what the relay itself says on it, always between two frames of the other."""

import asyncio
import socket
from typing import TYPE_CHECKING

from rtproxy.call.closing import VANISHED
from rtproxy.wire.frames import PING, Tap, close_frame, control
from rtproxy.wire.tls import Tls
from rtproxy.wire.wire import Wire, drop

if TYPE_CHECKING:
    from rtproxy.call.splice import Splice

FINISH_LIMIT = 512 * 1024
"""What may still be read to finish the frame that a stalled reader is in the middle of."""
_PING_PAYLOAD = b"rtproxy"


class Leg(Wire):
    """One leg, named ``client`` or ``upstream``. ``closed_with`` is the first Close code on it in either direction.

    ``pending`` are control frames of ours that wait for the other leg's frame to end.
    """

    __slots__ = ("_to_boundary", "closed_with", "heard", "name", "pending", "pinged", "splice")
    peer: "Leg"

    def __init__(self, splice: "Splice", name: str, sock: socket.socket, tls: Tls | None, tap: Tap | None) -> None:
        super().__init__(splice.poller, sock, tls, masked=name == "client", tap=tap)
        self.splice = splice
        self.name = name
        self.pending = b""
        self._to_boundary = 0
        self.pinged = False
        self.heard = 0
        self.closed_with = VANISHED

    def close(self, code: int, reason: str) -> None:
        """Sends our own Close at the next frame boundary, and nothing of the other leg after it.

        Without one where no boundary will come: the other leg is gone in the middle of a frame.
        """
        if self.sent or self.closing:
            return
        if self.peer.gone and self.peer.skip:
            self.break_off()
            return
        self.sent = True
        self.mark(code)
        if self._inject(close_frame(code, reason, masked=self.name == "upstream")):
            self.nothing_more()

    def break_off(self) -> None:
        """Writes nothing further, and hangs up when its side has taken what was said before; `Splice` waits for it."""
        self.sent = True
        self.nothing_more()
        if not sum(self.untaken()):
            self.hang_up()

    def nothing_more(self) -> None:
        """The Close was written: what the other leg still says is read, for its own Close, and dropped."""
        self.peer.out = drop
        self.peer.release()

    def mark(self, code: int) -> None:
        """Keeps the first code of the leg."""
        if self.closed_with == VANISHED:
            self.closed_with = code

    def finish_frame(self) -> None:
        """Lets the other leg finish the frame our Close waits for although this one is full, where that is little."""
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
            self.peer.out = self.keep if self.full else self.send
            if data[boundary:]:
                self.write(data[boundary:])
        return len(data)

    # What the wire tells.

    def halted(self) -> None:
        self.splice.halted(self)

    def ended(self) -> None:
        if self.gone:
            return
        # A peer that sent its Close and then half-closed still reads: the answer is on its way.
        waits = self.got and not self.sent
        self.splice.vanished(self)
        if not waits:
            self.hang_up()

    def filled(self) -> None:
        self.splice.wheel.watch(self)

    def drained(self) -> None:
        self.splice.wheel.unwatch(self)

    def closed(self) -> None:
        self.lost = True
        if self.pending:  # the boundary that our Close waited for never came
            self.closed_with = self.code if self.halt == "close" else VANISHED
        self.peer.release()
        self.splice.vanished(self)
        self.splice.lost(self)

    def failed(self, defect: Exception) -> None:
        context = {"message": f"the {self.name} leg of a call failed", "exception": defect}
        asyncio.get_running_loop().call_exception_handler(context)
        self.splice.end("relay.failed")
        self.abort()
