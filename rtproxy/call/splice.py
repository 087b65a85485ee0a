"""Two legs joined, from the moment both sockets are ours until both are closed.

Invariants, each with a test: both legs are always read or held back by backpressure; a leg gets at most one Close and
nothing after it; a Close passes on unchanged and its answer is awaited; when one leg is gone the other follows within
a second; what a session holds in memory is bounded by constants.
"""

import asyncio
from collections.abc import Callable

from rtproxy.call.closing import ENDINGS, Ending
from rtproxy.call.gated import GatedLeg
from rtproxy.call.heartbeat import Wheel
from rtproxy.call.leg import Leg
from rtproxy.call.room import Share
from rtproxy.model.tap import CallerTap, ModelTap, no_audio
from rtproxy.model.turns import Turns, no_messages
from rtproxy.wire.poller import Poller
from rtproxy.wire.takeover import Taken

LINGER_S = 0.5
"""A leg whose other side is gone, or does not answer, has this long to answer its Close, and as long again while it
takes what was said before that: a socket that is closed on somebody who talks is reset, and drops what it holds."""
LAST_WORDS_S = 0.25
"""When one leg broke the framing, the other one has this long to answer what was said before; both end in a second."""
ANSWER_S = 5.0
"""While both legs stand, the answer to a Close may take this long, and longer while bytes still move; where the relay
ended the call, while a side still reads what was said to it: what it says itself is no reason to wait."""
PATIENCE_S = 60.0
"""For how long those waits are renewed at most: a peer that trickles cannot hold a session for ever."""
_BOTH_STAND = ("drain", "call.long")
_FIRM = ("call.long", "client.revoked")
"""A time that is up is up: there is ANSWER_S, whatever moves, and LINGER_S for what is on its way out. A drain has a
window of its own, at whose end it cuts."""


