"""One leg of a call: its socket, the flow from it, the flow to it, and the relay's own frames to it."""

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
"""The most bytes that are read to finish the frame that a stalled side has received a part of."""
_PING_PAYLOAD = b"rtproxy"


class Runtime(NamedTuple):
    """What all calls of a replica run on: poller, heartbeats, clock and limits."""

    poller: Watcher
    wheel: Wheel
    clock: Clock
    times: Times
    allowance: Allowance


class Call(Protocol):
    """The call of a leg (`splice.Splice`)."""

    @property
    def runtime(self) -> Runtime: ...

    @property
    def ending(self) -> Ending: ...

    def side_of(self, leg: "Leg") -> Side:
        """The state of a leg in the ending."""


class Leg:
    """One leg, named ``client`` or ``upstream``: ``inbound`` reads from its socket, ``outbound`` writes to it.

    The outbox is made when it is first needed: a leg that only passes frames has none.
    """

    __slots__ = ("_call", "_outbox", "_pinged", "_received_before", "inbound", "name", "outbound", "socket")
    inbound: Flow
    outbound: Flow

    def __init__(self, call: Call, name: str, sock: socket.socket, tls: Tls | None) -> None:
        self._call, self.name = call, name
        self.socket = Socket(call.runtime.poller, sock, tls)
        self.socket.owner = self
        self._outbox: Outbox | None = None
        self._pinged = False
        self._received_before = 0

    def drop_references(self) -> None:
        """The call is over. Its parts refer to each other, and the collector would free them late."""
        self._outbox = None
        del self.inbound, self.outbound, self._call, self.socket.owner

    # Called by the ending (`ending.Leg`).

    @property
    def inside_a_frame(self) -> bool:
        return self.inbound.reader.skip > 0

    @property
    def all_delivered(self) -> bool:
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

    # Called by the heartbeat.

    def ping(self) -> bool:
        """Does one heartbeat. Returns false when the side has sent nothing since the ping of the last heartbeat."""
        received = self.inbound.reader.count.bytes
        if self.socket.full or self.inbound.held:
            # Neither a ping nor a pong can pass now; the watch for stalled legs covers this leg.
            self._pinged = False
        elif self._pinged and received == self._received_before:
            return False
        else:
            self._pinged = self._send_ping()
        self._received_before = received
        return True

    def stalled(self) -> None:
        """The side has read nothing for too long."""
        self._call.ending.stalled(self._side)

    def undelivered(self) -> tuple[int, ...]:
        """See `Socket.undelivered`."""
        return self.socket.undelivered()

    def progress(self) -> tuple[int, ...]:
        """Changes whenever bytes move on this leg: when they arrive, leave the relay, or leave the kernel."""
        return (self.inbound.reader.count.bytes, *self.socket.undelivered())

    # Called by the socket and by the flow from it (`socket.Owner`).

    def filled(self) -> None:
        self.inbound.fast = False
        self.outbound.sink_filled()
        self._call.runtime.wheel.watch(self)

    def drained(self) -> None:
        self.outbound.sink_drained()
        self._call.runtime.wheel.unwatch(self)
        self._resume()

    def closing_begins(self) -> None:
        self.inbound.source_closes()
        self.outbound.drop()
        self._call.ending.closing_begins(self._side)

    def closed(self) -> None:
        self._call.ending.socket_closed(self._side)

    def halted(self) -> None:
        reader = self.inbound.reader
        if reader.halt == "close":
            self._call.ending.close_received(self._side, reader.code)
        else:
            self._call.ending.fault_received(self._side, reader.halt)

    def ended(self) -> None:
        self._call.ending.stream_ended(self._side)

    def failed(self, defect: Exception) -> None:
        context = {"message": f"the {self.name} leg of a call failed", "exception": defect}
        self._call.runtime.clock.call_exception_handler(context)
        self._call.ending.end("relay.failed")
        self.abort()

    # Called by the outbox (`outbox.Owner`).

    def close_written(self) -> None:
        self._call.ending.close_written(self._side)

    def message_done(self) -> None:
        self._resume()

    # Called by the gate (`gated.Owner`).

    def refuse(self, refusal: bytes) -> None:
        """Sends a message of the relay to the side, which is not read until the message is sent."""
        self.inbound.reader.count.refused += 1
        self.inbound.hold(PAUSED)
        if self._side.can_be_sent_to and not self.socket.closing:
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
        """Returns true when the ping is sent; otherwise it waits for the end of a frame, or another ping does."""
        ping = control(PING, _PING_PAYLOAD, masked=self.name == "upstream")
        if self.outbound.reader.skip == 0:
            self.socket.write(ping)
            return True
        outbox = self._own_frames()
        return not outbox.control_waits and outbox.send(ping)
