"""How a call ends: the table of codes, and one machine that knows both sides. No I/O and no clock.

A call ends once, for one cause. Each side then gets at most one Close and nothing after it, the answer to a Close is
awaited, and a socket is closed when what was written to it is out, or when time is up. Each side has four small
machines, which only move to the right and may skip a state:

    said     MORE -> CLOSE | FAULT                     its last words: a Close, or something that it must not send
    stream   OPEN -> OVER                              OVER: nothing arrives any more (end of file, reset, closed)
    told     NOTHING -> LAST -> DUE -> CLOSE | MUTE    what it got of us or, through us, of the other side
    socket   UP -> LEAVING -> DOWN                     LEAVING: it closes as soon as what was written is out

LAST waits until the other side was told, or has answered. DUE is a Close that waits for the end of a frame: one of ours
may not stand inside a frame of the other side's. MUTE is an end without a Close, because that frame will never end.

The methods of `Ending` are the events; each moves a machine, and RULES, applied until none fits, say what follows. A
side reaches the outside through its `Leg`. Codes are RFC 6455 section 7.4 and the IANA registry; docs/endings.md is the
table for users.
"""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, Protocol

VANISHED = 1006
"""The leg ended without a Close. Like 1005 and 1015 it describes what was seen, in logs only."""


class Row(NamedTuple):
    """One row of the table: ``ended_by``, a code a leg (None: nobody is left to tell), the Close's reason."""

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
_BOTH_STAND = ("drain", "call.long")
"""The relay ends the call, and both sides can still answer: what a side goes on saying is no reason to wait for it."""
_FIRM = ("call.long", "client.revoked")
"""A time that is up is up: there is one wait for an answer, whatever moves, and a last one for what is on its way out.
A drain has a window of its own, at whose end it cuts."""


class Said(Enum):
    """A side's last words."""

    MORE, CLOSE, FAULT = range(3)


class Stream(Enum):
    """Whether anything may still arrive from a side."""

    OPEN, OVER = range(2)


class Told(Enum):
    """What a side got as the last frame, or will get."""

    NOTHING, LAST, DUE, CLOSE, MUTE = range(5)


class Socket(Enum):
    """A side's socket."""

    UP, LEAVING, DOWN = range(3)


class Wait(Enum):
    """For what the call waits; `patience.Patience` knows how long that is."""

    ANSWER, LINGER, LAST_WORDS = range(3)


class Lateness(NamedTuple):
    """How things stand when a wait is over.

    ``patient``: waits may still be renewed. Since the wait began, ``moved``: bytes moved on either leg; ``read``: a
    side took some of what was written to it.
    """

    wait: Wait
    patient: bool
    moved: bool
    read: bool


class Leg(Protocol):
    """A side as the machine reaches it. Before they return, these call only `Ending.closing_begins`."""

    @property
    def inside_a_frame(self) -> bool:
        """Whether the side is inside a frame that it sends."""

    @property
    def has_taken_all(self) -> bool:
        """Whether its kernel has all that was written to it."""

    def write_close(self, code: int, reason: str) -> bool:
        """Sends a Close and nothing after it: now (true), or where a frame of the other side ends: `Ending.written`."""

    def pass_close(self) -> None:
        """Sends the other side's Close as it came, and nothing after it."""

    def mute(self) -> None:
        """Sends nothing more."""

    def finish_frame(self) -> None:
        """Reads the frame that a Close for this side waits for to its end, though this side takes nothing."""

    def hang_up(self) -> None:
        """Closes the socket when what was written is out; `Ending.down` follows. May be called again."""

    def abort(self) -> None:
        """Closes the socket now; `Ending.down` follows. May be called again."""


class Patience(Protocol):
    """The clock of a call that ends. `Ending.late` follows, with how things stand."""

    def wait(self, wait: Wait) -> None:
        """Begins a wait, in the place of the one before."""

    def renew_no_more(self) -> None:
        """The wait that goes on is the last one but for what is on its way out."""

    def hurry(self) -> None:
        """Whatever is waited for, after one wait for an answer there is no other."""

    def taking(self) -> tuple[bool, bool]:
        """Whether the client, and the model, took some of what was written to it since the wait began, and has more."""