class Splice:
    """Joins a client's and the model's socket. ``on_end`` is called once, when both are closed.

    ``client_events`` are the types of events that may go to the model; none: whatever it is, unread. What is withheld
    of them takes its ``share`` of the room.
    ``last`` is the leg that is told of the ending only when the other one was.
    """

    __slots__ = (
        "_by_relay",
        "_give_up_at",
        "_limit",
        "_on_end",
        "_progress",
        "_reading",
        "_timer",
        "client",
        "ended_by",
        "last",
        "poller",
        "slot",
        "turns",
        "upstream",
        "wheel",
    )

    def __init__(
        self,
        client: Taken,
        upstream: Taken,
        turns: Turns,
        poller: Poller,
        wheel: Wheel,
        on_end: Callable[[], None],
        client_events: frozenset[str] = frozenset(),
        share: Share | None = None,
    ) -> None:
        self.poller, self.wheel = poller, wheel
        self.slot = 0
        self.ended_by = ""
        self.last: tuple[Leg, Ending] | None = None
        self._on_end = on_end
        self._timer: asyncio.TimerHandle | None = None
        self._give_up_at = 0.0
        self._by_relay = False
        self._limit: asyncio.TimerHandle | None = None
        self._progress: tuple[tuple[int, ...], ...] = ()
        self.turns = turns
        self._reading: CallerTap | None = None
        if client_events:
            assert share is not None
            self.client: Leg = GatedLeg(self, client.sock, client.tls, client_events, turns.ask, share)
        else:
            self._reading = CallerTap(turns)
            self.client = Leg(self, "client", client.sock, client.tls, self._reading)
            self._reading.on_audio = self.client.expect
            self.client.shortest = self.client.longest = 0  # nothing passes unseen before audio was seen
            turns.messages = self.client.messages
        self.upstream = Leg(self, "upstream", upstream.sock, upstream.tls, ModelTap(turns))
        self.client.peer, self.upstream.peer = self.upstream, self.client

    @property
    def events_refused(self) -> int:
        """How many of the client's events the gate did not let pass."""
        return self.client.events_refused if isinstance(self.client, GatedLeg) else 0

    def start(self, client_early: bytes, upstream_early: bytes) -> None:
        """Begins with what arrived together with the two handshakes."""
        self.client.start()
        self.upstream.start()
        self.wheel.add(self)
        for leg, early in ((self.upstream, upstream_early), (self.client, client_early)):
            if early:
                leg.pass_on(early)

    def read_client(self) -> None:
        """From now on no frame of the client passes unseen: a moment between two turns is sought. May be called again.

        A gate reads every message anyway.
        """
        self.client.ignored = ()

    def end(self, cause: str) -> None:
        """Closes both legs for one of `closing.ENDINGS`; a session that is ending already has at most less time."""
        if self.ended_by:
            if cause in _FIRM:
                self._hurry()
            return
        ending = ENDINGS[cause]
        self.ended_by = ending.ended_by
        self._by_relay = cause in _BOTH_STAND
        self._wait(ANSWER_S if self._by_relay else LINGER_S)
        if cause == "call.long":
            self._give_up_at = 0.0  # there is one wait, and no other
        elif cause in _FIRM:
            self._hurry()
        _tell(self.client, ending)
        if self.client.pending:
            # The model may hang up as soon as it is told, and the client would lose the frame it is in.
            self.last = self.upstream, ending
        else:
            _tell(self.upstream, ending)

    def _fail(self, leg: Leg) -> None:
        """``leg`` said what it must not. It is told last: the other one may still answer what came before that."""
        if self.ended_by:
            return
        ending = ENDINGS[f"{leg.name}.{leg.halt}"]
        self.ended_by = ending.ended_by
        self._wait(LAST_WORDS_S)
        self.last = leg, ending
        leg.peer.keeps_close = True
        _tell(leg.peer, ending)

    def told(self, leg: Leg) -> None:
        """``leg`` has its Close, or has said its last word: what the other one is told waited for that."""
        if self.last is not None and self.last[0] is leg.peer:
            _tell(*self.last)
            self.last = None
        self._hang_up_answered()

    def halted(self, leg: Leg) -> None:
        """``leg`` has nothing further to say: a Close of its own went through, or it broke the framing."""
        if leg.got:
            return
        leg.got = True
        if leg.halt != "close":
            self._fail(leg)
            return
        leg.mark(leg.code)
        if leg.keeps_close:
            self.told(leg)
            self._wait(LINGER_S)
        elif not leg.peer.sent:
            leg.peer.sent = True
            if not leg.peer.gone:  # half closed, it may read our Close's answer; but it vanished, and 1006 is the word
                leg.peer.mark(leg.code)
            leg.peer.nothing_more()
        if not self.ended_by:
            self.ended_by = leg.name
            self._wait(ANSWER_S)
        self._hang_up_answered()

    def _hang_up_answered(self) -> None:
        for leg in (self.client, self.upstream):
            if leg.halt == "close" and leg.sent and not leg.pending:
                leg.hang_up()

    def vanished(self, leg: Leg) -> None:
        """Nothing more arrives on ``leg``."""
        if leg.gone:
            return
        leg.gone = True
        self.end(f"{leg.name}.vanished")
        self.told(leg)
        peer = leg.peer
        if peer.pending:
            peer.break_off()
        elif peer.halt == "close":
            # It said goodbye and the one to answer is gone.
            peer.close(peer.code, "")
            self._hang_up_answered()
        self._wait(LINGER_S)

    def stalled(self, leg: Leg) -> None:
        """``leg`` took no byte for `wheel.STALL_S`."""
        self.end(f"{leg.name}.stalled")
        if leg.sent and leg.pending:
            leg.finish_frame()

    def beat(self) -> None:
        """One heartbeat on both legs."""
        for leg in (self.client, self.upstream):
            if not self.ended_by and not leg.ping():
                self.end(f"{leg.name}.silent")

    def lost(self, leg: Leg) -> None:
        """The socket of ``leg`` is closed."""
        if not leg.peer.lost:
            return
        for timer in (self._timer, self._limit):
            if timer is not None:
                timer.cancel()
        self.wheel.discard(self)
        self._on_end()
        # They hold each other, and would wait for the collector: a busy replica has thousands of calls an hour.
        del self._on_end
        self.turns.messages = no_messages
        if self._reading is not None:
            self._reading.on_audio = no_audio
        for each in (self.client, self.upstream):
            del each.peer, each.splice

    def cut(self) -> None:
        """Ends the call without waiting for answers; a second time, without waiting for readers either."""
        legs = self.client, self.upstream
        for leg in legs:
            if leg.closing:
                leg.abort()
        self.end("drain")
        if self.last is not None:
            self.told(self.last[0].peer)
        for leg in legs:
            leg.hang_up()

    def _wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is None:
            self._give_up_at = loop.time() + PATIENCE_S
        else:
            self._timer.cancel()
        self._progress = (self.client.progress(), self.upstream.progress())
        self._timer = loop.call_later(seconds, self._overdue, seconds)

    def _hurry(self) -> None:
        """Whatever the session waits for, in ANSWER_S it does no longer."""
        if self._limit is None:
            self._limit = asyncio.get_running_loop().call_later(ANSWER_S, self._time_is_up)

    def _time_is_up(self) -> None:
        self._give_up_at = 0.0
        self._overdue(ANSWER_S)

    def _moved(self) -> bool:
        if not self._by_relay:
            return self._progress != (self.client.progress(), self.upstream.progress())
        before = zip((self.client, self.upstream), self._progress, strict=True)
        return any(sum(leg.untaken()) < sum(untaken) for leg, (_, *untaken) in before)

    def _overdue(self, seconds: float) -> None:
        patient = asyncio.get_running_loop().time() < self._give_up_at
        progress = self._progress
        waits_on = patient and self._moved()
        if self.last is not None and (seconds != ANSWER_S or not waits_on):
            # The client's boundary, or an answer, never came; who is told last need not suffer for it.
            self.told(self.last[0].peer)
        if seconds == LAST_WORDS_S:
            self._wait(LINGER_S)
            return
        lingers = False
        for leg, (_, *untaken) in zip((self.client, self.upstream), progress, strict=True):
            if leg.closing and not patient:
                leg.abort()
            elif seconds == LINGER_S and patient and 0 < sum(leg.untaken()) < sum(untaken):
                lingers = True
            elif seconds == LINGER_S or not (waits_on or leg.closing):
                leg.hang_up()
            elif not waits_on:
                leg.abort()
        self._wait(LINGER_S if lingers or not patient else ANSWER_S)


def _tell(leg: Leg, ending: Ending) -> None:
    code = ending.client_code if leg.name == "client" else ending.upstream_code
    if code is not None:
        leg.close(code, ending.reason)
