"""How a call ends: the table of close codes, and one state machine for both sides. It does no I/O and has no clock.

A call ends once, for one cause. Each side is then sent at most one Close and nothing after it. The answer to a Close is
awaited. A socket is closed when everything written to it is sent, or when the time is up. Each side has four small
machines, which only move to the right and may skip a state:

    received  MORE -> CLOSE | FAULT                       the last frame from it: a Close, or one that is not allowed
    stream    OPEN -> OVER                                OVER: nothing more arrives (end of file, reset, closed)
    sent      NOTHING -> SECOND -> DUE -> CLOSE | MUTE    the last frame to it, from the relay or from the other side
    socket    UP -> LEAVING -> DOWN                       LEAVING: it closes when everything written is sent

SECOND: this side is sent its Close after the other side was sent one, or has answered one. DUE: a Close waits for the
end of a frame, because the relay's frame must not stand inside a frame of the other side. MUTE: nothing more is sent,
and no Close, because that frame will never end.

The methods of `Ending` are the events. Each moves a machine; then RULES are applied until none fits. A side reaches the
outside through its `Leg`. Codes are from RFC 6455 section 7.4 and the IANA registry; docs/endings.md has the table for
users.
"""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, Protocol

VANISHED = 1006
"""The leg ended without a Close. Like 1005 and 1015, this code is for logs only."""


class Row(NamedTuple):
    """One row of the table: ``ended_by``, the close code for each leg (None: it is gone), the Close's reason."""

    ended_by: str
    client_code: int | None
    upstream_code: int | None
    reason: str


ENDINGS = {
    "client.vanished": Row("client", None, 1001, "client went away"),
    "upstream.vanished": Row("upstream", 1011, None, "upstream went away"),
    "drain": Row("drain", 1012, 1001, "revision draining, reconnect"),
    "call.long": Row("limit", 1008, 1001, "the call has lasted as long as one may"),
    "client.revoked": Row("limit", 1008, 1001, "the client's key was taken away"),
    "client.too_big": Row("limit", 1009, 1001, "frame over 16 MiB"),
    "upstream.too_big": Row("limit", 1011, 1009, "frame over 16 MiB"),
    "client.flood": Row("limit", 1008, 1001, "too many small frames"),
    "upstream.flood": Row("limit", 1011, 1008, "too many small frames"),
    "client.no_room": Row("limit", 1013, 1001, "no room for a message of this length now"),
    "client.unfinished": Row("limit", 1008, 1001, "a message took longer than 60 s"),
    "client.stalled": Row("limit", 1008, 1001, "reader stalled for 30 s"),
    "upstream.stalled": Row("limit", 1011, 1008, "reader stalled for 30 s"),
    "client.silent": Row("heartbeat", 1011, 1001, "no answer to a ping"),
    "upstream.silent": Row("heartbeat", 1011, 1011, "no answer to a ping"),
    "client.fault": Row("error", 1002, 1001, "framing fault"),
    "upstream.fault": Row("error", 1011, 1002, "framing fault"),
    "relay.failed": Row("error", 1011, 1001, "relay failed"),
}
_BOTH_CAN_ANSWER = ("drain", "call.long")
"""Causes for which the relay ends the call while both sides can still answer. Other frames that a side goes on sending
are then no reason to wait longer for its answer."""
_ONE_WAIT = ("call.long", "client.revoked")
"""Causes with a fixed end: there is one wait for an answer, even if bytes move, and a last wait until everything
written is sent. A drain has its own deadline."""


class Received(Enum):
    """What a side has sent last."""

    MORE, CLOSE, FAULT = range(3)


class Stream(Enum):
    """Whether anything can still arrive from a side."""

    OPEN, OVER = range(2)


class Sent(Enum):
    """What a side was sent last, or will be sent."""

    NOTHING, SECOND, DUE, CLOSE, MUTE = range(5)


class Socket(Enum):
    """The socket of a side."""

    UP, LEAVING, DOWN = range(3)


class Wait(Enum):
    """What the call waits for; `patience.Times` has the lengths.

    ANSWER: the answer to a Close. LINGER: a side whose peer is gone, or whose answer is late, to finish. AFTER_FAULT:
    the side that did not break the framing to answer.
    """

    ANSWER, LINGER, AFTER_FAULT = range(3)


