"""One leg of a call: its socket, the flow that it reads, the flow that it hears, and our own frames on it."""

import socket
from typing import NamedTuple, Protocol

from rtproxy.call.ending import Ending, Side
from rtproxy.call.heartbeat import Wheel
from rtproxy.call.patience import Times
from rtproxy.wire.clock import Clock
from rtproxy.wire.credit import Allowance
from rtproxy.wire.flow import FULL, PAUSED, Flow
from rtproxy.wire.frames import PING, close_frame, control
from rtproxy.wire.outbox import Outbox
from rtproxy.wire.poller import Watcher
from rtproxy.wire.socket import Socket
from rtproxy.wire.tls import Tls

FINISH_LIMIT = 512 * 1024
"""What may still be read to finish the frame that a stalled reader is in the middle of."""
_PING_PAYLOAD = b"rtproxy"


class Means(NamedTuple):
    """What the calls of a replica are carried with."""

    poller: Watcher
    wheel: Wheel
    clock: Clock
    times: Times
    allowance: Allowance


class Call(Protocol):
    """The call of a leg (`splice.Splice`)."""

    @property
    def means(self) -> Means: ...

    @property
    def ending(self) -> Ending: ...

    def side_of(self, leg: "Leg") -> Side:
        """What the ending knows of a leg."""


class Leg:
    """One leg, named ``client`` or ``upstream``: ``inbound`` reads from its socket, ``outbound`` writes to it.

    Its outbox and the ending are made when they are needed first: a call that only carries frames pays for neither.
    """

    __slots__ = ("_call", "_heard", "_outbox", "_pinged", "inbound", "name", "outbound", "socket")
    inbound: Flow
    outbound: Flow

    def __init__(self, call: Call, name: str, sock: socket.socket, tls: Tls | None) -> None:
        self._call, self.name = call, name
        self.socket = Socket(call.means.poller, sock, tls)
        self.socket.owner = self
        self._outbox: Outbox | None = None
        self._pinged = False
        self._heard = 0

    def let_go(self) -> None:
        """The call is over. Its parts hold each other, and would wait for the collector."""
        self._outbox = None
        del self.inbound, self.outbound, self._call, self.socket.owner

    # What the ending of the call wants of it (`ending.Leg`).

    @property
    def inside_a_frame(self) -> bool:
        return self.inbound.reader.skip > 0

    @property
    def has_taken_all(self) -> bool:
        return not sum(self.socket.undelivered())

    def write_close(self, code: int, reason: str) -> bool:
        return self._own_frames().send(close_frame(code, reason, masked=self.name == "upstream"), last=True)

    def pass_close(self) -> None:
        if not self.socket.closing:
            self.socket.write(self.outbound.reader.close)
        self._own_frames().stop()

    def mute(self) -> None:
        self._own_frames().stop()

    def finish_frame(self) -> None:
        if self.outbound.reader.skip <= FINISH_LIMIT:
            self.outbound.release(FULL)

    def hang_up(self) -> None:
        self.socket.hang_up()

    def abort(self) -> None:
        self.socket.abort()

    # What the heartbeat wants.

    def ping(self) -> bool:
        """One heartbeat; false when the leg was pinged a beat ago and nothing has arrived since."""
        received = self.inbound.reader.count.bytes
        if self.socket.full or self.inbound.held:
            # Neither our ping nor a pong can get through: the stall watch has this leg.
            self._pinged = False
        elif self._pinged and received == self._heard:
            return False
        else:
            self._pinged = self._send_ping()
        self._heard = received
        return True

    def stalled(self) -> None:
        """It took no byte for too long."""
        self._call.ending.stalled(self._side)

    def undelivered(self) -> tuple[int, ...]:
        """See `Socket.undelivered`."""
        return self.socket.undelivered()

    def progress(self) -> tuple[int, ...]:
        """Changes whenever bytes moved on this leg: arrived, left the relay, or left the kernel."""
        return (self.inbound.reader.count.bytes, *self.socket.undelivered())

    # What the socket tells (`socket.Owner`).

    def filled(self) -> None:
        self.inbound.reader.fast = False
        self.outbound.sink_filled()
        self._call.means.wheel.watch(self)

    def drained(self) -> None:
        self.outbound.sink_drained()
        self._call.means.wheel.unwatch(self)
        self._resume()

    def closing_begins(self) -> None:
        self.inbound.source_closes()
        self.outbound.drop()
        self._call.ending.closing_begins(self._side)

    def closed(self) -> None:
        self._call.ending.down(self._side)

    def halted(self) -> None:
        reader = self.inbound.reader
        if reader.halt == "close":
            self._call.ending.close(self._side, reader.code)
        else:
            self._call.ending.fault(self._side, reader.halt)

    def ended(self) -> None:
        self._call.ending.over(self._side)

    def failed(self, defect: Exception) -> None:
        context = {"message": f"the {self.name} leg of a call failed", "exception": defect}
        self._call.means.clock.call_exception_handler(context)
        self._call.ending.order("relay.failed")
        self.abort()

    # What the outbox tells (`outbox.Owner`).

    def close_written(self) -> None:
        self._call.ending.written(self._side)

    def message_done(self) -> None:
        self._resume()

    # A gate's refusals.

    def refuse(self, refusal: bytes) -> None:
        """Sends a message of ours; until it is out, the side is not read."""
        self.inbound.reader.count.refused += 1
        self.inbound.hold(PAUSED)
        if self._side.may_be_told and not self.socket.closing:
            self._own_frames().send_message(refusal)
        self._resume()

    def _resume(self) -> None:
        message_waits = self._outbox is not None and self._outbox.message
        if self.inbound.held & PAUSED and not (self.socket.full or message_waits or self.socket.closing):
            self.inbound.resume()

    @property
    def _side(self) -> Side:
        return self._call.side_of(self)

    def _own_frames(self) -> Outbox:
        if self._outbox is None:
            self._outbox = Outbox(self.outbound, self)
        return self._outbox

    def _send_ping(self) -> bool:
        """True when it is out; else it waits for the end of a frame, or another one does."""
        ping = control(PING, _PING_PAYLOAD, masked=self.name == "upstream")
        if self.outbound.reader.skip == 0:
            self.socket.write(ping)
            return True
        outbox = self._own_frames()
        return not outbox.control_waits and outbox.send(ping)
