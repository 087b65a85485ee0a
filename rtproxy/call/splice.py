"""Two legs joined, from the moment both sockets are ours until both are closed.

Invariants, each with a test: both legs are always read or held back by backpressure; a leg gets at most one Close and
nothing after it; a Close passes on unchanged and its answer is awaited; when one leg is gone the other follows within
a second; what a session holds in memory is bounded by constants. How it ends is for `ending` to say.
"""

from collections.abc import Callable
from typing import NamedTuple

from rtproxy.call.ending import Ending, Lateness
from rtproxy.call.gate import Gate
from rtproxy.call.gated import Gated
from rtproxy.call.heartbeat import Wheel
from rtproxy.call.leg import Leg
from rtproxy.call.patience import Patience, Times
from rtproxy.call.room import Share
from rtproxy.model.events import ClientEvents, ModelEvents, no_audio
from rtproxy.model.turns import Turns, no_messages
from rtproxy.wire.clock import Clock
from rtproxy.wire.credit import Allowance
from rtproxy.wire.flow import Flow, Reader
from rtproxy.wire.frames import Count, Walker
from rtproxy.wire.outbox import Outbox
from rtproxy.wire.poller import Watcher
from rtproxy.wire.takeover import Taken


class Means(NamedTuple):
    """What the calls of a replica are carried with."""

    poller: Watcher
    wheel: Wheel
    clock: Clock
    times: Times
    allowance: Allowance


class Splice:
    """Joins a client's and the model's socket. ``up`` and ``down`` count what passes; ``on_end`` is called once.

    ``client_events`` are the types of events that may go to the model; none: whatever it is, unread. What is withheld
    of them takes its ``share`` of the room.
    """

    __slots__ = ("_finder", "_on_end", "_patience", "_turns", "_wheel", "client", "ending", "slot", "upstream")

    def __init__(
        self,
        client: Taken,
        upstream: Taken,
        counts: tuple[Count, Count],
        turns: Turns,
        means: Means,
        on_end: Callable[[], None],
        client_events: frozenset[str] = frozenset(),
        share: Share | None = None,
    ) -> None:
        poller, clock, times, up = means.poller, means.clock, means.times, counts[0]
        self._wheel, self._turns, self._on_end = means.wheel, turns, on_end
        self.slot = 0
        self.client = Leg("client", poller, clock, means.wheel, client.sock, client.tls)
        self.upstream = Leg("upstream", poller, clock, means.wheel, upstream.sock, upstream.tls)
        self._finder = None if client_events else ClientEvents((turns,))
        if self._finder is None:
            assert share is not None
            gate = Gate(client_events, turns.ask, share, up)
            says: Reader = Gated(gate, clock, times.whole_s, self.client.refuse, self.client.halted)
        else:
            says = Walker(up, masked=True, finder=self._finder)
        hears = Walker(counts[1], masked=False, finder=ModelEvents((turns,)))
        for leg, peer, reader, count in (
            (self.client, self.upstream, says, up),
            (self.upstream, self.client, hears, counts[1]),
        ):
            leg.says = peer.hears = Flow(poller, clock, leg.socket, peer.socket, reader, count, leg, means.allowance)
        self._patience = Patience(clock, times, (self.client, self.upstream), self._late)
        self.ending = Ending(self.client, self.upstream, self._patience, self._down)
        for leg, side in ((self.client, self.ending.client), (self.upstream, self.ending.upstream)):
            leg.outbox = Outbox(leg.hears, leg)
            leg.ending, leg.side = self.ending, side
        if self._finder is not None:
            self._finder.on_audio = self.client.says.expect
            self.client.says.shortest = self.client.says.longest = 0  # nothing passes unseen before audio was seen
            turns.messages = up.messages

    @property
    def legs(self) -> tuple[Leg, Leg]:
        """Both."""
        return self.client, self.upstream

    def start(self, client_early: bytes, upstream_early: bytes) -> None:
        """Begins with what arrived together with the two handshakes."""
        self.client.says.start()
        self.upstream.says.start()
        self._wheel.add(self)
        for leg, early in ((self.upstream, upstream_early), (self.client, client_early)):
            if early:
                leg.says.pass_on(early)

    def read_client(self) -> None:
        """From now on no frame of the client passes unseen: a moment between two turns is sought. May be called again.

        A gate reads every message anyway.
        """
        self.client.says.reader.show_all()

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
        for leg in (self.client, self.upstream):
            if not self.ending.ended_by and not leg.ping():
                self.ending.order(f"{leg.name}.silent")

    def _late(self, lateness: Lateness) -> None:
        self.ending.late(lateness)

    def _down(self) -> None:
        """Both sockets are closed."""
        self._patience.cancel()
        self._wheel.discard(self)
        self._on_end()
        # The parts hold each other, and would wait for the collector: a busy replica has thousands of calls an hour.
        self.ending.let_go()
        del self._on_end, self._patience
        self._turns.messages = no_messages
        if self._finder is not None:
            self._finder.on_audio = no_audio
        for leg in (self.client, self.upstream):
            del leg.says, leg.hears, leg.outbox, leg.ending, leg.side, leg.socket.owner
