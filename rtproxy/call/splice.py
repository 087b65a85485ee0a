"""Two legs joined, from the moment both sockets are ours until both are closed.

Invariants, each with a test: both legs are always read or held back by backpressure; a leg gets at most one Close and
nothing after it; a Close passes on unchanged and its answer is awaited; when one leg is gone the other follows within
a second; what a session holds in memory is bounded by constants. How it ends is for `ending` to say.
"""

from collections.abc import Callable

from rtproxy.call.ending import Ending, Lateness, Side
from rtproxy.call.gate import Gate
from rtproxy.call.gated import Gated
from rtproxy.call.leg import Leg, Means
from rtproxy.call.patience import Patience
from rtproxy.call.room import Share
from rtproxy.model.events import ClientEvents, ModelEvents, no_audio
from rtproxy.model.turns import Turns, no_messages
from rtproxy.wire.flow import Flow, Reader, TlsFlow
from rtproxy.wire.frames import ClientWalker, Count, ModelWalker
from rtproxy.wire.takeover import DetachedSocket


class Splice:
    """Joins a client's and the model's socket. ``up`` and ``down`` count what passes; ``on_end`` is called once.

    ``client_events`` are the types of events that may go to the model; none: whatever it is, unread. What is withheld
    of them takes its ``share`` of the room.
    """

    __slots__ = ("_ending", "_finder", "_on_end", "_patience", "_turns", "client", "means", "slot", "upstream")
    _patience: Patience

    def __init__(
        self,
        client: DetachedSocket,
        upstream: DetachedSocket,
        up: Count,
        down: Count,
        turns: Turns,
        means: Means,
        on_end: Callable[[], None],
        client_events: frozenset[str] = frozenset(),
        share: Share | None = None,
    ) -> None:
        self.means, self._turns, self._on_end = means, turns, on_end
        self._ending: Ending | None = None
        self.slot = 0
        self.client = Leg(self, "client", client.sock, client.tls)
        self.upstream = Leg(self, "upstream", upstream.sock, upstream.tls)
        taps = (turns,)
        self._finder = None if client_events else ClientEvents(taps)
        if self._finder is None:
            assert share is not None
            gate = Gate(client_events, turns.ask, share, up)
            reader: Reader = Gated(gate, means.clock, means.times.whole_s, self.client)
        else:
            reader = ClientWalker(up, self._finder)
        self._flow(self.client, self.upstream, reader)
        self._flow(self.upstream, self.client, ModelWalker(down, ModelEvents(taps)))
        if self._finder is not None:
            inbound = self.client.inbound
            self._finder.on_audio = inbound.expect
            inbound.shortest = inbound.longest = 0  # nothing passes unseen before audio was seen
            turns.messages = up.messages

    def _flow(self, source: Leg, sink: Leg, reader: Reader) -> None:
        kind = Flow if source.socket.tls is None else TlsFlow
        source.inbound = sink.outbound = kind(self.means, source.socket, sink.socket, reader)

    @property
    def legs(self) -> tuple[Leg, Leg]:
        """Both."""
        return self.client, self.upstream

    @property
    def ending(self) -> Ending:
        """How the call ends; from the first time that anybody asks."""
        if self._ending is None:
            self._patience = Patience(self.means.clock, self.means.times, self.legs, self._late)
            self._ending = Ending(self.client, self.upstream, self._patience, self._down)
        return self._ending

    def side_of(self, leg: Leg) -> Side:
        """What the ending knows of a leg."""
        return self.ending.client if leg is self.client else self.ending.upstream

    def start(self, client_early: bytes, upstream_early: bytes) -> None:
        """Begins with what arrived together with the two handshakes."""
        for leg in self.legs:
            leg.inbound.start()
        self.means.wheel.add(self)
        for leg, early in ((self.upstream, upstream_early), (self.client, client_early)):
            if early:
                leg.inbound.pass_on(early)

    def read_client(self) -> None:
        """From now on no frame of the client passes unseen: a moment between two turns is sought. May be called again.

        A gate reads every message anyway.
        """
        self.client.inbound.reader.inspect_all()

    def end(self, cause: str) -> None:
        """See `Ending.order`. It may come when the call is over."""
        if not self.ending.is_over:
            self.ending.order(cause)

    def cut(self) -> None:
        """See `Ending.cut`. It may come when the call is over."""
        if not self.ending.is_over:
            self.ending.cut()

    def beat(self) -> None:
        """One heartbeat on both legs."""
        for leg in self.legs:
            begun = self._ending is not None and self._ending.ended_by
            if not begun and not leg.ping():
                self.ending.order(f"{leg.name}.silent")

    def _late(self, lateness: Lateness) -> None:
        self.ending.late(lateness)

    def _down(self) -> None:
        """Both sockets are closed."""
        self._patience.cancel()
        self.means.wheel.discard(self)
        self._on_end()
        # The parts hold each other, and would wait for the collector: a busy replica has thousands of calls an hour.
        self.ending.let_go()
        del self._on_end, self._patience
        self._turns.messages = no_messages
        if self._finder is not None:
            self._finder.on_audio = no_audio
        for leg in self.legs:
            leg.let_go()
