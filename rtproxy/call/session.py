"""One call from its admission to its end: the model is dialed, the client is accepted, and one summary is written.

Invariants, each with a test: a session is in the roster from its admission to its end; the model is dialed before the
client is accepted; a session that was accepted writes exactly one connection.closed; no task outlives it.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from aiohttp import web

from rtproxy.call.ending import VANISHED
from rtproxy.call.leg import Runtime
from rtproxy.call.room import Room
from rtproxy.call.splice import Splice
from rtproxy.call.trace import Trace
from rtproxy.log import Field, Log
from rtproxy.model.turns import Turns
from rtproxy.model.upstream import Dialed
from rtproxy.refusal import Refused, draining, full, unauthorized
from rtproxy.upgrade import path_of, switching_protocols
from rtproxy.wire.frames import Count
from rtproxy.wire.takeover import DetachedSocket, take_over

LAST_S, LAST_SHARE = 30.0, 0.1
"""Near the end of RTPROXY_MAX_CALL_SECONDS, for at most LAST_S seconds, a call closes when its turn ends."""


class Register(Protocol):
    """Keeps the session while it lasts, and its counters afterwards (`roster.Roster`)."""

    def discard(self, session: "Session") -> None:
        """Removes a session that ended, or whose dial failed."""

    def add_to_totals(self, session: "Session") -> None:
        """Adds the counters of a session that ended to the totals."""


class Shared(NamedTuple):
    """What all sessions of a replica share."""

    register: Register
    log: Log
    runtime: Runtime
    room: Room
    client_events: frozenset[str]
    max_call_s: float | None


class Session:
    """A call from its admission to its end.

    Its counters are here and on its legs, and are added up only when they are read.
    """

    __slots__ = (
        "_cause",
        "_give_back",
        "_shared",
        "_splice",
        "_timer",
        "_trace",
        "_turn",
        "client",
        "closing",
        "down",
        "ended_by",
        "id",
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
        self.closing = False
        self._cause = "drain"
        self._timer: asyncio.TimerHandle | None = None
        self._give_back = give_back
        self._shared = shared
        self._trace = trace
        trace.follow(self.id, client, self.turns)
        self._splice: Splice | None = None
        self._turn: str | None = None

    @property
    def quiet(self) -> bool:
        """Whether the call is between two turns: nothing is lost if it closes now."""
        return self.turns.quiet

    def not_established(self, answer: Refused) -> None:
        """An admitted call was not established: the client gets ``answer``, and the call does not count as a start."""
        self._shared.register.discard(self)
        self._give_back()
        self._trace.fail(answer.status, answer.code)

    def closing_refusal(self) -> Refused:
        """The response to a client whose call is closed before it is established."""
        if self._cause == "client.revoked":
            return unauthorized("invalid_api_key", "The client's key was taken away.")
        return draining()

    async def accept(self, request: web.Request, dialed: Dialed) -> web.StreamResponse:
        """Sends the 101 to the client, and joins the two sockets; from here on aiohttp does not use them.

        Raises Refused when no descriptor is left for the client's socket; then no 101 was sent.
        """
        response = switching_protocols(request, self.id, dialed.subprotocol)
        try:
            client = await take_over(request, response)
        except ConnectionResetError:
            # The client closed its connection during the dial.
            self._summarise("client", VANISHED, dialed.hang_up())
            return response
        except OSError:
            dialed.hang_up()
            raise full() from None
        self._shared.log("client.connected", session=self.id, client=self.client, path=path_of(request))
        self._trace.event("client.connected")
        self._join(client, dialed.detach())
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
            shared.runtime,
            self._ended,
            shared.client_events,
            share,
        )
        if self.turns.on_change is not None:  # a drain began during the dial
            self._splice.read_client()
        self._splice.start(client.early, upstream.early)
        if (longest_s := shared.max_call_s) is not None:
            last_s = min(LAST_S, longest_s * LAST_SHARE)
            self._timer = asyncio.get_running_loop().call_later(longest_s - last_s, self._nearly_over, last_s)

    def _nearly_over(self, last_s: float) -> None:
        """The call has nearly reached its longest duration: it closes when its turn ends, or when the time is up."""
        self._timer = asyncio.get_running_loop().call_later(last_s, self.close)
        if self.turns.on_change is None:  # otherwise a drain is closing it
            self._cause = "call.long"
            self._retire_after_turn()

    def retire(self) -> None:
        """Closes the call for a drain as soon as it is quiet: now, or when its turn ends. Idempotent."""
        self._cause = "drain"
        self._retire()

    def retire_after_turn(self) -> None:
        """As `retire`, but a call that is quiet now closes at the end of its next turn. Idempotent."""
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
        # The event that ended the turn has not been passed on yet; the client must receive it first.
        asyncio.get_running_loop().call_soon(self._retire_if_quiet)

    def _retire_if_quiet(self) -> None:
        if self.quiet:
            self.close()
        elif (settling_s := self.turns.settling_s()) > 0:
            asyncio.get_running_loop().call_later(settling_s, self._retire_if_quiet)

    def close(self) -> None:
        """Closes the call at the next end of a frame, even inside a turn. Idempotent."""
        self._begin_closing()
        if self._splice is not None:
            self._splice.end(self._cause)

    def _begin_closing(self) -> None:
        """Keeps the turn in which the relay ended the call for the summary, whatever event follows."""
        if not self.closing:
            self._turn = self.turns.state
        self.closing = True

    def revoke(self) -> None:
        """Closes the call at the next end of a frame, because its client's key was revoked."""
        self._cause = "client.revoked"
        self.close()

    def cut(self) -> None:
        """Ends the call at once (`Splice.cut`). A call that is not established yet will not be."""
        self._begin_closing()
        if self._splice is not None:
            self._splice.cut()

    @property
    def progress(self) -> int:
        """A number that grows whenever a value of `counts` changes."""
        return self.up.bytes + self.down.bytes + self.up.refused + self.turns.responses

    def counts(self) -> dict[str, int]:
        """The call's counters so far."""
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
        self._shared.log("bridge.completed", session=self.id, client_code=codes[0], upstream_code=codes[1])
        self._summarise(ending.ended_by, *codes)

    def _summarise(self, ended_by: str, client_code: int, upstream_code: int) -> None:
        self.ended_by = ended_by
        if self._timer is not None:
            self._timer.cancel()
        self._shared.register.discard(self)
        self._shared.register.add_to_totals(self)
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
        self._shared.log("connection.closed", session=self.id, client=self.client, **summary)
        self._trace.end(summary)
