"""One client's life from its admission to its end: the model is dialed, the client accepted, and one summary written.

Invariants, each with a test: a session is in the roster from admission to its end; the model is dialed before the
client is accepted; a session that was accepted writes exactly one connection.closed; no task outlives it.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from aiohttp import web

from rtproxy.call.ending import VANISHED
from rtproxy.call.leg import Means
from rtproxy.call.room import Room
from rtproxy.call.splice import Splice
from rtproxy.call.trace import Trace
from rtproxy.log import Field, Log
from rtproxy.model.turns import Turns
from rtproxy.model.upstream import Dialed
from rtproxy.refusal import Refused, draining, full, unknown
from rtproxy.upgrade import path_of, switching
from rtproxy.wire.frames import Count
from rtproxy.wire.takeover import DetachedSocket, take_over

LAST_S, LAST_SHARE = 30.0, 0.1
"""In the last part of a call's longest duration, at most this long, the end of a turn is the end of the call."""


class Ledger(Protocol):
    """Where a session stands while it lasts, and its counters afterwards (`roster.Roster`)."""

    def discard(self, session: "Session") -> None:
        """A dial that failed, or a session that ended."""

    def close_books(self, session: "Session") -> None:
        """Adds the counters of a session that ended to the totals."""


class Shared(NamedTuple):
    """What all sessions of a replica share."""

    ledger: Ledger
    log: Log
    means: Means
    room: Room
    client_events: frozenset[str]
    max_call_s: float | None