class Side:
    """What the machine knows of one side. ``code`` is the first of a Close on its leg, in either direction."""

    __slots__ = ("code", "leg", "name", "peer", "said", "said_code", "socket", "stream", "told")
    peer: "Side"

    def __init__(self, name: str, leg: Leg) -> None:
        self.name, self.leg = name, leg
        self.said, self.stream, self.told, self.socket = Said.MORE, Stream.OPEN, Told.NOTHING, Socket.UP
        self.said_code = 0
        self.code = VANISHED

    def mark(self, code: int) -> None:
        """Keeps the first code."""
        if self.code == VANISHED:
            self.code = code

    @property
    def may_be_told(self) -> bool:
        """Whether a frame may still be sent to it."""
        return self.told in (Told.NOTHING, Told.LAST)

    @property
    def closed_with(self) -> int:
        """The code for the summary: of a Close that arrived or was written; one that found no frame's end is none."""
        if self.told in (Told.DUE, Told.MUTE):
            return self.said_code or VANISHED
        return self.code


class Ending:
    """The ending of one call. ``ended_by`` is empty until it begins; ``by_relay``: the relay ended it and both stand.

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

    def let_go(self) -> None:
        """It is over. Its parts hold each other, and would wait for the collector."""
        for side in (self.client, self.upstream):
            del side.peer, side.leg
        del self._patience, self._on_down

    # Events.

    def order(self, cause: str) -> None:
        """The call is to end, for one of ENDINGS; one that is ending already has at most less time."""
        begins = not self.ended_by
        if begins:
            self._begin(cause, Wait.ANSWER if cause in _BOTH_STAND else Wait.LINGER, self.upstream)
        if begins and cause == "call.long":
            self._patience.renew_no_more()
        elif cause in _FIRM:
            self._patience.hurry()
        self._settle()

    def close(self, side: Side, code: int) -> None:
        """``side`` sent a Close. It may come again."""
        if side.said is not Said.MORE:
            return
        side.said, side.said_code = Said.CLOSE, code
        side.mark(code)
        begins, self.ended_by = not self.ended_by, self.ended_by or side.name
        self._settle()
        if begins:
            self._patience.wait(Wait.ANSWER)
        elif self._faulty is side.peer:
            self._patience.wait(Wait.LINGER)

    def fault(self, side: Side, why: str) -> None:
        """``side`` may say no more: ``why`` names a row of ENDINGS. It may come again."""
        if side.said is not Said.MORE:
            return
        side.said = Said.FAULT
        if not self.ended_by:
            # It is told last: the other side may still answer what came before.
            self._faulty = side
            self._begin(f"{side.name}.{why}", Wait.LAST_WORDS, side)
        self._settle()

    def over(self, side: Side) -> None:
        """Nothing more arrives from ``side``. It may come again."""
        if side.stream is Stream.OVER:
            return
        side.stream = Stream.OVER
        if not self.ended_by:
            self._begin(f"{side.name}.vanished", Wait.LINGER, self.upstream)
        self._settle()
        self._patience.wait(Wait.LINGER)

    def written(self, side: Side) -> None:
        """The Close that was due to ``side`` found the end of a frame."""
        if side.told is Told.DUE:
            side.told = Told.CLOSE
            self._tell_last(side.peer)
        self._settle()

    def stalled(self, side: Side) -> None:
        """``side`` has read nothing for too long."""
        self.order(f"{side.name}.stalled")
        if side.told is Told.DUE:
            side.leg.finish_frame()

    def closing_begins(self, side: Side) -> None:
        """The socket of ``side`` closes, whoever wants it. It may come again."""
        if side.socket is Socket.UP:
            side.socket = Socket.LEAVING

    def down(self, side: Side) -> None:
        """The socket of ``side`` is closed."""
        side.socket = Socket.DOWN
        self.over(side)
        if self.is_over:
            self._on_down()

    def cut(self) -> None:
        """The call is to end without waiting for answers; a second time, without waiting for readers either."""
        for side in (self.client, self.upstream):
            if side.socket is Socket.LEAVING:
                side.leg.abort()
        self.order("drain")
        for side in (self.client, self.upstream):
            self._tell_last(side)
        for side in (self.client, self.upstream):
            self._hang_up(side)

    def late(self, lateness: Lateness) -> None:
        """A wait is over."""
        wait, patient = lateness.wait, lateness.patient
        goes_on = patient and (lateness.read if self.by_relay else lateness.moved)
        if wait is not Wait.ANSWER or not goes_on:
            # A frame did not end, or an answer did not come; who is told last need not suffer for it.
            for side in (self.client, self.upstream):
                self._tell_last(side)
        self._settle()
        if wait is Wait.LAST_WORDS:
            self._patience.wait(Wait.LINGER)
            return
        lingers = False
        for side, taking in zip((self.client, self.upstream), self._patience.taking(), strict=True):
            leaving = side.socket is not Socket.UP
            if leaving and not patient:
                side.leg.abort()
            elif wait is Wait.LINGER and patient and taking:
                lingers = True
            elif wait is Wait.LINGER or not (goes_on or leaving):
                self._hang_up(side)
            elif not goes_on:
                side.leg.abort()
        self._patience.wait(Wait.LINGER if lingers or not patient else Wait.ANSWER)

    # What follows from them.

    def _settle(self) -> None:
        again = True
        while again:
            again = False
            for side in (self.client, self.upstream):
                for rule in RULES:
                    if rule.when(self, side, side.peer):
                        rule.then(self, side)
                        again = True

    def _begin(self, cause: str, wait: Wait, last: Side) -> None:
        """The ending begins: ``last`` is told when the other side was."""
        row = self._row = ENDINGS[cause]
        self.ended_by = row.ended_by
        self.by_relay = cause in _BOTH_STAND
        self._patience.wait(wait)
        if last.told is Told.NOTHING and self._code_for(last) is not None:
            last.told = Told.LAST
        if (code := self._code_for(last.peer)) is not None:
            self._tell(last.peer, code, row.reason)

    def _code_for(self, side: Side) -> int | None:
        assert self._row is not None
        return self._row.client_code if side is self.client else self._row.upstream_code

    def _tell(self, side: Side, code: int, reason: str) -> None:
        """Sends a Close, unless ``side`` has one or cannot get one."""
        if not side.may_be_told or side.socket is not Socket.UP:
            return
        if side.peer.stream is Stream.OVER and side.peer.leg.inside_a_frame:
            self._mute(side)
            return
        side.mark(code)
        side.told = Told.CLOSE if side.leg.write_close(code, reason) else Told.DUE

    def _tell_last(self, side: Side) -> None:
        if side.told is Told.LAST:
            assert self._row is not None
            code = self._code_for(side)
            assert code is not None
            self._tell(side, code, self._row.reason)

    def _pass_on(self, side: Side) -> None:
        peer = side.peer
        peer.told = Told.CLOSE
        # A half-closed side may still read this answer; but it vanished, and 1006 is the word.
        if peer.stream is Stream.OPEN:
            peer.mark(side.said_code)
        peer.leg.pass_close()

    def _answer(self, side: Side) -> None:
        self._tell(side, side.said_code, "")

    def _mute(self, side: Side) -> None:
        side.told = Told.MUTE
        side.leg.mute()
        if side.leg.has_taken_all:
            self._hang_up(side)

    def _hang_up(self, side: Side) -> None:
        self.closing_begins(side)
        side.leg.hang_up()


class Rule(NamedTuple):
    """What follows for a side, given itself and its peer. ``then`` makes ``when`` false."""

    when: Callable[[Ending, Side, Side], bool]
    then: Callable[[Ending, Side], None]


def _vanished(side: Side) -> bool:
    """Its stream ended without last words."""
    return side.stream is Stream.OVER and side.said is Said.MORE


def _goes_on(ending: Ending, side: Side, peer: Side) -> bool:
    """Its Close passes on as it came; but to a side that broke the framing goes a Close of ours, which says so."""
    return side.said is Said.CLOSE and peer.told in (Told.NOTHING, Told.LAST) and ending._faulty is not peer


def _is_next(ending: Ending, side: Side, peer: Side) -> bool:
    """Who is told last is told when the other side was; and if it broke the framing, when that has answered too."""
    if side.told is not Told.LAST or side.socket is not Socket.UP or _vanished(side):
        return False
    waits = peer.told is Told.DUE or (side.said is Said.FAULT and peer.said is not Said.CLOSE)
    return peer.stream is Stream.OVER or not waits


def _waits_in_vain(ending: Ending, side: Side, peer: Side) -> bool:
    """The frame that its Close waits for never ends."""
    return side.told is Told.DUE and peer.stream is Stream.OVER


def _needs_our_answer(ending: Ending, side: Side, peer: Side) -> bool:
    """It sent a Close, and the side to answer it is gone."""
    unanswered = side.said is Said.CLOSE and side.told is Told.NOTHING
    return unanswered and side.socket is Socket.UP and peer.stream is Stream.OVER


def _is_done(ending: Ending, side: Side, peer: Side) -> bool:
    """It sent a Close and gets no other frame; or it is gone, and waits for no answer to what it said last."""
    has_both = side.said is Said.CLOSE and side.told in (Told.CLOSE, Told.MUTE)
    unanswered = side.said is not Said.MORE and side.told in (Told.NOTHING, Told.LAST)
    return side.socket is Socket.UP and (has_both or (side.stream is Stream.OVER and not unanswered))


RULES = (
    Rule(_goes_on, Ending._pass_on),
    Rule(_is_next, Ending._tell_last),
    Rule(_waits_in_vain, Ending._mute),
    Rule(_needs_our_answer, Ending._answer),
    Rule(_is_done, Ending._hang_up),
)