class Timeout(NamedTuple):
    """The state of the call when a wait is over.

    ``renewable``: waits may still be renewed. Since the wait began, ``bytes_moved``: bytes moved on either leg;
    ``bytes_read``: a side read some of what was written to it.
    """

    wait: Wait
    renewable: bool
    bytes_moved: bool
    bytes_read: bool


class Leg(Protocol):
    """A side's connection, as the machine uses it. These methods call back only `Ending.closing_begins`."""

    @property
    def inside_a_frame(self) -> bool:
        """Whether the side has sent only a part of a frame."""

    @property
    def all_delivered(self) -> bool:
        """Whether the side's kernel has everything that was written to it."""

    def write_close(self, code: int, reason: str) -> bool:
        """Sends a Close and nothing after it. Returns true, or false when it waits for the end of a frame.

        `Ending.close_written` follows in the second case.
        """

    def pass_close(self) -> None:
        """Sends the other side's Close unchanged, and nothing after it."""

    def mute(self) -> None:
        """Sends nothing more."""

    def finish_frame(self) -> None:
        """Reads the frame for whose end this side's Close waits, although this side reads nothing."""

    def hang_up(self) -> None:
        """Closes the socket when everything written is sent; `Ending.socket_closed` follows. May be called again."""

    def abort(self) -> None:
        """Closes the socket now; `Ending.socket_closed` follows. May be called again."""


class Patience(Protocol):
    """The clock of a call that ends. After each wait it calls `Ending.timed_out`."""

    def wait(self, wait: Wait) -> None:
        """Begins a wait, and cancels the one before."""

    def stop_renewing(self) -> None:
        """Makes the current wait the last one, but for the wait until everything written is sent."""

    def limit_to_one_wait(self) -> None:
        """Allows one wait for an answer from now on, whatever the call waits for."""

    def still_reading(self) -> tuple[bool, bool]:
        """For client and model: whether it has read some of what was written since the wait began, but not all."""


class Side:
    """What the machine knows of one side. ``code`` is that of the first Close on its leg, in either direction."""

    __slots__ = ("code", "leg", "name", "peer", "received", "received_code", "sent", "socket", "stream")
    peer: "Side"

    def __init__(self, name: str, leg: Leg) -> None:
        self.name, self.leg = name, leg
        self.received, self.stream, self.sent, self.socket = Received.MORE, Stream.OPEN, Sent.NOTHING, Socket.UP
        self.received_code = 0
        self.code = VANISHED

    def mark(self, code: int) -> None:
        """Keeps the first code."""
        if self.code == VANISHED:
            self.code = code

    @property
    def can_be_sent_to(self) -> bool:
        """Whether a frame may still be sent to it."""
        return self.sent in (Sent.NOTHING, Sent.SECOND)

    @property
    def closed_with(self) -> int:
        """The code for the summary: of a Close that arrived or was written. A Close that is DUE was not written."""
        if self.sent in (Sent.DUE, Sent.MUTE):
            return self.received_code or VANISHED
        return self.code


