"""One leg of a call: its socket, the flow that it reads, the flow that it hears, and our own frames on it."""

import socket

from rtproxy.call.ending import Ending, Side
from rtproxy.call.heartbeat import Wheel
from rtproxy.wire.clock import Clock
from rtproxy.wire.flow import FULL, PAUSED, Flow
from rtproxy.wire.frames import PING, close_frame, control
from rtproxy.wire.outbox import Outbox
from rtproxy.wire.poller import Watcher
from rtproxy.wire.socket import Socket
from rtproxy.wire.tls import Tls

FINISH_LIMIT = 512 * 1024
"""What may still be read to finish the frame that a stalled reader is in the middle of."""
_PING_PAYLOAD = b"rtproxy"


class Leg:
    """One leg, named ``client`` or ``upstream``; `Splice` sets the rest of it.

    ``says`` reads from its socket, ``hears`` writes to it, beside ``outbox``; ``side`` is what ``ending`` knows of it.
    """

    __slots__ = ("_clock", "_heard", "_pinged", "_wheel", "ending", "hears", "name", "outbox", "says", "side", "socket")
    says: Flow
    hears: Flow
    outbox: Outbox
    ending: Ending
    side: Side

    def __init__(
        self, name: str, poller: Watcher, clock: Clock, wheel: Wheel, sock: socket.socket, tls: Tls | None
    ) -> None:
        self.name = name
        self._clock, self._wheel = clock, wheel
        self.socket = Socket(poller, sock, tls)
        self.socket.owner = self
        self._pinged = False
        self._heard = 0

    # What the ending of the call wants of it (`ending.Leg`).

    @property
    def inside_a_frame(self) -> bool:
        return self.says.reader.skip > 0

    @property
    def has_taken_all(self) -> bool:
        return not sum(self.socket.untaken())

    def write_close(self, code: int, reason: str) -> bool:
        return self.outbox.send(close_frame(code, reason, masked=self.name == "upstream"), last=True)

    def pass_close(self) -> None:
        if not self.socket.closing:
            self.socket.write(self.hears.reader.close)
        self.outbox.stop()

    def mute(self) -> None:
        self.outbox.stop()

    def finish_frame(self) -> None:
        if self.hears.reader.skip <= FINISH_LIMIT:
            self.hears.release(FULL)

    def hang_up(self) -> None:
        self.socket.hang_up()

    def abort(self) -> None:
        self.socket.abort()

    # What the heartbeat wants.

    def ping(self) -> bool:
        """One heartbeat; false when the leg was pinged a beat ago and has said nothing since."""
        received = self.says.count.bytes
        if self.socket.full or self.says.held:
            # Neither our ping nor a pong can get through: the stall watch has this leg.
            self._pinged = False
        elif self._pinged and received == self._heard:
            return False
        else:
            ping = control(PING, _PING_PAYLOAD, masked=self.name == "upstream")
            self._pinged = not self.outbox.waits and self.outbox.send(ping)
        self._heard = received
        return True

    def stalled(self) -> None:
        """It took no byte for too long."""
        self.ending.stalled(self.side)

    def untaken(self) -> tuple[int, ...]:
        """See `Socket.untaken`."""
        return self.socket.untaken()

    def progress(self) -> tuple[int, ...]:
        """Changes whenever bytes moved on this leg: arrived, left the relay, or left the kernel."""
        return (self.says.count.bytes, *self.socket.untaken())

    # What the socket tells (`socket.Owner`).

    def filled(self) -> None:
        self.says.reader.calm = False
        self.hears.fill()
        self._wheel.watch(self)

    def drained(self) -> None:
        self.hears.drain()
        self._wheel.unwatch(self)
        self._resume()

    def leaves(self) -> None:
        self.says.stop()
        self.hears.drop()
        self.ending.leaves(self.side)

    def closed(self) -> None:
        self.ending.down(self.side)

    # What the flow from it tells (`flow.Owner`).

    def halted(self) -> None:
        reader = self.says.reader
        if reader.halt == "close":
            self.ending.close(self.side, reader.code)
        else:
            self.ending.fault(self.side, reader.halt)

    def ended(self) -> None:
        self.ending.over(self.side)

    def failed(self, defect: Exception) -> None:
        context = {"message": f"the {self.name} leg of a call failed", "exception": defect}
        self._clock.call_exception_handler(context)
        self.ending.order("relay.failed")
        self.abort()

    # What the outbox tells (`outbox.Owner`).

    def close_written(self) -> None:
        self.ending.written(self.side)

    def message_done(self) -> None:
        self._resume()

    # A gate's refusals.

    def refuse(self, refusal: bytes) -> None:
        """Sends a message of ours; until it is out, the side is not read."""
        self.says.count.refused += 1
        self.says.hold(PAUSED)
        if self.side.may_be_told and not self.socket.closing:
            self.outbox.send_message(refusal)
        self._resume()

    def _resume(self) -> None:
        if self.says.held & PAUSED and not (self.socket.full or self.outbox.message or self.socket.closing):
            self.says.resume()
