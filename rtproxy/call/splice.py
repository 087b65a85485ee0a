"""Joins the two legs of a call, from the moment the relay owns both sockets until both are closed.

Invariants, each with a test: both legs are always read, or held by backpressure; a leg is sent at most one Close and
nothing after it; a Close passes unchanged and its answer is awaited; when one leg is gone the other one follows within
a second; the memory of a session is bounded by constants. `ending` decides how the call ends.
"""

from collections.abc import Callable

from rtproxy.call.ending import Ending, Side, Timeout
from rtproxy.call.gate import Gate
from rtproxy.call.gated import Gated
from rtproxy.call.leg import Leg, Runtime
from rtproxy.call.patience import Patience
from rtproxy.call.room import Share
from rtproxy.model.events import ClientEvents, ModelEvents, no_audio
from rtproxy.model.turns import Turns, no_messages
from rtproxy.wire.flow import Flow, Reader, TlsFlow
from rtproxy.wire.frames import ClientWalker, Count, ModelWalker
from rtproxy.wire.takeover import DetachedSocket


class Splice:
    """Joins the client's and the model's socket. ``up`` and ``down`` count what passes; ``on_end`` is called once.

    ``client_events`` are the types of events that may pass to the model; if it is empty, all events pass unread.
    Withheld events use memory of ``share``. ``ending`` is made when it is first needed: a call that only passes frames
    has none.
    """

    __slots__ = ("_ending", "_finder", "_on_end", "_patience", "_turns", "client", "runtime", "slot", "upstream")
    _patience: Patience

    def __init__(
        self,
        client: DetachedSocket,
        upstream: DetachedSocket,
        up: Count,
        down: Count,
        turns: Turns,
        runtime: Runtime,
        on_end: Callable[[], None],
        client_events: frozenset[str] = frozenset(),
        share: Share | None = None,
    ) -> None:
        self.runtime, self._turns, self._on_end = runtime, turns, on_end
        self._ending: Ending | None = None
        self.slot = 0
        self.client = Leg(self, "client", client.sock, client.tls)
        self.upstream = Leg(self, "upstream", upstream.sock, upstream.tls)
        taps = (turns,)
        self._finder = None if client_events else ClientEvents(taps)
        if self._finder is None:
            assert share is not None
            gate = Gate(client_events, turns.client_event, share, up)
            reader: Reader = Gated(gate, runtime.clock, runtime.times.whole_s, self.client)
        else:
            reader = ClientWalker(up, self._finder)
        self._flow(self.client, self.upstream, reader)
        self._flow(self.upstream, self.client, ModelWalker(down, ModelEvents(taps)))
        if self._finder is not None:
            inbound = self.client.inbound
            self._finder.on_audio = inbound.expect
            inbound.shortest = inbound.longest = 0  # the fast path begins with the first audio
            turns.messages = up.messages

    def _flow(self, source: Leg, sink: Leg, reader: Reader) -> None:
        kind = Flow if source.socket.tls is None else TlsFlow
        source.inbound = sink.outbound = kind(self.runtime, source.socket, sink.socket, reader)

    @property
    def legs(self) -> tuple[Leg, Leg]:
        """Both legs."""
        return self.client, self.upstream

    @property
    def ending(self) -> Ending:
        """How the call ends."""
        if self._ending is None:
            self._patience = Patience(self.runtime.clock, self.runtime.times, self.legs, self._timed_out)
            self._ending = Ending(self.client, self.upstream, self._patience, self._sockets_closed)
        return self._ending

    def side_of(self, leg: Leg) -> Side:
        """The state of a leg in the ending."""
        return self.ending.client if leg is self.client else self.ending.upstream

    def start(self, client_early: bytes, upstream_early: bytes) -> None:
        """Starts both flows, with the bytes that arrived together with the two handshakes."""
        for leg in self.legs:
            leg.inbound.start()
        self.runtime.wheel.add(self)
        for leg, early in ((self.upstream, upstream_early), (self.client, client_early)):
            if early:
                leg.inbound.pass_on(early)

    def read_client(self) -> None:
        """From now on every frame of the client is inspected, to find a moment between two turns. May be called again.

        A gate inspects every message anyway.
        """
        self.client.inbound.inspect_all()

    def end(self, cause: str) -> None:
        """See `Ending.end`. May be called when the call is over."""
        if not self.ending.is_over:
            self.ending.end(cause)

    def cut(self) -> None:
        """See `Ending.cut`. May be called when the call is over."""
        if not self.ending.is_over:
            self.ending.cut()

    def beat(self) -> None:
        """Does one heartbeat on both legs."""
        for leg in self.legs:
            begun = self._ending is not None and self._ending.ended_by
            if not begun and not leg.ping():
                self.ending.end(f"{leg.name}.silent")

    def _timed_out(self, timeout: Timeout) -> None:
        self.ending.timed_out(timeout)

    def _sockets_closed(self) -> None:
        """Both sockets are closed."""
        self._patience.cancel()
        self.runtime.wheel.discard(self)
        self._on_end()
        # The parts refer to each other, and the collector would free them late: a busy replica has thousands of calls
        # an hour.
        self.ending.drop_references()
        del self._on_end, self._patience
        self._turns.messages = no_messages
        if self._finder is not None:
            self._finder.on_audio = no_audio
        for leg in self.legs:
            leg.drop_references()