class Ending:
    """The ending of one call.

    ``ended_by`` is empty until it begins. ``by_relay``: the relay ended it, and both sides can answer.

    ``on_down`` is called once, when both sockets are closed.
    """

    __slots__ = ("_faulty", "_on_down", "_patience", "_row", "by_relay", "client", "ended_by", "upstream")

    def __init__(self, client: Leg, upstream: Leg, patience: Patience, on_down: Callable[[], None]) -> None:
        self.client, self.upstream = Side("client", client), Side("upstream", upstream)
        self.client.peer, self.upstream.peer = self.upstream, self.client
        self._patience, self._on_down = patience, on_down
        self._row: Row | None = None
        self._faulty: Side | None = None
        self.by_relay = False
        self.ended_by = ""

    @property
    def is_over(self) -> bool:
        """Whether both sockets are closed."""
        return self.client.socket is self.upstream.socket is Socket.DOWN

    def drop_references(self) -> None:
        """Drops references between the parts of an ended call, which the garbage collector would free late."""
        for side in (self.client, self.upstream):
            del side.peer, side.leg
        del self._patience, self._on_down

    # The events.

    def end(self, cause: str) -> None:
        """Ends the call, for a cause of ENDINGS. An ending that has begun can only become shorter."""
        begins = not self.ended_by
        if begins:
            self._begin(cause, Wait.ANSWER if cause in _BOTH_CAN_ANSWER else Wait.LINGER, self.upstream)
        if begins and cause == "call.long":
            self._patience.stop_renewing()
        elif cause in _ONE_WAIT:
            self._patience.limit_to_one_wait()
        self._apply_rules()

    def close_received(self, side: Side, code: int) -> None:
        """``side`` sent a Close. May come again."""
        if side.received is not Received.MORE:
            return
        side.received, side.received_code = Received.CLOSE, code
        side.mark(code)
        begins, self.ended_by = not self.ended_by, self.ended_by or side.name
        self._apply_rules()
        if begins:
            self._patience.wait(Wait.ANSWER)
        elif self._faulty is side.peer:
            self._patience.wait(Wait.LINGER)

    def fault_received(self, side: Side, why: str) -> None:
        """``side`` sent what it must not send: ``why`` names a row of ENDINGS. May come again."""
        if side.received is not Received.MORE:
            return
        side.received = Received.FAULT
        if not self.ended_by:
            # The faulty side is sent its Close second: the other side may still answer what came before the fault.
            self._faulty = side
            self._begin(f"{side.name}.{why}", Wait.AFTER_FAULT, side)
        self._apply_rules()

    def stream_ended(self, side: Side) -> None:
        """Nothing more arrives from ``side``. May come again."""
        if side.stream is Stream.OVER:
            return
        side.stream = Stream.OVER
        if not self.ended_by:
            self._begin(f"{side.name}.vanished", Wait.LINGER, self.upstream)
        self._apply_rules()
        self._patience.wait(Wait.LINGER)

    def close_written(self, side: Side) -> None:
        """The Close that was DUE to ``side`` is written."""
        if side.sent is Sent.DUE:
            side.sent = Sent.CLOSE
            self._send_second_close(side.peer)
        self._apply_rules()

    def stalled(self, side: Side) -> None:
        """``side`` has read nothing for too long."""
        self.end(f"{side.name}.stalled")
        if side.sent is Sent.DUE:
            side.leg.finish_frame()

    def closing_begins(self, side: Side) -> None:
        """The socket of ``side`` is closing, for whatever reason. May come again."""
        if side.socket is Socket.UP:
            side.socket = Socket.LEAVING

    def socket_closed(self, side: Side) -> None:
        """The socket of ``side`` is closed."""
        side.socket = Socket.DOWN
        self.stream_ended(side)
        if self.is_over:
            self._on_down()

    def cut(self) -> None:
        """Ends the call without waiting for answers; the second time, without waiting for readers either."""
        for side in (self.client, self.upstream):
            if side.socket is Socket.LEAVING:
                side.leg.abort()
        self.end("drain")
        for side in (self.client, self.upstream):
            self._send_second_close(side)
        for side in (self.client, self.upstream):
            self._hang_up(side)

    def timed_out(self, timeout: Timeout) -> None:
        """A wait is over."""
        wait, renewable = timeout.wait, timeout.renewable
        renewed = renewable and (timeout.bytes_read if self.by_relay else timeout.bytes_moved)
        if wait is not Wait.ANSWER or not renewed:
            # A frame did not end, or an answer did not come; the side that is second does not wait any longer.
            for side in (self.client, self.upstream):
                self._send_second_close(side)
        self._apply_rules()
        if wait is Wait.AFTER_FAULT:
            self._patience.wait(Wait.LINGER)
            return
        lingers = False
        for side, still_reading in zip((self.client, self.upstream), self._patience.still_reading(), strict=True):
            leaving = side.socket is not Socket.UP
            if leaving and not renewable:
                side.leg.abort()
            elif wait is Wait.LINGER and renewable and still_reading:
                lingers = True
            elif wait is Wait.LINGER or not (renewed or leaving):
                self._hang_up(side)
            elif not renewed:
                side.leg.abort()
        self._patience.wait(Wait.LINGER if lingers or not renewable else Wait.ANSWER)

    # What follows from the events.

    def _apply_rules(self) -> None:
        again = True
        while again:
            again = False
            for side in (self.client, self.upstream):
                for rule in RULES:
                    if rule.when(self, side, side.peer):
                        rule.then(self, side)
                        again = True

    def _begin(self, cause: str, wait: Wait, second: Side) -> None:
        """The ending begins: ``second`` is sent its Close after the other side."""
        row = self._row = ENDINGS[cause]
        self.ended_by = row.ended_by
        self.by_relay = cause in _BOTH_CAN_ANSWER
        self._patience.wait(wait)
        if second.sent is Sent.NOTHING and self._code_for(second) is not None:
            second.sent = Sent.SECOND
        if (code := self._code_for(second.peer)) is not None:
            self._send_close(second.peer, code, row.reason)

    def _code_for(self, side: Side) -> int | None:
        assert self._row is not None
        return self._row.client_code if side is self.client else self._row.upstream_code

    def _send_close(self, side: Side, code: int, reason: str) -> None:
        """Sends a Close, unless ``side`` was sent one, or can be sent none."""
        if not side.can_be_sent_to or side.socket is not Socket.UP:
            return
        if side.peer.stream is Stream.OVER and side.peer.leg.inside_a_frame:
            self._mute(side)
            return
        side.mark(code)
        side.sent = Sent.CLOSE if side.leg.write_close(code, reason) else Sent.DUE

    def _send_second_close(self, side: Side) -> None:
        if side.sent is Sent.SECOND:
            assert self._row is not None
            code = self._code_for(side)
            assert code is not None
            self._send_close(side, code, self._row.reason)

    def _pass_close(self, side: Side) -> None:
        peer = side.peer
        peer.sent = Sent.CLOSE
        # A half-closed side may still read this answer; but it vanished, and the summary has 1006 for it.
        if peer.stream is Stream.OPEN:
            peer.mark(side.received_code)
        peer.leg.pass_close()

    def _answer_close(self, side: Side) -> None:
        self._send_close(side, side.received_code, "")

    def _mute(self, side: Side) -> None:
        side.sent = Sent.MUTE
        side.leg.mute()
        if side.leg.all_delivered:
            self._hang_up(side)

    def _hang_up(self, side: Side) -> None:
        self.closing_begins(side)
        side.leg.hang_up()