class Session:
    """A call from admission to its end. Counters live here and on its legs, and are read when somebody asks."""

    __slots__ = (
        "_cause",
        "_give_back",
        "_live",
        "_log",
        "_shared",
        "_splice",
        "_timer",
        "_trace",
        "_turn",
        "client",
        "down",
        "ended_by",
        "id",
        "leaving",
        "started",
        "turns",
        "up",
    )

    def __init__(self, client: str, shared: Shared, trace: Trace, give_back: Callable[[], None] = lambda: None) -> None:
        self.id = secrets.token_hex(8)
        self.client = client
        self.turns = Turns()
        self.up, self.down = Count(), Count()
        self.started = time.monotonic()
        self.ended_by = ""
        self.leaving = False
        self._cause = "drain"
        self._timer: asyncio.TimerHandle | None = None
        self._give_back = give_back
        self._shared = shared
        self._log = shared.log
        self._trace = trace
        trace.follow(self.id, client, self.turns)
        self._splice: Splice | None = None
        self._turn: str | None = None

    @property
    def quiet(self) -> bool:
        """Between turns: nothing is lost if the call is closed now."""
        return self.turns.quiet

    def turned_away(self, answer: Refused) -> None:
        """The call was admitted and does not come to stand: the client gets ``answer``, and its share back."""
        self._shared.ledger.discard(self)
        self._give_back()
        self._trace.fail(answer.status, answer.code)

    def dismissal(self) -> Refused:
        """What the client hears when its call is closed before it stands."""
        if self._cause == "client.revoked":
            return unknown("invalid_api_key", "The client's key was taken away.")
        return draining()

    async def accept(self, request: web.Request, dialed: Dialed) -> web.StreamResponse:
        """Answers the client's 101 and joins the two sockets; from here on aiohttp has nothing to do with them.

        Raises Refused when no descriptor is left for the client's socket; then no 101 was sent.
        """
        response = switching(request, self.id, dialed.subprotocol)
        try:
            client = await take_over(request, response)
        except ConnectionResetError:
            # The caller hung up while we dialed.
            self._summarise("client", VANISHED, dialed.hang_up())
            return response
        except OSError:
            dialed.hang_up()
            raise full() from None
        self._log("client.connected", session=self.id, client=self.client, path=path_of(request))
        self._trace.event("client.connected")
        self._join(client, dialed.take_over())
        return response

    def _join(self, client: DetachedSocket, upstream: DetachedSocket) -> None:
        shared = self._shared
        share = shared.room.share(self.client)
        self._splice = Splice(
            client,
            upstream,
            self.up,
            self.down,
            self.turns,
            shared.means,
            self._ended,
            shared.client_events,
            share,
        )
        if self.turns.on_change is not None:  # a drain began while the model was dialed
            self._splice.read_client()
        self._splice.start(client.early, upstream.early)
        if (longest_s := shared.max_call_s) is not None:
            last_s = min(LAST_S, longest_s * LAST_SHARE)
            self._timer = asyncio.get_running_loop().call_later(longest_s - last_s, self._nearly_over, last_s)

    def _nearly_over(self, last_s: float) -> None:
        """The call's longest duration is near: it closes at the end of a turn that ends in time, else when it is up."""
        self._timer = asyncio.get_running_loop().call_later(last_s, self.close)
        if self.turns.on_change is None:  # otherwise a drain has it
            self._cause = "call.long"
            self._retire_after_turn()

    def retire(self) -> None:
        """Closes the call for the drain as soon as it is quiet: now, or when its turn ends. Idempotent."""
        self._cause = "drain"
        self._retire()

    def retire_after_turn(self) -> None:
        """As `retire` for a call in a turn, and for a quiet one when it gets into its next. Idempotent."""
        self._cause = "drain"
        self._retire_after_turn()

    def _retire(self) -> None:
        self.turns.on_change = self._retire_soon
        self._retire_if_quiet()

    def _retire_after_turn(self) -> None:
        if self._splice is not None:
            self._splice.read_client()
        if self.quiet:
            self.turns.on_change = self._retire_in_turn
        else:
            self._retire()

    def _retire_in_turn(self) -> None:
        if not self.quiet:
            self._retire()

    def _retire_soon(self) -> None:
        # The event that ended the turn is still on its way through the splice: it is to reach the client first.
        asyncio.get_running_loop().call_soon(self._retire_if_quiet)

    def _retire_if_quiet(self) -> None:
        if self.quiet:
            self.close()
        elif (settling_s := self.turns.settling_s()) > 0:
            asyncio.get_running_loop().call_later(settling_s, self._retire_if_quiet)

    def close(self) -> None:
        """Closes the call, whatever its turn, at the next frame boundary. Idempotent."""
        self._leave()
        if self._splice is not None:
            self._splice.end(self._cause)

    def _leave(self) -> None:
        """The turn of the summary is that in which the relay ended the call, whatever is said meanwhile."""
        if not self.leaving:
            self._turn = self.turns.state
        self.leaving = True

    def revoke(self) -> None:
        """Closes the call at the next frame boundary, because its client's key was taken away."""
        self._cause = "client.revoked"
        self.close()

    def cut(self) -> None:
        """Ends the call at once, see `Splice.cut`; one that does not stand yet is not to."""
        self._leave()
        if self._splice is not None:
            self._splice.cut()

    @property
    def moved(self) -> int:
        """Grows whenever something of `counts` does."""
        return self.up.bytes + self.down.bytes + self.up.refused + self.turns.responses

    def counts(self) -> dict[str, int]:
        """What the call has moved and used so far."""
        return {
            "frames_up": self.up.frames,
            "frames_down": self.down.frames,
            "bytes_up": self.up.bytes,
            "bytes_down": self.down.bytes,
            "events_refused": self.up.refused,
            "responses": self.turns.responses,
            **self.turns.usage.tokens(),
        }

    def _ended(self) -> None:
        splice = self._splice
        assert splice is not None
        self._splice = None
        ending = splice.ending
        codes = ending.client.closed_with, ending.upstream.closed_with
        self._log("bridge.completed", session=self.id, client_code=codes[0], upstream_code=codes[1])
        self._summarise(ending.ended_by, *codes)

    def _summarise(self, ended_by: str, client_code: int, upstream_code: int) -> None:
        self.ended_by = ended_by
        if self._timer is not None:
            self._timer.cancel()
        self._shared.ledger.discard(self)
        self._shared.ledger.close_books(self)
        summary: dict[str, Field] = {
            "ended_by": ended_by,
            "client_code": client_code,
            "upstream_code": upstream_code,
            "duration_s": round(time.monotonic() - self.started, 3),
            **self.counts(),
            "transcription_s": round(self.turns.usage.transcription_s, 3),
            "turn": self._turn or self.turns.state,
            "upstream_session": self.turns.upstream_session,
            "upstream_error": self.turns.error_code,
        }
        self._log("connection.closed", session=self.id, client=self.client, **summary)
        self._trace.end(summary)