class Rule(NamedTuple):
    """What follows for a side: when ``when`` holds for it and its peer, ``then`` is done, and makes ``when`` false."""

    when: Callable[[Ending, Side, Side], bool]
    then: Callable[[Ending, Side], None]


def _vanished(side: Side) -> bool:
    """The side's stream ended without a Close or a fault."""
    return side.stream is Stream.OVER and side.received is Received.MORE


def _close_passes(ending: Ending, side: Side, peer: Side) -> bool:
    """The side's Close is passed on unchanged; but a side that broke the framing is sent a Close that says so."""
    return side.received is Received.CLOSE and peer.can_be_sent_to and ending._faulty is not peer


def _second_is_due(ending: Ending, side: Side, peer: Side) -> bool:
    """The other side was sent its Close, or is gone; after a framing fault, it has answered, too."""
    if side.sent is not Sent.SECOND or side.socket is not Socket.UP or _vanished(side):
        return False
    waits = peer.sent is Sent.DUE or (side.received is Received.FAULT and peer.received is not Received.CLOSE)
    return peer.stream is Stream.OVER or not waits


def _frame_never_ends(ending: Ending, side: Side, peer: Side) -> bool:
    """The side's Close waits for the end of a frame that never ends."""
    return side.sent is Sent.DUE and peer.stream is Stream.OVER


def _needs_our_answer(ending: Ending, side: Side, peer: Side) -> bool:
    """The side sent a Close, and the other side, which should answer it, is gone."""
    awaits_answer = side.received is Received.CLOSE and side.sent is Sent.NOTHING
    return awaits_answer and side.socket is Socket.UP and peer.stream is Stream.OVER


def _is_done(ending: Ending, side: Side, peer: Side) -> bool:
    """The side sent a Close and was sent its last frame; or its stream ended, and it waits for no answer."""
    has_both = side.received is Received.CLOSE and side.sent in (Sent.CLOSE, Sent.MUTE)
    awaits_answer = side.received is not Received.MORE and side.can_be_sent_to
    return side.socket is Socket.UP and (has_both or (side.stream is Stream.OVER and not awaits_answer))


RULES = (
    Rule(_close_passes, Ending._pass_close),
    Rule(_second_is_due, Ending._send_second_close),
    Rule(_frame_never_ends, Ending._mute),
    Rule(_needs_our_answer, Ending._answer_close),
    Rule(_is_done, Ending._hang_up),
)
